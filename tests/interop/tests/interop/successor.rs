//! A successor that is killed while those who wait go over to it: the old process goes on, its
//! listener never closes, and no message is lost.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, kill_process};
use tarpit_interop::{Client, FaultServer, Gateway, Record, Signal, config, plain, stuffed};

use super::alone::fifteen_thousand::Crowd;

/// So many that their way takes some dozens of milliseconds.
const HELD: u32 = 3_000;

const DELAY: Duration = Duration::from_secs(30);

/// How long after it began to accept the successor is killed, in milliseconds.
const POINTS: [u64; 5] = [0, 4, 8, 16, 32];

const SENDERS: u8 = 5;

/// The processes in all records with this message, in their order; 0 where a record names none.
fn all(records: &[Record], message: &str) -> Vec<i32> {
    let found = records.iter().filter(|one| one.text("message") == message);
    found
        .map(|one| one.text("process").parse().unwrap_or(0))
        .collect()
}

/// What a client is told while its process may be killed.
struct Mail<'a> {
    port: u16,
    next: &'a AtomicUsize,
    sent: &'a Mutex<Vec<String>>,
}

impl Mail<'_> {
    fn deliver(&self, number: u8) -> Result<()> {
        let tag = format!("tag-{}-", self.next.fetch_add(1, Ordering::Relaxed));
        let mut client = Client::hello_from(Ipv4Addr::new(127, 61, 1, number), self.port)?;
        let wire = stuffed(&plain(&tag));
        let reply = client.deliver("s@example.net", &["alice@example.org"], &wire)?;
        reply.expect(250)?;
        self.sent.lock().expect("nobody panics with it").push(tag);
        // Whoever was accepted may be killed before it says goodbye.
        let _ = client.quit();
        Ok(())
    }

    /// The successor's sessions end with it; whoever was not told 250 sends again, as another message.
    fn go_on(&self, number: u8, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            if self.deliver(number).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Whether the old process went on. Otherwise the successor was killed when it had everything.
fn kill_after(gateway: &Gateway, round: usize, point: u64) -> Result<bool> {
    let file = gateway.folder().join("tarpit.toml");
    let file = file.to_string_lossy().into_owned();
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(move || Gateway::command(&["upgrade", "--config", &file]));
        // Each old process that goes on listens anew, and so does each successor.
        let listens = 2 * round + 2;
        gateway
            .wait_records(|records| (all(records, "listening").len() >= listens).then_some(()))?;
        std::thread::sleep(Duration::from_millis(point));
        let started = all(&gateway.records(), "successor started");
        let process = *started.get(round).context("no successor")?;
        let process = Pid::from_raw(process).context("no process")?;
        kill_process(process, Signal::KILL)?;
        let output = upgrade.join().expect("it panicked")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let went_on = !output.status.success();
        ensure!(!went_on || said.contains("the successor ended"), "{said}");
        Ok(went_on)
    })
}

fn rounds(gateway: &Gateway, mail: &Mail<'_>) -> Result<usize> {
    for (round, point) in POINTS.into_iter().enumerate() {
        if !kill_after(gateway, round, point)? {
            return Ok(round);
        }
        // At once, and by the old one.
        mail.deliver(100).with_context(|| gateway.excerpt())?;
    }
    Ok(POINTS.len())
}

#[test]
fn killed_on_the_way_it_changes_nothing_for_the_others() -> Result<()> {
    let server = FaultServer::start()?;
    let delay = DELAY.as_secs();
    let rest = format!(
        "[tarpit]\nmode = \"enforce\"\ndelay = \"{delay}s\"\nscope = \"source\"\nhold_max = \"{delay}s\"\n\
         [limits]\nsessions_max = 1000"
    );
    let gateway = Gateway::start(&config(server.port(), "none", &rest))?;
    let port = gateway.port()?;
    let mut crowd = Crowd::start(port, 0, HELD, DELAY)?;
    crowd.are_held()?;
    let (over, next, sent) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        Mutex::default(),
    );
    let mail = Mail {
        port,
        next: &next,
        sent: &sent,
    };
    let rounds = std::thread::scope(|scope| {
        for number in 1..=SENDERS {
            let (mail, over) = (&mail, &over);
            scope.spawn(move || mail.go_on(number, over));
        }
        let rounds = rounds(&gateway, &mail);
        over.store(true, Ordering::Relaxed);
        rounds
    })?;
    ensure!(rounds >= 3, "the old one went on {rounds} times");

    // None hangs, none hears anything else, and those who heard it heard it in time.
    let report = crowd.report()?;
    let number = |name: &str| report[name].as_u64().context("no number");
    let (refused, lost) = (number("refused")?, number("lost")?);
    println!(
        "the old process went on {rounds} times; {refused} refused, {lost} gone with a successor"
    );
    ensure!(refused + lost == u64::from(HELD), "{report}");
    ensure!(
        number("early")? == 0 && number("late_most_ms")? < 2_000,
        "{report}"
    );
    ensure!(rounds < POINTS.len() || refused > 0, "{report}");

    let stored = server.messages();
    for tag in sent.into_inner()? {
        let count = stored
            .iter()
            .filter(|stored| stored.windows(tag.len()).any(|part| part == tag.as_bytes()));
        ensure!(count.count() == 1, "{tag}");
    }
    Ok(())
}
