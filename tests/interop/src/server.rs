//! What the tests ask of every mail server, whatever its make.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::wait_for;

/// How long a message may take from the acknowledgement to the mailbox on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Octets at the start of a stored message in which its Message-ID is looked for: trace fields of
/// two servers fit.
const HEAD: u64 = 16_384;

/// A ready server for `example.org` on 127.0.0.1.
pub trait MailServer: Send + Sync {
    /// The port for SMTP, where STARTTLS is offered if the server has a certificate.
    fn port(&self) -> u16;

    /// The port where TLS comes first.
    fn implicit_port(&self) -> Option<u16>;

    /// The port where a PROXY header comes first.
    fn proxy_port(&self) -> Option<u16>;

    /// All that it logged: which clients it saw, among other things.
    fn log(&self) -> String;

    /// The folder into which messages for `user` are delivered, one file each.
    fn mailbox(&self, user: &str) -> PathBuf;
}

/// Waits for the message with `Message-ID: <TAG@example.net>` in the mailbox of `user`.
///
/// # Errors
/// When it doesn't come; with the server's log.
pub fn wait_message(server: &dyn MailServer, user: &str, tag: &str) -> Result<Vec<u8>> {
    let folder = server.mailbox(user);
    wait_for(PATIENCE, || find(&folder, tag)).with_context(|| {
        format!(
            "{tag} never came to {user} of the server; the end of its log:\n{}",
            tail(&server.log())
        )
    })
}

/// Copies of this message in `folder` now.
#[must_use]
pub fn count_messages(folder: &Path, tag: &str) -> usize {
    files(folder)
        .iter()
        .filter(|file| has_tag(file, tag))
        .count()
}

/// The last lines of a log.
#[must_use]
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let start = lines.len().saturating_sub(25);
    lines.get(start..).unwrap_or_default().join("\n")
}

fn find(folder: &Path, tag: &str) -> Option<Vec<u8>> {
    let file = files(folder).into_iter().find(|file| has_tag(file, tag))?;
    fs::read(file).ok()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    // No folder yet: no message yet.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn has_tag(file: &Path, tag: &str) -> bool {
    let mut head = Vec::new();
    let Ok(opened) = fs::File::open(file) else {
        return false;
    };
    if opened.take(HEAD).read_to_end(&mut head).is_err() {
        return false;
    }
    let wanted = format!("Message-ID: <{tag}@example.net>");
    String::from_utf8_lossy(&head).contains(&wanted)
}
