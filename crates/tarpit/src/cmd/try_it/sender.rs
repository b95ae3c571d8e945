//! The wanted sender of the race: one small message at a steady pace, each on a connection of its
//! own, as most mail comes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::tally::Tally;
use crate::cmd::verify::smtp::{Client, NoReply};

/// Between two messages. The next starts whether or not the last one is through: a sender that
/// waited would hide every delay but its own.
const PACE: Duration = Duration::from_millis(50);

/// A message that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// Messages on their way at once; more than would be at [`PACE`] if each took 5 s.
const AT_ONCE_MAX: usize = 128;

/// Sends until it is dropped.
pub(super) async fn send(server: SocketAddr, from: IpAddr, recipient: String, tally: Arc<Tally>) {
    let mut sending = JoinSet::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let recipient: Arc<str> = recipient.into();
    loop {
        pace.tick().await;
        while sending.try_join_next().is_some() {}
        if sending.len() >= AT_ONCE_MAX {
            tally.message(None);
            continue;
        }
        let (recipient, tally) = (Arc::clone(&recipient), Arc::clone(&tally));
        sending.spawn(async move {
            let start = Instant::now();
            let is_through = message(server, from, &recipient).await;
            tally.message(is_through.then(|| start.elapsed()));
        });
    }
}

/// One message from connect to 250.
async fn message(server: SocketAddr, from: IpAddr, recipient: &str) -> bool {
    let Ok(mut client) = Client::connect(server, Some(from), LIMIT).await else {
        return false;
    };
    if !is_yes(&client.reply(LIMIT).await) {
        return false;
    }
    let to = format!("RCPT TO:<{recipient}>");
    for command in [
        "EHLO client.example.org",
        "MAIL FROM:<sender@example.org>",
        &to,
    ] {
        if !is_yes(&client.command(command, LIMIT).await.0) {
            return false;
        }
    }
    let (go_ahead, _) = client.command("DATA", LIMIT).await;
    if !go_ahead.is_ok_and(|reply| reply.code().is_intermediate()) {
        return false;
    }
    let text = format!(
        "From: <sender@example.org>\r\nTo: <{recipient}>\r\nSubject: Wanted mail\r\n\r\n\
         This is one message of the race.\r\n.\r\n"
    );
    let is_through = is_yes(&client.send(text.as_bytes(), LIMIT).await.0);
    // The message is through; nobody waits for the goodbye.
    tokio::spawn(async move { client.command("QUIT", LIMIT).await });
    is_through
}

fn is_yes(reply: &Result<tarpit_smtp::Reply, NoReply>) -> bool {
    reply.as_ref().is_ok_and(|reply| reply.code().is_positive())
}
