//! One cell of the table: a client sends all that it can to a server that takes it, and what
//! arrived is compared octet by octet.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use tarpit_interop::{
    Courier, Form, Letter, MailServer, UTF8_USER, Way, binary, dot_stuffed, eight_bit, large,
    long_lines, plain, received_part, tail, wait_message,
};

use super::servers::Upstream;

/// Cells of one server at once. Most of the time goes into starting programs.
const AT_ONCE: usize = 2;

/// A client, and the way that it goes.
pub(super) struct Cell {
    pub(super) courier: Courier,
    pub(super) way: Way,
}

/// One message: the letter, and what is looked for at the other end.
struct Case {
    what: &'static str,
    tag: String,
    letter: Letter,
}

impl Cell {
    /// All that this client can send to this server.
    fn cases(&self, upstream: &Upstream) -> Vec<Case> {
        let mut cases = vec![
            self.case("short", plain, Form::Plain),
            self.case("dots", dot_stuffed, Form::Plain),
            self.case("long", long_lines, Form::Plain),
            self.case("8bit", eight_bit, Form::Plain),
        ];
        if upstream.utf8 && self.courier.speaks_utf8() {
            cases.push(self.case("utf8", plain, Form::Utf8));
        }
        if upstream.chunks && self.courier.sends_chunks() {
            cases.push(self.case("chunks", dot_stuffed, Form::Chunks));
            cases.push(self.case("25MiB-chunks", |tag| large(tag, 25 << 20), Form::Chunks));
        }
        if upstream.binary && self.courier.sends_chunks() {
            cases.push(self.case("binary", binary, Form::Binary));
        }
        if self.courier == Courier::Smtplib {
            cases.push(self.case("25MiB", |tag| large(tag, 25 << 20), Form::Plain));
        }
        cases
    }

    fn case(&self, what: &'static str, make: fn(&str) -> Vec<u8>, form: Form) -> Case {
        let tag = format!("{what}.{}.{}", self.courier.name(), self.way.tls.name());
        let (from, to) = match form {
            Form::Utf8 => ("s\u{fc}d@example.net", UTF8_USER),
            _ => ("sender@example.net", "alice"),
        };
        Case {
            what,
            letter: Letter {
                message: make(&tag),
                from: from.to_owned(),
                to: format!("{to}@example.org"),
                form,
            },
            tag,
        }
    }

    /// Sends all messages, and compares what arrived.
    fn run(&self, upstream: &Upstream, server: &dyn MailServer) -> Result<String> {
        let cases = self.cases(upstream);
        let letters: Vec<Letter> = cases.iter().map(|case| case.letter.clone()).collect();
        let relay = self.courier.send(&self.way, &letters)?;
        let mut done = String::new();
        for case in &cases {
            case.compare(server)
                .with_context(|| format!("the end of the relay's log:\n{}", tail(&relay.log())))?;
            write!(done, " {}", case.what)?;
        }
        let seen = self.way.source.to_string();
        ensure!(
            upstream.identity == "none" || server.log().contains(&seen),
            "the server never saw {seen}; its log:\n{}",
            tail(&server.log())
        );
        Ok(done)
    }
}

impl Case {
    fn compare(&self, server: &dyn MailServer) -> Result<()> {
        let (user, _) = self.letter.to.split_once('@').context("no @")?;
        let stored = wait_message(server, user, &self.tag)?;
        let sent = &self.letter.message;
        let same = match self.letter.form {
            // Line ends are content here, and the server keeps them.
            Form::Binary => stored.ends_with(sent),
            _ => received_part(&stored) == *sent,
        };
        ensure!(
            same,
            "{} was changed on the way: {} octets became {}",
            self.what,
            sent.len(),
            received_part(&stored).len()
        );
        Ok(())
    }
}

/// Runs all cells, a few at once, and prints a line for each.
pub(super) fn table(cells: Vec<Cell>, upstream: &Upstream, server: &dyn MailServer) -> Result<()> {
    ensure!(!cells.is_empty(), "an empty table");
    let queue = Mutex::new(VecDeque::from(cells));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = next(&queue) {
                    if let Some(line) = report(&cell, upstream, server) {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push(line);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} cells failed:\n{}", failed.len(), failed.join("\n"))
}

/// Runs a cell and prints its line. Returns the line if it failed.
fn report(cell: &Cell, upstream: &Upstream, server: &dyn MailServer) -> Option<String> {
    let start = Instant::now();
    let result = cell.run(upstream, server);
    let line = format!(
        "{:<11}{:<11}{:<9}{:>5.1} s ",
        cell.courier.name(),
        upstream.name,
        cell.way.tls.name(),
        start.elapsed().as_secs_f64()
    );
    match result {
        Ok(done) => {
            println!("{line}{done}");
            None
        }
        Err(error) => {
            println!("{line} FAILED: {error:#}");
            Some(line)
        }
    }
}

fn next(queue: &Mutex<VecDeque<Cell>>) -> Option<Cell> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.pop_front()
}
