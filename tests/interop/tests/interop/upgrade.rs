//! A new process takes over from the one that runs: nobody is refused, no message is lost, none
//! comes twice; and a successor that does not come up changes nothing.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Client, Gateway, Postfix, Record, Signal, config, gateway_binary, plain, stuffed,
};

/// How long an old process may take to end after a hand-over: the time in which nothing changes for
/// its sessions, and that in which they finish.
const LEAVING: Duration = Duration::from_secs(40);

/// A copy of the binary that can be replaced.
pub(super) struct Program {
    pub(super) folder: tempfile::TempDir,
}

impl Program {
    pub(super) fn new() -> Result<Self> {
        let program = Self {
            folder: tempfile::tempdir()?,
        };
        fs::copy(gateway_binary()?, program.path())?;
        Ok(program)
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("tarpit")
    }

    /// As a package does it: a new file under the old name.
    fn replace(&self, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let new = self.folder.path().join("tarpit.new");
        write(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(new, self.path())?;
        Ok(())
    }

    pub(super) fn replace_by_itself(&self) -> Result<()> {
        self.replace(|new| Ok(fs::copy(gateway_binary()?, new).map(drop)?))
    }

    fn replace_by_script(&self, script: &str) -> Result<()> {
        self.replace(|new| Ok(fs::write(new, format!("#!/bin/sh\n{script}\n"))?))
    }
}

fn upgrade(gateway: &Gateway) -> Result<std::process::Output> {
    let file = gateway.folder().join("tarpit.toml");
    Gateway::command(&["upgrade", "--config", &file.to_string_lossy()])
}

fn deliver(source: Ipv4Addr, port: u16, tag: &str) -> Result<()> {
    let mut client = Client::hello_from(source, port)?;
    client
        .deliver(
            "s@example.net",
            &["alice@example.org"],
            &stuffed(&plain(tag)),
        )?
        .expect(250)?;
    client.quit()
}

/// What was acknowledged is in alice's mailbox, each message once, and nothing else.
fn each_came_once(postfix: &Postfix, sent: &[String]) -> Result<()> {
    ensure!(sent.len() > 100, "only {} were sent", sent.len());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for stored in postfix.wait_mailbox("alice", sent.len())? {
        let text = String::from_utf8_lossy(&stored).into_owned();
        let tag = text
            .split("sender-")
            .nth(1)
            .context("a message without a tag")?;
        let tag: String = tag.chars().take_while(char::is_ascii_digit).collect();
        *seen.entry(format!("sender-{tag}")).or_default() += 1;
    }
    for tag in sent {
        ensure!(
            seen.get(tag) == Some(&1),
            "{tag}: {:?} times",
            seen.get(tag)
        );
    }
    ensure!(
        seen.len() == sent.len(),
        "{} sent, {} came",
        sent.len(),
        seen.len()
    );
    Ok(())
}

/// A hundred senders, one message after the other, each on a connection of its own: none of them may
/// notice that the gateway was upgraded three times meanwhile.
#[test]
fn nobody_notices() -> Result<()> {
    const SENDERS: u8 = 100;
    let postfix = Postfix::server().xclient().start()?;
    let mut gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let port = gateway.port()?;
    let over = AtomicBool::new(false);
    let sent = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let senders = &|number: u8| -> Result<()> {
        let source = Ipv4Addr::new(127, 9, 1, 1 + number);
        while !over.load(Ordering::Relaxed) {
            let tag = format!("sender-{}", next.fetch_add(1, Ordering::Relaxed));
            deliver(source, port, &tag)
                .with_context(|| format!("{tag} of the old or new process"))?;
            sent.lock().expect("nobody panics with it").push(tag);
        }
        Ok(())
    };
    // One that was in the middle of its message at the first upgrade.
    let mut slow = Client::hello(port)?;
    slow.begin("s@example.net", &["bob@example.org"])?;
    let message = stuffed(&plain("slow"));
    slow.send(&message[..message.len() / 2])?;

    std::thread::scope(|scope| -> Result<()> {
        let running: Vec<_> = (0..SENDERS)
            .map(|number| scope.spawn(move || senders(number)))
            .collect();
        let upgraded = (1..=3).try_for_each(|round| {
            std::thread::sleep(Duration::from_secs(2));
            let output = upgrade(&gateway)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(
                output.status.success(),
                "round {round}: {said}\n{}",
                gateway.excerpt()
            );
            Ok(())
        });
        std::thread::sleep(Duration::from_secs(2));
        over.store(true, Ordering::Relaxed);
        for sender in running {
            sender.join().expect("a sender panicked")?;
        }
        upgraded
    })?;

    // The first process still runs for its sake, and it alone.
    slow.send(&message[message.len() / 2..])?;
    slow.reply()?.expect(250)?;
    slow.quit()?;
    gateway.wait(LEAVING)?;
    each_came_once(&postfix, &sent.into_inner()?)?;
    ensure!(postfix.wait_mailbox("bob", 1)?.len() == 1);
    Ok(())
}

/// Whatever is wrong with a successor: the one that runs goes on, says why, and is upgraded when
/// that is mended.
#[test]
fn a_successor_that_does_not_come_up_changes_nothing() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let good = config(postfix.port(), "xclient", "");
    let program = Program::new()?;
    let gateway = Gateway::start_program(&program.path(), &good, None)?;
    let port = gateway.port()?;
    let source = Ipv4Addr::new(127, 9, 2, 1);

    // `tarpit upgrade` names the mistake itself; by signal the successor does.
    gateway.configure(&good.replace("hostname", "hotsname"))?;
    let output = upgrade(&gateway)?;
    ensure!(output.status.code() == Some(78), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stderr).contains("hotsname"));
    gateway.signal(Signal::USR2)?;
    let told = |records: &[Record], reason: &str| {
        let mut told = records.iter();
        told.any(|one| one.target() == "tarpit::upgrade" && one.text("reason").contains(reason))
            .then_some(())
    };
    gateway.wait_records(|records| told(records, "hotsname"))?;
    deliver(source, port, "sender-1")?;

    // A program that ends, and one that hangs.
    gateway.configure(&good)?;
    for (script, reason) in [
        ("exit 3", "exit status: 3"),
        ("exec sleep 600", "not ready after"),
    ] {
        program.replace_by_script(script)?;
        let output = upgrade(&gateway)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1) && said.contains(reason),
            "{said}"
        );
        gateway.wait_records(|records| told(records, reason))?;
        deliver(source, port, "sender-2")?;
    }

    program.replace_by_itself()?;
    let output = upgrade(&gateway)?;
    ensure!(output.status.success(), "{output:?}");
    deliver(source, port, "sender-3")?;
    let all = postfix.wait_mailbox("alice", 4)?;
    ensure!(all.len() == 4, "{} messages", all.len());
    Ok(())
}

/// `systemctl reload` after the package was upgraded: the new program takes over, and the manager
/// hears which process is the main one now.
#[test]
fn a_reload_takes_the_new_program() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let program = Program::new()?;
    let manager = program.folder.path().join("notify");
    let socket = UnixDatagram::bind(&manager)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut gateway = Gateway::start_program(
        &program.path(),
        &config(postfix.port(), "xclient", ""),
        Some(&manager),
    )?;
    let port = gateway.port()?;
    let hear = |text: &str| -> Result<Vec<String>> {
        let mut heard = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let count = socket
                .recv(&mut buffer)
                .with_context(|| format!("{heard:?}"))?;
            let said = String::from_utf8_lossy(&buffer[..count]).into_owned();
            heard.extend(said.lines().map(str::to_owned));
            if said.contains(text) {
                return Ok(heard);
            }
        }
    };
    hear("READY=1")?;

    // The same program: no more than a reload.
    gateway.signal(Signal::HUP)?;
    let heard = hear("READY=1")?;
    ensure!(
        !heard.iter().any(|line| line.starts_with("MAINPID")),
        "{heard:?}"
    );

    program.replace_by_itself()?;
    gateway.signal(Signal::HUP)?;
    let heard = hear("READY=1")?;
    let main = heard
        .iter()
        .filter_map(|line| line.strip_prefix("MAINPID="));
    let main: Vec<u32> = main.map(str::parse).collect::<Result<_, _>>()?;
    ensure!(heard.contains(&"RELOADING=1".to_owned()), "{heard:?}");
    let started = gateway.wait_records(|records| {
        let mut started = records.iter();
        let started = started.find(|one| one.text("message") == "successor started")?;
        started.number("process").ok()
    })?;
    ensure!(
        !main.is_empty() && main.iter().all(|main| f64::from(*main) == started),
        "{heard:?}"
    );
    gateway.wait(LEAVING)?;
    let heard = hear("STATUS=serving")?;
    ensure!(!heard.contains(&"STOPPING=1".to_owned()), "{heard:?}");
    deliver(Ipv4Addr::new(127, 9, 3, 1), port, "sender-1")
}
