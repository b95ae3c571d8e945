//! Two upgrades under a pit as full as one process can have it: fifteen thousand clients wait, a
//! hundred are in the middle of their messages, others connect all the time. Nobody notices.
//!
//! The gateway is an unprivileged user's and has 20,000 descriptors, as in many containers: of those
//! who wait, some thousand are in a keeper, the others in the front itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{ChildStdout, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tarpit_interop::{
    Client, FaultServer, Gateway, Group, Signal, config, give_away, plain, stuffed, wait_for,
};

use crate::upgrade::Program;

const DESCRIPTORS: u64 = 20_000;

/// Two processes of clients.
const CROWDS: u32 = 2;
const HELD: u32 = 15_000;

const MESSAGES: u8 = 100;
const SENDERS: u8 = 10;

/// Long enough that all are held and the old process is gone before the first is due.
const DELAY: Duration = Duration::from_secs(55);

/// A reply comes no later than this; three programs share two processors.
const LATE: u64 = 2_000;

/// Clients in a process of their own.
pub(crate) struct Crowd {
    _process: Group,
    says: BufReader<ChildStdout>,
    count: u32,
}

impl Crowd {
    /// From source number `first` on, at a gateway that holds for `delay`.
    pub(crate) fn start(port: u16, first: u32, count: u32, delay: Duration) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crowd"));
        let numbers = [u32::from(port), 1 + first, count];
        command.args(numbers.map(|number| number.to_string()));
        command.arg(delay.as_millis().to_string());
        let mut process = Group::spawn_with_pipes(&command)?;
        let says = process.child().stdout.take().context("no output")?;
        Ok(Self {
            _process: process,
            says: BufReader::new(says),
            count,
        })
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a crowd ended");
        Ok(line.trim_end().to_owned())
    }

    /// Waits until all have guessed.
    pub(crate) fn are_held(&mut self) -> Result<()> {
        let said = self.hear()?;
        ensure!(said == "held", "{said}");
        Ok(())
    }

    /// What became of them, when all have heard what was due.
    pub(crate) fn report(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.hear()?)?)
    }

    fn all_were_refused(&mut self) -> Result<()> {
        let report = self.report()?;
        println!("a crowd: {report}");
        let number = |name: &str| report[name].as_u64().context("no number");
        ensure!(number("refused")? == u64::from(self.count), "{report}");
        ensure!(number("early")? == 0, "{report}");
        ensure!(number("late_most_ms")? < LATE, "{report}");
        Ok(())
    }
}

/// What was acknowledged, by its tag.
type Sent = Mutex<Vec<String>>;

fn note(sent: &Sent, tag: String) {
    sent.lock().expect("nobody panics with it").push(tag);
}

fn tagged(tag: &str) -> Vec<u8> {
    stuffed(&plain(&format!("tag-{tag}-")))
}

/// Half of a message.
fn begin(number: u8, port: u16) -> Result<Client> {
    let mut client = Client::hello_from(Ipv4Addr::new(127, 60, 1, number), port)?;
    client.begin("s@example.net", &["alice@example.org"])?;
    let wire = tagged(&format!("slow{number}"));
    client.send(&wire[..wire.len() / 2])?;
    Ok(client)
}

fn end(number: u8, mut client: Client, sent: &Sent) -> Result<()> {
    let tag = format!("slow{number}");
    let wire = tagged(&tag);
    client.send(&wire[wire.len() / 2..])?;
    client.reply()?.expect(250)?;
    note(sent, tag);
    client.quit()
}

/// One message after the other, each on a connection of its own.
fn send_on(number: u8, port: u16, over: &AtomicBool, sent: &Sent) -> Result<()> {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let tag = format!("sender{number}x{count}");
        let mut client = Client::hello_from(Ipv4Addr::new(127, 60, 2, number), port)?;
        client
            .deliver("s@example.net", &["bob@example.org"], &tagged(&tag))?
            .expect(250)
            .with_context(|| tag.clone())?;
        note(sent, tag);
        client.quit()?;
        count += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The server has each message once, and no other.
fn each_came_once(server: &FaultServer, sent: &[String]) -> Result<()> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for message in server.messages() {
        let text = String::from_utf8_lossy(&message).into_owned();
        let tag = text
            .split("tag-")
            .nth(1)
            .context("a message without a tag")?;
        let tag = tag.split('-').next().unwrap_or_default();
        *seen.entry(tag.to_owned()).or_default() += 1;
    }
    for tag in sent {
        ensure!(
            seen.get(tag) == Some(&1),
            "{tag}: {:?} times",
            seen.get(tag)
        );
    }
    ensure!(seen.len() == sent.len(), "{} of {}", seen.len(), sent.len());
    Ok(())
}

/// Fills the pit, upgrades twice, and sees all through.
fn take(gateway: &mut Gateway, program: &Program, port: u16, sent: &Sent) -> Result<()> {
    let began = Instant::now();
    let share = HELD / CROWDS;
    let crowds = (0..CROWDS).map(|number| Crowd::start(port, number * share, share, DELAY));
    let mut crowds: Vec<Crowd> = crowds.collect::<Result<_>>()?;
    crowds.iter_mut().try_for_each(Crowd::are_held)?;
    let slow: Vec<_> = (1..=MESSAGES)
        .map(|number| Ok((number, begin(number, port)?)))
        .collect::<Result<_>>()?;
    let filled = began.elapsed();
    let successor = upgrade(gateway)?;
    let upgraded = began.elapsed();
    for (number, client) in slow {
        end(number, client, sent)?;
    }
    gateway.wait(DELAY)?;
    // The service's reload after the package was upgraded.
    program.replace_by_itself()?;
    kill_process(successor, Signal::HUP)?;
    let are_gone = || (gateway.log().matches("\"drained\"").count() == 2).then_some(());
    wait_for(DELAY, are_gone).with_context(|| gateway.excerpt())?;
    let left = began.elapsed();
    println!("held after {filled:?}, upgraded after {upgraded:?}, again until {left:?}");
    ensure!(left < DELAY, "the first were due before: {left:?}");
    for crowd in &mut crowds {
        crowd.all_were_refused()?;
    }
    println!("over after {:?}", began.elapsed());
    Ok(())
}

/// The process that serves now.
fn upgrade(gateway: &Gateway) -> Result<Pid> {
    let file = gateway.folder().join("tarpit.toml");
    let output = Gateway::command(&["upgrade", "--config", &file.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}{}", gateway.excerpt());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = said.split(' ').filter_map(|word| word.parse().ok());
    numbers.next().and_then(Pid::from_raw).context(said.clone())
}

/// How many sessions went over as parcels, at each upgrade.
fn carried(gateway: &Gateway) -> Result<Vec<f64>> {
    let records = gateway.records_of("tarpit::upgrade");
    let carried = records
        .iter()
        .filter(|record| record.text("message") == "sessions that waited went to the successor");
    carried.map(|record| record.number("sessions")).collect()
}

#[test]
fn nobody_notices() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = tempfile::tempdir()?;
    give_away(runtime.path())?;
    let delay = DELAY.as_secs();
    let rest = format!(
        "connections_max = 200\nconnections_per_source_max = 10\n\
         [tarpit]\nmode = \"enforce\"\ndelay = \"{delay}s\"\nscope = \"source\"\nhold_max = \"{delay}s\"\n\
         [limits]\nsessions_max = 1000\n[pit]\nsessions = 16_000\n[keepers]\ndirectory = {:?}",
        runtime.path()
    );
    let program = Program::new()?;
    give_away(program.folder.path())?;
    let mut gateway = Gateway::start_confined_program(
        &program.path(),
        &config(server.port(), "none", &rest),
        DESCRIPTORS,
        // A record for each session would make the test wait for its own log.
        Some("info,tarpit::session=off,tarpit::hold=off"),
    )?;
    let port = gateway.port()?;
    let (over, sent) = (AtomicBool::new(false), Sent::default());
    std::thread::scope(|scope| {
        let (over, sent) = (&over, &sent);
        let senders: Vec<_> = (1..=SENDERS)
            .map(|number| scope.spawn(move || send_on(number, port, over, sent)))
            .collect();
        let outcome = take(&mut gateway, &program, port, sent);
        over.store(true, Ordering::Relaxed);
        let joined = senders
            .into_iter()
            .map(|sender| sender.join().expect("a sender panicked"));
        let senders: Result<()> = joined.collect();
        outcome.and(senders)
    })?;
    let sent = sent.into_inner()?;
    ensure!(sent.len() > 1000, "only {} messages", sent.len());
    each_came_once(&server, &sent)?;
    let carried = carried(&gateway)?;
    ensure!(
        carried.len() == 2 && carried.iter().all(|&carried| carried > 10_000.0),
        "{carried:?} were handed over"
    );
    Ok(())
}
