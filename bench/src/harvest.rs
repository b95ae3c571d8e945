//! Harvesters: clients that guess names, in the ways in which they try to get around a wait.
//!
//! Each keeps guessing from one address, one name in twenty exists, and it never sends a message.
//! An answer is a reply that tells whether the name exists: 250, or 5yz. 450 and 421 tell nothing;
//! the harvester then pauses for a moment, as the rest would only be a flood.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::wire::Client;

/// How a harvester goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One guess after the other on one connection.
    Staying,
    /// Twenty guesses in one segment on one connection.
    Pipelining,
    /// QUIT after each answer, and a new connection.
    Reconnecting,
    /// Leaves without a word when the answer takes longer than [`PATIENCE`].
    HangingUp,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [
        Self::Staying,
        Self::Pipelining,
        Self::Reconnecting,
        Self::HangingUp,
    ];

    /// For the table.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Staying => "staying",
            Self::Pipelining => "pipelining 20 guesses",
            Self::Reconnecting => "reconnecting after each answer",
            Self::HangingUp => "hanging up after 1 s",
        }
    }
}

/// Five times what the look-up of the sink takes: who waits longer is being held.
const PATIENCE: Duration = Duration::from_secs(1);
/// After an answer that tells nothing.
const PAUSE: Duration = Duration::from_millis(50);
/// One guess in this many is a name that exists.
pub(crate) const HIT: u64 = 20;
/// Guesses in a segment.
const PIPELINE: usize = 20;

/// What a harvester got.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    guesses: AtomicU64,
    answers: AtomicU64,
    names: AtomicU64,
    told_nothing: AtomicU64,
}

impl Tally {
    /// Replies that told whether a name exists.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Names found: the positive ones of the answers.
    pub(crate) fn names(&self) -> u64 {
        self.names.load(Ordering::Relaxed)
    }

    /// 4yz replies.
    pub(crate) fn told_nothing(&self) -> u64 {
        self.told_nothing.load(Ordering::Relaxed)
    }

    fn guess(&self) -> String {
        let number = self.guesses.fetch_add(1, Ordering::Relaxed);
        let name = if number % HIT == HIT - 1 {
            "user"
        } else {
            "no"
        };
        format!("RCPT TO:<{name}{number}@example.org>\r\n")
    }

    /// Counts a reply to a guess; whether it told something.
    fn count(&self, code: u16) -> bool {
        let counter = match code {
            250 => {
                self.names.fetch_add(1, Ordering::Relaxed);
                &self.answers
            }
            500..=599 => &self.answers,
            _ => &self.told_nothing,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        code == 250 || code >= 500
    }
}

/// Guesses from `own` on `connections` connections until `end`.
pub(crate) async fn harvest(
    own: IpAddr,
    to: SocketAddr,
    way: Way,
    connections: u32,
    end: Instant,
) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let running: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(one(own, to, way, Arc::clone(&tally), end)))
        .collect();
    for one in running {
        // A panic of a harvester is a mistake of the benchmark, and shows on standard error.
        let _joined = one.await;
    }
    tally
}

async fn one(own: IpAddr, to: SocketAddr, way: Way, tally: Arc<Tally>, end: Instant) {
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        match timeout(left, connection(own, to, way, &tally)).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_closed)) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// One connection, from its opening to its end or to an answer that tells nothing.
async fn connection(own: IpAddr, to: SocketAddr, way: Way, tally: &Tally) -> io::Result<()> {
    let mut client = Client::open(own, to).await?;
    client
        .send(b"MAIL FROM:<guess@client.example.net>\r\n")
        .await?;
    client.expect("MAIL", 250).await?;
    let mut told = true;
    while told {
        match way {
            Way::Staying => {
                client.send(tally.guess().as_bytes()).await?;
                told = tally.count(client.reply().await?);
            }
            Way::Pipelining => {
                let guesses: String = (0..PIPELINE).map(|_| tally.guess()).collect();
                client.send(guesses.as_bytes()).await?;
                for _ in 0..PIPELINE {
                    told = tally.count(client.reply().await?);
                }
            }
            Way::Reconnecting => {
                client.send(tally.guess().as_bytes()).await?;
                told = tally.count(client.reply().await?);
                client.send(b"QUIT\r\n").await?;
                client.expect("QUIT", 221).await?;
                if told {
                    return Ok(());
                }
            }
            Way::HangingUp => {
                client.send(tally.guess().as_bytes()).await?;
                match timeout(PATIENCE, client.reply()).await {
                    Ok(reply) => told = tally.count(reply?),
                    Err(_held) => return Ok(()),
                }
            }
        }
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::sink;

    #[tokio::test]
    async fn every_way_gets_answers_from_the_sink() {
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for way in Way::ALL {
            let (address, _) = sink::listen(Duration::ZERO).await.unwrap();
            let end = Instant::now() + Duration::from_millis(200);
            let tally = harvest(own, address, way, 2, end).await;
            assert!(tally.answers() > 20, "{way:?}: {tally:?}");
            assert!(tally.names() > 0 && tally.names() < tally.answers() / 5);
            assert_eq!(tally.told_nothing(), 0);
        }
    }

    #[test]
    fn only_some_replies_tell_something() {
        let tally = Tally::default();
        assert!(tally.count(250) && tally.count(550));
        assert!(!tally.count(450) && !tally.count(421));
        assert_eq!(
            (tally.answers(), tally.names(), tally.told_nothing()),
            (2, 1, 2)
        );
    }
}
