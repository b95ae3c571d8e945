//! Senders of wanted mail, and the comparison of servers by them.
//!
//! Servers are measured in turns within one run, A B C A B C, each turn short: what the machine
//! does besides hits all alike, and ratios are taken within a round before anything is averaged.
//! One long run of each was rejected: on a shared machine the second is another machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustls::ClientConfig;

use crate::message::Message;
use crate::process::Processes;
use crate::stats;
use crate::tls::Certificate;
use crate::wire::Client;

/// What the senders do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Connections at a time, each from an address of its own.
    pub(crate) senders: u8,
    /// What they send.
    pub(crate) message: Arc<Message>,
    /// Messages on one connection.
    pub(crate) each: u32,
    /// Whom senders over TLS trust.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// Time from one message of a sender to its next; without it, the next follows at once.
    pub(crate) every: Option<Duration>,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Turns of each server.
    pub(crate) rounds: u32,
    /// Time before a turn counts.
    pub(crate) warm: Duration,
    /// Time of a turn.
    pub(crate) turn: Duration,
}

/// What one turn showed.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Messages that were acknowledged within the turn.
    pub(crate) messages: u64,
    /// The same, and those before and after the turn.
    pub(crate) sent: u64,
    /// Messages a second.
    pub(crate) rate: f64,
    /// From the first step for a message (the connect, if it opens a connection) to its 250.
    pub(crate) median: Duration,
    /// The same at the 99th percentile.
    pub(crate) p99: Duration,
    /// Transactions that failed.
    pub(crate) failures: u64,
    /// How the first of them did.
    pub(crate) first_failure: Option<String>,
    /// Connections that were opened, and those of them that resumed a session of TLS.
    pub(crate) connections: u64,
    pub(crate) resumed: u64,
    /// Processor time that the server took, for all messages that were sent.
    pub(crate) spent: Duration,
}

/// A server that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whose processor time counts as its own.
    pub(crate) processes: Processes,
    /// How it is spoken to.
    pub(crate) way: Way,
}

impl Server {
    /// A server whose processor time nobody asks for.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            processes: Processes::None,
            way: Way::Plain,
        }
    }
}

/// How mail is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// DATA, in the clear.
    Plain,
    /// BDAT, in the clear: one chunk.
    Chunk,
    /// DATA, after STARTTLS.
    StartTls {
        /// Sessions of TLS are resumed.
        resumes: bool,
    },
}

/// What one sender saw.
#[derive(Debug, Default)]
struct Seen {
    latencies: Vec<Duration>,
    sent: u64,
    connections: u64,
    resumed: u64,
    failures: u64,
    first_failure: Option<String>,
}

/// A window of time in which messages count.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    to: Instant,
}

/// One turn of `load` on `server`.
pub(crate) async fn turn(server: Server, load: &Load, timing: Timing) -> Result<Turn> {
    let from = Instant::now() + timing.warm;
    let window = Window {
        from,
        to: from + timing.turn,
    };
    let certificate = load.certificate.as_deref();
    let senders: Vec<_> = (0..load.senders)
        .map(|number| {
            let tls = match server.way {
                Way::Plain | Way::Chunk => None,
                Way::StartTls { resumes } => {
                    Some(certificate.context("no certificate")?.client(resumes))
                }
            };
            let schedule = load.every.map(|every| Schedule {
                // One after the other, not all at once.
                next: Instant::now() + every * u32::from(number) / u32::from(load.senders),
                every,
            });
            let sender = Sender {
                // A source each, as senders are.
                own: IpAddr::V4(Ipv4Addr::new(127, 1, 0, number + 1)),
                to: server.address,
                in_chunks: server.way == Way::Chunk,
                tls,
                load: load.clone(),
                window,
            };
            Ok(tokio::spawn(sender.run(schedule)))
        })
        .collect::<Result<_>>()?;
    let mut turn = Turn::default();
    let mut latencies = Vec::new();
    for sender in senders {
        let seen = sender.await.context("a sender")?;
        latencies.extend(seen.latencies);
        turn.sent += seen.sent;
        turn.connections += seen.connections;
        turn.resumed += seen.resumed;
        turn.failures += seen.failures;
        turn.first_failure = turn.first_failure.or(seen.first_failure);
    }
    turn.messages = latencies.len() as u64;
    turn.rate = turn.messages as f64 / timing.turn.as_secs_f64();
    turn.median = stats::median(&mut latencies).unwrap_or_default();
    turn.p99 = stats::percentile(&mut latencies, 0.99).unwrap_or_default();
    Ok(turn)
}

/// One sender.
struct Sender {
    own: IpAddr,
    to: SocketAddr,
    in_chunks: bool,
    tls: Option<Arc<ClientConfig>>,
    load: Load,
    window: Window,
}

/// After the end of a turn, a message has so long to get through before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// When the messages of a sender are to begin.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    next: Instant,
    every: Duration,
}

/// Waits for the time of the next message, and says when it began: when it was due, if the sender
/// was still busy then, since whoever waits to be sent waits too.
async fn begin(schedule: &mut Option<Schedule>) -> Instant {
    let Some(schedule) = schedule else {
        return Instant::now();
    };
    let due = schedule.next;
    schedule.next += schedule.every;
    if due <= Instant::now() {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    // The timer's own lateness is none of the server's.
    Instant::now()
}

impl Sender {
    async fn run(self, mut schedule: Option<Schedule>) -> Seen {
        let mut seen = Seen::default();
        let end = tokio::time::Instant::from_std(self.window.to + PATIENCE);
        while Instant::now() < self.window.to {
            let connection = self.connection(&mut seen, &mut schedule);
            let ended = tokio::time::timeout_at(end, connection).await;
            let late = std::io::Error::other("no answer until the turn was over");
            if let Err(error) = ended.unwrap_or(Err(late)) {
                seen.failures += 1;
                seen.first_failure.get_or_insert_with(|| error.to_string());
                // Not a flood of attempts in place of mail.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        seen
    }

    /// One connection with its messages; fewer if the time is over.
    async fn connection(
        &self,
        seen: &mut Seen,
        schedule: &mut Option<Schedule>,
    ) -> std::io::Result<()> {
        let mut begun = begin(schedule).await;
        let mut client = match &self.tls {
            Some(config) => Client::open_tls(self.own, self.to, config).await?,
            None => Client::open(self.own, self.to).await?,
        };
        seen.connections += 1;
        seen.resumed += u64::from(client.is_resumed);
        for number in 1..=self.load.each {
            let last = number == self.load.each || begun >= self.window.to;
            self.message(&mut client, last).await?;
            let done = Instant::now();
            seen.sent += 1;
            if (self.window.from..self.window.to).contains(&done) {
                seen.latencies.push(done - begun);
            }
            if last {
                break;
            }
            begun = begin(schedule).await;
        }
        client.expect("QUIT", 221).await?;
        client.closed().await
    }

    /// One message, and QUIT behind the last.
    async fn message(&self, client: &mut Client, last: bool) -> std::io::Result<()> {
        let message = &self.load.message;
        let with_quit = |plain, quit| if last { quit } else { plain };
        if self.in_chunks {
            let chunk = with_quit(&message.chunk, &message.chunk_and_quit);
            client.send(chunk).await?;
            client.expect("MAIL", 250).await?;
            client.expect("RCPT", 250).await?;
            return client.expect("the last chunk", 250).await;
        }
        client.send(&message.envelope).await?;
        client.expect("MAIL", 250).await?;
        client.expect("RCPT", 250).await?;
        client.expect("DATA", 354).await?;
        let data = with_quit(&message.data, &message.data_and_quit);
        client.send(data).await?;
        client.expect("end of data", 250).await
    }
}

/// Measures `servers` in turns; the turns of each, round by round.
///
/// Each round begins with another one, so that none is always the neighbour of the slowest.
pub(crate) async fn rounds(
    servers: &[Server],
    load: &Load,
    timing: Timing,
) -> Result<Vec<Vec<Turn>>> {
    let mut turns: Vec<Vec<Turn>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..timing.rounds as usize {
        for at in 0..servers.len() {
            let at = (at + round) % servers.len();
            let server = servers[at];
            let before = server.processes.time()?;
            let mut turn = turn(server, load, timing).await?;
            turn.spent = server.processes.time()?.saturating_sub(before);
            turns[at].push(turn);
        }
    }
    Ok(turns)
}

/// A figure of `b` by the same of `a` in each round: median, least and greatest.
pub(crate) fn ratios(a: &[Turn], b: &[Turn], figure: impl Fn(&Turn) -> f64) -> [f64; 3] {
    let mut ratios: Vec<f64> = a
        .iter()
        .zip(b)
        .map(|(a, b)| (figure(a), figure(b)))
        .filter(|(a, _)| *a > 0.0)
        .map(|(a, b)| b / a)
        .collect();
    [0.5, 0.0, 1.0].map(|share| stats::percentile(&mut ratios, share).unwrap_or(0.0))
}

/// Median latency of `b` less that of `a`, the median of the rounds, in milliseconds.
pub(crate) fn added_ms(a: &[Turn], b: &[Turn]) -> f64 {
    let mut added: Vec<f64> = a
        .iter()
        .zip(b)
        .map(|(a, b)| (b.median.as_secs_f64() - a.median.as_secs_f64()) * 1e3)
        .collect();
    stats::median(&mut added).unwrap_or(0.0)
}

/// Two servers compared.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Medians of the turns of the first.
    pub(crate) a: Turn,
    /// Medians of the turns of the second.
    pub(crate) b: Turn,
    /// Rate of the second by the rate of the first: median, least and greatest of the pairs.
    pub(crate) ratio: [f64; 3],
    /// Median latency of the second less that of the first, the median of the pairs, in
    /// milliseconds.
    pub(crate) added_ms: f64,
}

impl Comparison {
    /// From the turns of both.
    pub(crate) fn of(a: Vec<Turn>, b: Vec<Turn>) -> Self {
        Self {
            ratio: ratios(&a, &b, |turn| turn.rate),
            added_ms: added_ms(&a, &b),
            a: middle(a),
            b: middle(b),
        }
    }
}

/// Measures `a` and `b` in turns.
pub(crate) async fn compare(
    a: SocketAddr,
    b: SocketAddr,
    load: &Load,
    timing: Timing,
) -> Result<Comparison> {
    let servers = [a, b].map(Server::plain);
    let mut turns = rounds(&servers, load, timing).await?.into_iter();
    let (first, second) = (turns.next(), turns.next());
    Ok(Comparison::of(
        first.unwrap_or_default(),
        second.unwrap_or_default(),
    ))
}

/// The median of each figure; failures in all.
pub(crate) fn middle(turns: Vec<Turn>) -> Turn {
    let of = |figure: fn(&Turn) -> Duration| {
        let mut figures: Vec<Duration> = turns.iter().map(figure).collect();
        stats::median(&mut figures).unwrap_or_default()
    };
    let mut rates: Vec<f64> = turns.iter().map(|turn| turn.rate).collect();
    Turn {
        messages: turns.iter().map(|turn| turn.messages).sum(),
        sent: turns.iter().map(|turn| turn.sent).sum(),
        rate: stats::median(&mut rates).unwrap_or(0.0),
        median: of(|turn| turn.median),
        p99: of(|turn| turn.p99),
        failures: turns.iter().map(|turn| turn.failures).sum(),
        connections: turns.iter().map(|turn| turn.connections).sum(),
        resumed: turns.iter().map(|turn| turn.resumed).sum(),
        spent: turns.iter().map(|turn| turn.spent).sum(),
        first_failure: turns.into_iter().find_map(|turn| turn.first_failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink;

    const SHORT: Timing = Timing {
        rounds: 1,
        warm: Duration::ZERO,
        turn: Duration::from_millis(200),
    };

    fn load(senders: u8, size: usize, each: u32) -> Load {
        let message = Arc::new(Message::new("user@example.org", size));
        Load {
            senders,
            message,
            each,
            certificate: None,
            every: None,
        }
    }

    #[tokio::test]
    async fn paced_mail_keeps_its_pace() {
        let (address, _) = sink::listen(Duration::ZERO).await.unwrap();
        let paced = Load {
            every: Some(Duration::from_millis(20)),
            ..load(2, 1024, 10)
        };
        let turn = turn(Server::plain(address), &paced, SHORT).await.unwrap();
        assert!((5..=21).contains(&turn.messages), "{turn:?}");
        assert_eq!(turn.first_failure, None);
    }

    #[tokio::test]
    async fn mail_reaches_the_sink() {
        let (address, _) = sink::listen(Duration::ZERO).await.unwrap();
        for (senders, size, each) in [(1, 1024, 1), (3, 1024, 10), (2, 1 << 20, 2)] {
            let turn = turn(Server::plain(address), &load(senders, size, each), SHORT)
                .await
                .unwrap();
            assert!(turn.messages > 0, "{turn:?}");
            assert_eq!(turn.first_failure, None);
            assert!(turn.p99 >= turn.median && turn.median > Duration::ZERO);
        }
    }

    #[tokio::test]
    async fn chunks_reach_the_sink() {
        let (address, counters) = sink::listen(Duration::ZERO).await.unwrap();
        let server = Server {
            way: Way::Chunk,
            ..Server::plain(address)
        };
        for (size, each) in [(1024, 1), (1024, 10), (1 << 20, 2)] {
            let turn = turn(server, &load(2, size, each), SHORT).await.unwrap();
            assert!(turn.messages > 0, "{turn:?}");
            assert_eq!(turn.first_failure, None);
        }
        assert!(counters.line().split(' ').nth(1) > Some("0"));
    }

    #[tokio::test]
    async fn refusals_are_failures() {
        let (address, _) = sink::listen(Duration::ZERO).await.unwrap();
        let mut load = load(1, 1024, 1);
        load.message = Arc::new(Message::new("nobody@example.org", 1024));
        let turn = turn(Server::plain(address), &load, SHORT).await.unwrap();
        assert_eq!(turn.messages, 0);
        assert_eq!(turn.first_failure.as_deref(), Some("RCPT: 550, not 250"));
    }

    #[tokio::test]
    async fn a_server_is_about_as_fast_as_itself() {
        let (address, _) = sink::listen(Duration::ZERO).await.unwrap();
        let timing = Timing { rounds: 3, ..SHORT };
        let same = compare(address, address, &load(2, 1024, 10), timing)
            .await
            .unwrap();
        let [median, least, greatest] = same.ratio;
        assert!(least <= median && median <= greatest);
        assert!((0.05..20.0).contains(&median), "{same:?}");
    }
}
