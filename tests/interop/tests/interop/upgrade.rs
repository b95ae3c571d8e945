//! A new process takes over from the one that runs: nobody is refused, no message is lost, none
//! comes twice; and a successor that does not come up changes nothing.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Client, Gateway, Postfix, Record, Signal, config, gateway_binary, plain, stuffed, wait_for,
};

/// How long an old process may take to end after a hand-over: the time in which nothing changes for
/// its sessions, and that in which they finish.
const LEAVING: Duration = Duration::from_secs(40);

/// A copy of the binary that can be replaced.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn new() -> Result<Self> {
        let copy = Self {
            folder: tempfile::tempdir()?,
        };
        fs::copy(gateway_binary()?, copy.path())?;
        Ok(copy)
    }

    fn path(&self) -> std::path::PathBuf {
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

    fn replace_by_itself(&self) -> Result<()> {
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

/// Records with this message.
fn said(records: &[Record], message: &str) -> usize {
    let said = records.iter().filter(|one| one.text("message") == message);
    said.count()
}

fn deliver(port: u16, tag: &str) -> Result<()> {
    let mut client = Client::hello(port)?;
    client
        .deliver("s@example.net", &["alice@example.org"], &plain(tag))?
        .expect(250)?;
    client.quit()
}

/// A hundred senders, one message after the other, each on a connection of its own: none of them may
/// notice that the gateway was upgraded three times meanwhile.
#[test]
fn nobody_notices() -> Result<()> {
    const SENDERS: usize = 100;
    let postfix = Postfix::server().xclient().start()?;
    let mut gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let port = gateway.port()?;
    let over = AtomicBool::new(false);
    let sent = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let senders = || -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            let tag = format!("sender-{}", next.fetch_add(1, Ordering::Relaxed));
            deliver(port, &tag).with_context(|| format!("{tag} of the old or new process"))?;
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
        let running: Vec<_> = (0..SENDERS).map(|_| scope.spawn(senders)).collect();
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
    let sent = sent.into_inner()?;
    ensure!(sent.len() > SENDERS, "only {} were sent", sent.len());
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
    for tag in &sent {
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
    ensure!(postfix.wait_mailbox("bob", 1)?.len() == 1);
    Ok(())
}
