//! The effect to show: with `scope = "source"`, a hundred connections of one source learn no more
//! names a minute than one does, however they are used.
//!
//! The upstream takes 200 ms for each recipient, so that a hundred first guesses really are
//! in the air at once: a ledger that charges only when the answer is there would let all pass.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tarpit_interop::{Client, FaultServer, Gateway, config, plain, stuffed};

const DELAY: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(10);

/// How a harvester uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Waits for each answer.
    Politely,
    /// Sends ten guesses at once, and reads afterwards.
    Pipelining,
    /// Hangs up after the first answer that tells nothing, and comes again.
    Reconnecting,
    /// Waits for an answer for a quarter of the delay, then resets the connection and comes again.
    HangingUp,
}

/// A running harvest: answers that tell whether a name exists, and whether it is over.
struct Harvest {
    port: u16,
    way: Way,
    end: Instant,
    answers: AtomicU32,
    unseen: AtomicU32,
}

impl Harvest {
    /// Guesses until the time is over. One name in ten exists.
    fn run(&self, number: u32) {
        let mut guess = number * 1000;
        while Instant::now() < self.end {
            // Refused connections and 421 are part of life here.
            if self.session(&mut guess).is_err() {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn session(&self, guess: &mut u32) -> Result<()> {
        let mut client = Client::hello_from(Ipv4Addr::new(127, 0, 4, 1), self.port)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        let batch = if self.way == Way::Pipelining { 10 } else { 1 };
        while Instant::now() < self.end {
            let mut commands = String::new();
            for _ in 0..batch {
                *guess += 1;
                let name = if guess.is_multiple_of(10) {
                    "user"
                } else {
                    "guess"
                };
                commands.push_str(&format!("RCPT TO:<{name}{guess}@example.org>\r\n"));
            }
            client.send(commands.as_bytes())?;
            if self.way == Way::HangingUp && client.is_silent(DELAY / 4)? {
                return client.reset();
            }
            client.patience(SPAN)?;
            for _ in 0..batch {
                let reply = client.reply()?;
                if Instant::now() > self.end {
                    return Ok(());
                }
                match reply.code {
                    250 | 550 => self.answers.fetch_add(1, Ordering::Relaxed),
                    450 => self.unseen.fetch_add(1, Ordering::Relaxed),
                    _ => return Ok(()),
                };
                if self.way == Way::Reconnecting && reply.code == 450 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Answers that `connections` get in [`SPAN`].
fn harvest(way: Way, connections: u32) -> Result<u32> {
    let server = FaultServer::start()?;
    server.delay(Duration::from_millis(200));
    let rest = "[tarpit]\nmode = \"enforce\"\ndelay = \"1s\"\nscope = \"source\"\nhold_max = \"5s\"\n\
                [limits]\nsessions_per_source_max = 200";
    let gateway = Gateway::start(&config(server.port(), "none", rest))?;
    let harvest = Harvest {
        port: gateway.port()?,
        way,
        end: Instant::now() + SPAN,
        answers: AtomicU32::new(0),
        unseen: AtomicU32::new(0),
    };
    thread::scope(|scope| {
        for number in 0..connections {
            let harvest = &harvest;
            scope.spawn(move || harvest.run(number));
        }
        // With the pit full, mail of somebody else is as fast as with the pit empty.
        let mut slowest = Duration::ZERO;
        for number in 0..8 {
            thread::sleep(SPAN / 10);
            let start = Instant::now();
            let mut other = Client::hello_from(Ipv4Addr::new(127, 0, 4, 2), harvest.port)?;
            let wire = stuffed(&plain(&format!("wanted{number}")));
            other
                .deliver("s@example.net", &["alice@example.org"], &wire)?
                .expect(250)?;
            other.quit()?;
            slowest = slowest.max(start.elapsed());
        }
        assert!(
            slowest < Duration::from_millis(1500),
            "{way:?}: wanted mail waited {slowest:?}"
        );
        anyhow::Ok(())
    })?;
    // What the client heard is one thing, what the upstream was asked another: both count.
    let asked = server
        .commands()
        .iter()
        .filter(|line| line.contains("guess"))
        .count();
    let (answers, unseen) = (harvest.answers.into_inner(), harvest.unseen.into_inner());
    println!(
        "{way:?}, {connections} connections: {answers} answers, {unseen} unseen, {asked} asked"
    );
    assert!(
        asked <= ASKED,
        "{way:?}: the upstream was asked for {asked} guesses"
    );
    gateway.stop()?;
    Ok(answers)
}

/// One answer for each second; one that began before, and the good guesses, which are free (one
/// in ten, so at most a handful more).
const ALLOWED: u32 = 10 + 2 + 4;

/// Guesses that reach the upstream: those that were answered, and those whose price was
/// reserved when the time was over (`hold_max` in all), with some slack for slow machines. A
/// hang-up that gave a reservation back would let through hundreds.
const ASKED: usize = 10 + 5 + 9;

fn shows(way: Way) -> Result<()> {
    let answers = harvest(way, 100)?;
    // Who waits for the answers gets some, or this would show nothing.
    let least = if way == Way::HangingUp { 0 } else { 5 };
    assert!(
        (least..=ALLOWED).contains(&answers),
        "{way:?}: {answers} answers in {SPAN:?}, allowed {least} to {ALLOWED}"
    );
    Ok(())
}

#[test]
fn one_connection_is_the_measure() -> Result<()> {
    let answers = harvest(Way::Politely, 1)?;
    assert!(
        (5..=ALLOWED).contains(&answers),
        "{answers} answers in {SPAN:?}"
    );
    Ok(())
}

#[test]
fn a_hundred_connections() -> Result<()> {
    shows(Way::Politely)
}

#[test]
fn a_hundred_pipelining() -> Result<()> {
    shows(Way::Pipelining)
}

#[test]
fn a_hundred_reconnecting() -> Result<()> {
    shows(Way::Reconnecting)
}

#[test]
fn a_hundred_hanging_up() -> Result<()> {
    shows(Way::HangingUp)
}
