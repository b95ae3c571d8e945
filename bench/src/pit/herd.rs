//! The herd: clients that guess and are held, in as many processes as their number needs.
//!
//! A process has 20,000 descriptors in many containers, and threads would share them. So each is a
//! process with one thread, and takes its orders over a pipe. They fill one after the other, each
//! at the full pace: fifty that each keep a fiftieth of it would wake the machine for nothing.

mod child;
mod client;
mod order;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use child::{Herd as Orders, run};
pub(crate) use order::{Order, Tally};

use super::machine;
use crate::process::{End, Processes};

/// Descriptors that a process of the herd needs for itself.
const OWN_DESCRIPTORS: u64 = 64;

/// The first of the herd's addresses: 127.32.0.1, apart from those of the other parts.
const FIRST_SOURCE: u32 = 0x20_0001;

/// How much farther those over TLS begin, so that two herds don't share addresses.
const TLS_SOURCES: u32 = 0x20_0000;

/// Connections of one address: a million come from 20,000.
const PER_SOURCE: u32 = 50;

/// Connections on their way at a time. A backlog of 128, as some servers have it, overflows with
/// more, and who falls out of it comes again only after a second.
const OPENING_MAX: u32 = 100;

/// How long nothing may move before a herd is taken as it is.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long one process of it may take, at a server that takes some dozens a second.
const FILLING_MAX: Duration = Duration::from_secs(300);
/// How often it is looked at meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// What the clients of a herd do.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// How long a reply is held.
    pub(crate) hold: Duration,
    /// One octet of the next command goes out ahead.
    pub(crate) ahead: bool,
    /// Names and paths are as long as may be.
    pub(crate) long: bool,
    /// The first guess goes out when MAIL has its reply. Servers that delay in the middle of a batch
    /// don't send what they have to say until then.
    pub(crate) stepwise: bool,
    /// STARTTLS, trusting this certificate.
    pub(crate) trust: Option<PathBuf>,
}

/// A running herd. Dropping it ends it.
pub(crate) struct Herd {
    processes: Vec<Process>,
}

struct Process {
    child: End,
    /// Closed, it lets the process leave.
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
    share: u64,
}

impl Herd {
    /// Starts the processes for `count` clients; none connects yet.
    pub(crate) fn start(to: SocketAddr, count: u64, way: &Way) -> Result<Self> {
        let room = machine::descriptors()
            .saturating_sub(OWN_DESCRIPTORS)
            .max(1);
        let processes = count.div_ceil(room).max(1);
        let own = std::env::current_exe().context("where the benchmark itself is")?;
        let mut herd = Self {
            processes: Vec::new(),
        };
        let mut source = FIRST_SOURCE + if way.trust.is_some() { TLS_SOURCES } else { 0 };
        for number in 0..processes {
            let share = count / processes + u64::from(number < count % processes);
            let mut command = Command::new(&own);
            command
                .arg("herd")
                .args(["--to", &to.to_string()])
                .args(["--first-source", &source.to_string()])
                .args(["--per-source", &PER_SOURCE.to_string()])
                .args(["--opening-max", &OPENING_MAX.to_string()])
                .args(["--hold-ms", &way.hold.as_millis().to_string()]);
            if way.ahead {
                command.arg("--ahead");
            }
            if way.long {
                command.arg("--long");
            }
            if way.stepwise {
                command.arg("--stepwise");
            }
            if let Some(path) = &way.trust {
                command.arg("--trust").arg(path);
            }
            herd.processes.push(Process::start(command, share)?);
            // One address more than needed: churn may leave gaps.
            source += u32::try_from(share)? / PER_SOURCE + 2;
        }
        Ok(herd)
    }

    /// Lets all connect, `rate` a second, and waits until they are held; how long it took.
    ///
    /// Where the server takes no more, it ends with those that it took.
    pub(crate) async fn fill(&mut self, rate: f64) -> Result<Duration> {
        let started = Instant::now();
        let mut last = started;
        for process in &mut self.processes {
            process.order(Order::Open {
                count: process.share,
                rate,
            })?;
            let begun = Instant::now();
            let mut seen = (0, begun);
            loop {
                let tally = process.report()?;
                // More than ever before: where some are thrown out for others, there is no end to
                // those that come in.
                let held = tally.held() + tally.silent();
                if held > seen.0 {
                    seen = (held, Instant::now());
                    last = seen.1;
                }
                if held >= process.share
                    || seen.1.elapsed() > PATIENCE
                    || begun.elapsed() > FILLING_MAX
                {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(last.duration_since(started))
    }

    /// Gives all processes an order; paces are divided among them.
    pub(crate) fn order(&mut self, order: Order) -> Result<()> {
        let of = self.processes.len() as f64;
        let order = match order {
            Order::Churn { rate } => Order::Churn { rate: rate / of },
            Order::Guess { rate } => Order::Guess { rate: rate / of },
            other => other,
        };
        for process in &mut self.processes {
            process.order(order)?;
        }
        Ok(())
    }

    /// What all have seen together.
    pub(crate) fn report(&mut self) -> Result<Tally> {
        let mut all = Tally::default();
        for process in &mut self.processes {
            // Who has left has nobody left.
            if process.orders.is_some() {
                all.add(process.report()?);
            }
        }
        Ok(all)
    }

    /// Waits until `done` says so of the report, at most `patience`; the last report.
    pub(crate) async fn wait(
        &mut self,
        patience: Duration,
        done: impl Fn(&Tally) -> bool,
    ) -> Result<Tally> {
        let started = Instant::now();
        loop {
            let tally = self.report()?;
            if done(&tally) || started.elapsed() > patience {
                return Ok(tally);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Processor time so far, of all.
    pub(crate) fn time(&self) -> Result<Duration> {
        let times = self.processes.iter();
        times
            .map(|process| Processes::One(process.child.0.id()).time())
            .sum()
    }
}

impl Herd {
    /// Lets all reset their connections before they end: killed, they would leave them to FIN, and
    /// the kernel would keep each for a minute.
    pub(crate) fn leave(&mut self) {
        for process in &mut self.processes {
            process.orders = None;
        }
        let started = Instant::now();
        for process in &mut self.processes {
            while started.elapsed() < PATIENCE && matches!(process.child.0.try_wait(), Ok(None)) {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Process {
    fn start(mut command: Command, share: u64) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a herd")?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let child = End(child);
        let (Some(orders), Some(reports)) = pipes else {
            bail!("a herd has no pipes");
        };
        Ok(Self {
            child,
            orders: Some(orders),
            reports: BufReader::new(reports),
            share,
        })
    }

    fn order(&mut self, order: Order) -> Result<()> {
        let orders = self.orders.as_mut().context("a herd was sent home")?;
        writeln!(orders, "{order}").context("a herd ended")
    }

    fn report(&mut self) -> Result<Tally> {
        self.order(Order::Report)?;
        let mut line = String::new();
        let read = self.reports.read_line(&mut line);
        if read.context("reading a herd's report")? == 0 {
            bail!("a herd ended");
        }
        Tally::from_json(&line)
    }
}
