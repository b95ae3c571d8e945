//! A crowd of clients that guess once and wait: `crowd PORT FIRST COUNT DELAY_MS`.
//!
//! A process of its own, since a process has 20,000 descriptors in many containers, of which the
//! gateway needs as many as its clients, and the tests beside it some thousands. It says `held` when
//! all have guessed, waits until each has heard what is due, and reports in one line of JSON. The
//! sources are `127.64.0.0` + FIRST and those that follow, one for each client.
//!
//! Threads that read one client after the other are enough: who guessed first is due first.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tarpit_interop::Client;

/// Enough that the gateway is never without something to do.
const THREADS: u32 = 4;

/// A reply that takes so much longer than the hold is lost.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// What all clients do alike.
#[derive(Clone, Copy)]
struct Crowd {
    port: u16,
    first: u32,
    count: u32,
    delay: Duration,
}

/// A client that has guessed.
struct Held {
    client: Client,
    since: Instant,
}

/// What became of them.
#[derive(Default)]
struct Tally {
    /// They heard the refusal, and their session went on to its QUIT.
    refused: u32,
    /// Of these, those that heard it before it was due.
    early: u32,
    lost: u32,
    /// How late the refusals came, in milliseconds.
    late: Vec<u64>,
    first_failure: Option<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let numbers: Vec<u32> = std::env::args()
        .skip(1)
        .map(|word| word.parse().with_context(|| format!("{word:?}")))
        .collect::<Result<_>>()?;
    let [port, first, count, delay_ms] = numbers[..] else {
        bail!("usage: crowd PORT FIRST COUNT DELAY_MS");
    };
    let crowd = Crowd {
        port: port.try_into()?,
        first,
        count,
        delay: Duration::from_millis(delay_ms.into()),
    };
    raise_descriptors()?;
    let held = on_threads((0..THREADS).collect(), |at| crowd.guess(at))?;
    say("held")?;
    let tallies = on_threads(held, |held| Ok(crowd.hear(held)))?;
    let all = tallies.into_iter().fold(Tally::default(), Tally::with);
    say(&all.report().to_string())
}

/// Does each of `work` on a thread of its own.
fn on_threads<A: Send, B: Send>(
    work: Vec<A>,
    what: impl Fn(A) -> Result<B> + Sync,
) -> Result<Vec<B>> {
    std::thread::scope(|scope| {
        let what = &what;
        let threads: Vec<_> = work
            .into_iter()
            .map(|one| scope.spawn(move || what(one)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<B>>| {
            thread.join().expect("a thread of the crowd panicked")
        };
        threads.into_iter().map(join).collect()
    })
}

impl Crowd {
    /// One thread's share.
    fn guess(self, thread: u32) -> Result<Vec<Held>> {
        let mine = (thread..self.count).step_by(THREADS as usize);
        mine.map(|number| self.guess_as(number)).collect()
    }

    fn guess_as(self, number: u32) -> Result<Held> {
        let source = u32::from(Ipv4Addr::new(127, 64, 0, 0)) + self.first + number;
        let mut client = Client::hello_from(Ipv4Addr::from(source), self.port)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client.send(format!("RCPT TO:<guess-{number}@example.org>\r\n").as_bytes())?;
        let since = Instant::now();
        Ok(Held { client, since })
    }

    /// First what is due, with nothing in between that takes time; then that their sessions go on.
    fn hear(self, held: Vec<Held>) -> Tally {
        let mut tally = Tally::default();
        let mut going_on = Vec::new();
        for mut one in held {
            match self.refusal(&mut one) {
                Ok(took) => {
                    tally.note(took, self.delay);
                    going_on.push(one.client);
                }
                Err(error) => tally.lose(&error),
            }
        }
        for client in going_on {
            match go_on(client) {
                Ok(()) => tally.refused += 1,
                Err(error) => tally.lose(&error),
            }
        }
        tally
    }

    fn refusal(self, held: &mut Held) -> Result<Duration> {
        let Held { client, since } = held;
        let left = (self.delay + LOST_AFTER).saturating_sub(since.elapsed());
        client.patience(left.max(Duration::from_millis(1)))?;
        client.reply()?.expect(550)?;
        Ok(since.elapsed())
    }
}

fn go_on(client: Client) -> Result<()> {
    client.patience(LOST_AFTER)?;
    client.quit()
}

impl Tally {
    fn note(&mut self, took: Duration, delay: Duration) {
        match took.checked_sub(delay) {
            Some(late) => self
                .late
                .push(u64::try_from(late.as_millis()).unwrap_or(u64::MAX)),
            None => self.early += 1,
        }
    }

    fn lose(&mut self, error: &anyhow::Error) {
        self.lost += 1;
        self.first_failure
            .get_or_insert_with(|| format!("{error:#}"));
    }

    fn with(mut self, other: Self) -> Self {
        self.refused += other.refused;
        self.early += other.early;
        self.lost += other.lost;
        self.late.extend(other.late);
        self.first_failure = self.first_failure.or(other.first_failure);
        self
    }

    fn report(mut self) -> serde_json::Value {
        self.late.sort_unstable();
        json!({
            "refused": self.refused, "early": self.early, "lost": self.lost,
            "late_median_ms": self.late.get(self.late.len() / 2),
            "late_most_ms": self.late.last(),
            "first_failure": self.first_failure,
        })
    }
}

fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// The soft limit is 1,024 on many systems; a process may raise it to the hard one.
fn raise_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit)?;
    ensure!(
        maximum.is_none_or(|most| most >= 8192),
        "{maximum:?} descriptors"
    );
    Ok(())
}
