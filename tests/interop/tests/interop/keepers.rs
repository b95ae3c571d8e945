//! More sessions than one process has descriptors for: keepers hold them, and outlive their front.
//!
//! The gateway runs as an unprivileged user with 128 descriptors: it may hold some 40 sessions itself,
//! and a keeper 96.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, kill_process};
use tarpit_interop::{Client, FaultServer, Gateway, Signal, config, give_away, wait_for};
use tempfile::TempDir;

mod veiled;

const DESCRIPTORS: u64 = 128;

/// Sessions that stay in the front at most: half of what strangers may have.
const IN_FRONT: usize = 41;

/// What a keeper holds.
const ROOM: usize = 96;

/// Where keepers are found. Those that are left are ended with it.
struct Runtime(TempDir);

impl Runtime {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tarpit-run-").tempdir()?;
        give_away(folder.path())?;
        Ok(Self(folder))
    }

    fn keepers(&self) -> Vec<i32> {
        let entries = std::fs::read_dir(self.0.path())
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let process = name
                    .to_str()?
                    .strip_prefix("keeper-")?
                    .strip_suffix(".sock")?;
                process.parse().ok()
            })
            .collect()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for process in self.keepers() {
            kill(process);
        }
    }
}

fn kill(process: i32) {
    if let Some(process) = Pid::from_raw(process) {
        // It may have ended by itself.
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Descriptors that a process has open.
fn sockets(process: i32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

fn settings(server: &FaultServer, runtime: &Runtime, delay: u64) -> String {
    let rest = format!(
        "connections_max = 10\nconnections_per_source_max = 5\nconnections_reserved = 2\n\
         [tarpit]\nmode = \"enforce\"\ndelay = \"{delay}s\"\nscope = \"source\"\nhold_max = \"{}s\"\n\
         [limits]\nsessions_per_source_max = 1000\n\
         [keepers]\ndirectory = \"{}\"",
        delay * 3,
        runtime.path().display()
    );
    config(server.port(), "none", &rest)
}

/// A client that has made its guess. The front has few descriptors, and says 421 until sessions
/// have gone to keepers.
fn guess(source: Ipv4Addr, port: u16, name: &str) -> Result<(Client, Instant)> {
    let client = wait_for(Duration::from_secs(20), || {
        let mut client = Client::hello_from(source, port).ok()?;
        client
            .command("MAIL FROM:<s@example.net>")
            .ok()?
            .expect(250)
            .ok()?;
        Some(client)
    });
    let mut client = client.context("never let in")?;
    client.send(format!("RCPT TO:<guess-{name}@example.org>\r\n").as_bytes())?;
    Ok((client, Instant::now()))
}

/// A breath after so many guesses: with so few descriptors, who comes at thousands a second is shed
/// before a keeper is started.
const BATCH: usize = 16;

/// Guesses of so many sources, each once.
fn guesses(network: u8, count: usize, port: u16) -> Result<Vec<(Client, Instant)>> {
    (0..count)
        .map(|number| {
            if number % BATCH == 0 {
                std::thread::sleep(Duration::from_millis(30));
            }
            let [.., high, low] = number.to_be_bytes();
            guess(
                Ipv4Addr::new(127, network, high, low),
                port,
                &number.to_string(),
            )
        })
        .collect()
}

#[test]
fn a_front_that_is_killed_loses_no_session_of_its_keepers() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = Runtime::new()?;
    let delay = 8;
    let settings = settings(&server, &runtime, delay);
    let mut first = Gateway::start_confined(&settings, DESCRIPTORS)?;
    let own = own_descriptors(&runtime)?;
    let clients = guesses(31, 110, first.port()?)?;
    // It takes nobody back and sends nobody any more while they are counted.
    first.signal(Signal::STOP)?;
    let kept = settled(|| kept(&runtime, own));
    ensure!(kept >= 110 - IN_FRONT - 10, "only {kept} are in keepers");
    first.signal(Signal::KILL)?;
    ensure!(wait_for(Duration::from_secs(5), || (!first.runs()).then_some(())).is_some());

    // Nobody is there, and what is due is said in time.
    let mut alive = Vec::new();
    for (mut client, since) in clients {
        if let Ok(reply) = client.reply() {
            reply.expect(550)?;
            let took = since.elapsed();
            ensure!(
                took >= Duration::from_secs(delay) - Duration::from_millis(100),
                "{took:?}"
            );
            alive.push(client);
        }
    }
    ensure!(alive.len() == kept, "{} of {kept} are left", alive.len());
    // One speaks before anybody can hear it.
    let (early, others) = alive.split_at_mut(1);
    early[0].send(b"RSET\r\n")?;

    let second = Gateway::start_confined(&settings, DESCRIPTORS)?;
    early[0].reply()?.expect(250)?;
    for client in others.iter_mut() {
        client.command("NOOP")?.expect(250)?;
    }
    all_quit(alive, second)
}

/// As after a trial that a crash ended: nobody waits in observe, not those either who were held before.
#[test]
fn a_front_that_comes_back_in_observe_lets_those_in_keepers_go() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = Runtime::new()?;
    let delay = 25;
    let settings = settings(&server, &runtime, delay);
    let mut first = Gateway::start_confined(&settings, DESCRIPTORS)?;
    let own = own_descriptors(&runtime)?;
    let clients = guesses(32, 110, first.port()?)?;
    first.signal(Signal::STOP)?;
    let kept = settled(|| kept(&runtime, own));
    ensure!(kept >= 110 - IN_FRONT - 10, "only {kept} are in keepers");
    first.signal(Signal::KILL)?;
    ensure!(wait_for(Duration::from_secs(5), || (!first.runs()).then_some(())).is_some());

    let observes = settings.replace("\"enforce\"", "\"observe\"");
    let second = Gateway::start_confined(&observes, DESCRIPTORS)?;
    let mut alive = Vec::new();
    let mut longest = Duration::ZERO;
    for (mut client, since) in clients {
        if let Ok(reply) = client.reply() {
            reply.expect(550)?;
            longest = longest.max(since.elapsed());
            alive.push(client);
        }
    }
    ensure!(alive.len() == kept, "{} of {kept} are left", alive.len());
    ensure!(
        longest < Duration::from_secs(delay - 5),
        "one waited for {longest:?}"
    );
    all_quit(alive, second)
}

/// Who spoke lies in the socket of a front that hears nobody any more.
#[test]
fn a_front_that_is_killed_loses_nobody_who_was_on_the_way_to_it() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = Runtime::new()?;
    let delay = 6;
    let settings = settings(&server, &runtime, delay);
    let mut first = Gateway::start_confined(&settings, DESCRIPTORS)?;
    let own = own_descriptors(&runtime)?;
    let clients = guesses(42, 110, first.port()?)?;
    first.signal(Signal::STOP)?;
    let before = settled(|| kept(&runtime, own));
    std::thread::sleep(Duration::from_secs(delay + 1));
    let mut heard = Vec::new();
    for (mut client, _) in clients {
        // Those that the front has hear nothing.
        client.patience(Duration::from_millis(200))?;
        if let Ok(reply) = client.reply() {
            reply.expect(550)?;
            heard.push(client);
        }
    }
    ensure!(heard.len() == before, "{} of {before} heard", heard.len());
    for client in &mut heard {
        client.send(b"NOOP\r\n")?;
    }
    // They keep what they have sent.
    let now = settled(|| kept(&runtime, own));
    ensure!(now == before, "{now} of {before} are kept");
    first.signal(Signal::KILL)?;
    ensure!(wait_for(Duration::from_secs(5), || (!first.runs()).then_some(())).is_some());
    let second = Gateway::start_confined(&settings, DESCRIPTORS)?;
    for client in &mut heard {
        client.patience(Duration::from_secs(20))?;
        let reply = client.reply().with_context(|| second.excerpt())?;
        reply.expect(250)?;
    }
    all_quit(heard, second)
}

/// All say goodbye, and each has its record.
fn all_quit(clients: Vec<Client>, gateway: Gateway) -> Result<()> {
    let count = clients.len();
    for client in clients {
        client.quit()?;
    }
    let records = gateway.wait_for_records("tarpit::session", count)?;
    let ended_well = records.iter().filter(|record| record.text("end") == "quit");
    ensure!(ended_well.count() == count, "{}", gateway.excerpt());
    gateway.stop()
}

/// Descriptors of the first keeper that are no client's: it holds nobody yet.
fn own_descriptors(runtime: &Runtime) -> Result<usize> {
    first_keeper(runtime)?;
    let own = settled(|| {
        runtime
            .keepers()
            .first()
            .map_or(0, |keeper| sockets(*keeper))
    });
    ensure!(own > 0, "the keeper is gone");
    Ok(own)
}

/// Clients in keepers, each of which has so many descriptors of its `own`.
fn kept(runtime: &Runtime, own: usize) -> usize {
    let keepers = runtime.keepers();
    let held = keepers.iter().map(|keeper| sockets(*keeper));
    held.map(|sockets| sockets.saturating_sub(own)).sum()
}

/// A number that has not changed for a moment.
fn settled(number: impl Fn() -> usize) -> usize {
    let mut last = number();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(20));
        let now = number();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn a_keeper_that_is_killed_takes_only_its_own_sessions_along() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = Runtime::new()?;
    let gateway = Gateway::start_confined(&settings(&server, &runtime, 8), DESCRIPTORS)?;
    first_keeper(&runtime)?;
    let clients = guesses(32, 190, gateway.port()?)?;
    let two = || (runtime.keepers().len() >= 2).then(|| runtime.keepers());
    let keepers = wait_for(Duration::from_secs(5), two).context("too few keepers")?;
    let fullest = keepers
        .iter()
        .copied()
        .max_by_key(|keeper| sockets(*keeper));
    kill(fullest.context("none")?);
    let (mut answered, mut lost) = (0, 0);
    for (mut client, _) in clients {
        match client.reply() {
            Ok(reply) => {
                reply.expect(550).with_context(|| gateway.excerpt())?;
                answered += 1;
            }
            Err(_) => lost += 1,
        }
    }
    ensure!(
        (1..=ROOM).contains(&lost) && answered >= 190 - ROOM,
        "{answered} answered, {lost} lost"
    );
    // Their places are free: the gateway does not wait for them.
    gateway.stop()
}

#[test]
fn a_hundred_connections_over_three_keepers_owe_one_debt() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = Runtime::new()?;
    let delay = 4;
    let gateway = Gateway::start_confined(&settings(&server, &runtime, delay), DESCRIPTORS)?;
    let port = gateway.port()?;
    first_keeper(&runtime)?;
    // These fill the front and a keeper and a half; they stay when they have their answer.
    let others = guesses(33, 150, port)?;
    let start = Instant::now();
    let many: Vec<_> = (0..100)
        .map(|number| {
            if number % BATCH == 0 {
                std::thread::sleep(Duration::from_millis(30));
            }
            guess(Ipv4Addr::new(127, 0, 34, 1), port, &format!("many{number}"))
        })
        .collect::<Result<_>>()?;
    let span = Duration::from_secs(3 * delay);
    let mut answers = 0;
    for (mut client, _) in many {
        let left = span
            .saturating_sub(start.elapsed())
            .max(Duration::from_millis(1));
        client.patience(left)?;
        if client.reply().is_ok_and(|reply| reply.code == 550) && start.elapsed() <= span {
            answers += 1;
        }
    }
    ensure!((1..=4).contains(&answers), "{answers} answers in {span:?}");
    ensure!(runtime.keepers().len() >= 3, "{:?}", runtime.keepers());
    gateway.signal(Signal::TERM)?;
    // Who has its answer is in a transaction, which it may finish.
    drop(others);
    let busy = gateway.wait_records(|records| {
        let ends = records
            .iter()
            .filter(|record| record.text("message") == "keeper ends");
        let kept = ends.filter(|end| end.number("kept").is_ok_and(|kept| kept > 0.0));
        (kept.count() >= 3).then_some(())
    });
    busy.context("fewer than three keepers held something")
}

/// Waits until the first keeper is there: with few descriptors, who comes before it may be let go.
fn first_keeper(runtime: &Runtime) -> Result<()> {
    let one = || (!runtime.keepers().is_empty()).then_some(());
    wait_for(Duration::from_secs(20), one).context("no keeper")
}

/// Who was in a keeper, has its answer and guesses once more, is held in a keeper once more; so is who
/// sends its next command ahead. Nobody is shed for want of room in the front.
#[test]
fn who_guesses_again_goes_to_a_keeper_again() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = Runtime::new()?;
    let gateway = Gateway::start_confined(&settings(&server, &runtime, 4), DESCRIPTORS)?;
    first_keeper(&runtime)?;
    let mut clients = guesses(36, 110, gateway.port()?)?;
    for round in 0..3 {
        for (number, (client, _)) in clients.iter_mut().enumerate() {
            let speaks_ahead = number % 2 == 1;
            let reply = client.reply()?.expect(550);
            reply.with_context(|| gateway.excerpt())?;
            if round > 0 && speaks_ahead {
                client.reply()?.expect(250)?;
            }
            let ahead = if speaks_ahead { "NOOP\r\n" } else { "" };
            let guess = format!("RCPT TO:<again-{round}-{number}@example.org>\r\n{ahead}");
            client.send(guess.as_bytes())?;
        }
    }
    gateway.stop()
}

/// What clients have sent ahead lies in the kernel, whichever process holds them: three pages each of
/// 110 clients are more than the mebibyte that the pit may take here; those of the front's own forty
/// are not.
#[test]
fn what_lies_unread_in_keepers_counts() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = Runtime::new()?;
    let settings = format!(
        "{}\n[pit]\nmemory = 1_048_576",
        settings(&server, &runtime, 20)
    );
    let gateway = Gateway::start_confined(&settings, DESCRIPTORS)?;
    first_keeper(&runtime)?;
    let mut clients = guesses(37, 110, gateway.port()?)?;
    let ahead = b"NOOP\r\n".repeat(2_000);
    for (client, _) in &mut clients {
        client.send(&ahead)?;
    }
    let shed = gateway.wait_records(|records| {
        let end = records.iter().find(|record| {
            record.target() == "tarpit::pit" && record.text("message").contains("no longer")
        });
        end.map(|end| end.text("reason"))
    })?;
    ensure!(shed == "memory", "shed for {shed}");
    let mut let_go = 0;
    for (mut client, _) in clients {
        let reply = client.reply()?;
        if reply.code == 421 {
            let_go += 1;
        } else {
            reply.expect(550)?;
        }
    }
    // Down to nine tenths of the mebibyte: 78 of three pages and a record are left.
    ensure!((25..45).contains(&let_go), "{let_go} were let go");
    gateway.stop()
}

#[test]
fn an_upgrade_hands_the_keepers_over() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = Runtime::new()?;
    let gateway = Gateway::start_confined(&settings(&server, &runtime, 5), DESCRIPTORS)?;
    let clients = guesses(35, 110, gateway.port()?)?;
    gateway.signal(Signal::USR2)?;
    gateway.wait_records(|records| {
        let mut messages = records.iter().map(|record| record.text("message"));
        let taken = messages.any(|message| message == "a keeper without a front is taken over");
        taken.then_some(())
    })?;
    // Whoever it was that held them: all have their answers, and go on.
    let mut going_on = 0;
    for (mut client, _) in clients {
        client.reply()?.expect(550)?;
        if client.command("NOOP").is_ok_and(|reply| reply.code == 250) {
            going_on += 1;
        }
        client.quit()?;
    }
    ensure!(going_on == 110, "{going_on} went on");
    Ok(())
}
