//! The harvester of the race: many connections of one source, each asking for one name after the
//! other and coming back when it is thrown out. It waits for each answer as long as it takes; one
//! that gave up sooner would learn less.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::dictionary::Cursor;
use super::tally::Tally;
use crate::cmd::verify::smtp::{Client, NoReply};

/// No reply takes longer (RFC 5321 §4.5.3.2).
const LIMIT: Duration = Duration::from_secs(300);

/// Guesses before it starts another transaction: the least number of recipients that every server
/// must take (RFC 5321 §4.5.3.1.8).
const GUESSES_PER_MAIL: usize = 100;

/// Before it connects again: at once would be a busy loop if it is refused.
const PAUSE: Duration = Duration::from_millis(100);

/// 421: thrown out.
const CLOSING: u16 = 421;

/// Harvests until it is dropped, or has made all guesses.
pub(super) async fn harvest(
    server: SocketAddr,
    from: IpAddr,
    connections: usize,
    tally: Arc<Tally>,
) {
    let guesses = Arc::new(Cursor::default());
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let (guesses, tally) = (Arc::clone(&guesses), Arc::clone(&tally));
        tasks.spawn(async move {
            while !session(server, from, connection, &guesses, &tally).await {
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// One session, until it is thrown out. True if there is nothing left to guess.
async fn session(
    server: SocketAddr,
    from: IpAddr,
    connection: usize,
    guesses: &Cursor,
    tally: &Tally,
) -> bool {
    let Ok(mut client) = Client::connect(server, Some(from), LIMIT).await else {
        return false;
    };
    if !client
        .reply(LIMIT)
        .await
        .is_ok_and(|greeting| greeting.code().is_positive())
    {
        return false;
    }
    let mut is_open = says_yes(&mut client, "EHLO harvester.example").await;
    while is_open {
        is_open = says_yes(&mut client, "MAIL FROM:<>").await;
        for _ in 0..GUESSES_PER_MAIL {
            if !is_open {
                break;
            }
            let Some(guess) = guesses.next() else {
                return true;
            };
            tally.begin_wait(connection);
            let (reply, _) = client.command(&format!("RCPT TO:<{guess}>"), LIMIT).await;
            tally.end_wait(connection);
            is_open = judge(reply, tally);
        }
        is_open = is_open && says_yes(&mut client, "RSET").await;
    }
    false
}

/// Takes an answer down. False if the session is over.
fn judge(reply: Result<tarpit_smtp::Reply, NoReply>, tally: &Tally) -> bool {
    let Ok(code) = reply.map(|reply| reply.code()) else {
        return false;
    };
    if code.get() == CLOSING {
        return false;
    }
    // 4yz says nothing about the name.
    if code.is_positive() || code.is_permanent() {
        tally.answer(code.is_positive());
    }
    true
}

async fn says_yes(client: &mut Client, command: &str) -> bool {
    client
        .command(command, LIMIT)
        .await
        .0
        .is_ok_and(|reply| reply.code().is_positive())
}
