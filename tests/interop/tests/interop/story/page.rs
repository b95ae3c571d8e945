//! What was done and seen, and the page that shows it.
//!
//! The blocks of the page that are marked `console` are what the test did, one for one, in this order.
//! Addresses, ports and folders are shown as those of a server elsewhere. What is another one in each
//! run is left out when the two are compared: times, names of sessions, how wide a column is. Commands,
//! words, counts and who is named must be the same; `TARPIT_BLESS=1` writes the blocks anew.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use tarpit_interop::repository;

/// Where a service has its configuration and its records: so the page shows them.
pub(super) const CONFIG: &str = "/etc/tarpit/tarpit.toml";
pub(super) const RECORDS: &str = "/var/lib/tarpit/records.jsonl";

/// Networks of this machine, and those for documentation (RFC 5737) that are shown for them. As long
/// as each other, so that tables stay tables.
const NETWORKS: [(&str, &str); 3] = [
    ("127.0.2.", "192.0.2."),
    ("127.0.113.", "203.0.113."),
    ("127.51.100.", "198.51.100."),
];

/// How a block of the page begins and ends.
const BEGIN: &str = "```console";
const END: &str = "```";

/// What was done so far.
#[derive(Debug)]
pub(super) struct Page {
    names: Vec<(String, String)>,
    blocks: Vec<String>,
}

impl Page {
    /// `names`: what is shown otherwise, and how.
    pub(super) fn new(names: &[(&str, &str)]) -> Self {
        let own = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
        Self {
            names: NETWORKS.iter().chain(names).map(own).collect(),
            blocks: Vec::new(),
        }
    }

    /// A command, and what it printed.
    pub(super) fn ran(&mut self, arguments: &[&str], printed: &str) -> Result<()> {
        let mut line = "tarpit".to_owned();
        for argument in arguments {
            if argument.contains(' ') {
                write!(line, " \"{argument}\"")?;
            } else {
                write!(line, " {argument}")?;
            }
        }
        let mut block = format!("$ {line}\n");
        for line in printed.lines() {
            writeln!(block, "{}", line.trim_end())?;
        }
        self.blocks.push(self.shown(&block));
        Ok(())
    }

    /// A dialogue.
    pub(super) fn heard(&mut self, lines: &[&str]) {
        self.blocks.push(self.shown(&(lines.join("\n") + "\n")));
    }

    /// A text as the page shows it.
    pub(super) fn shown(&self, text: &str) -> String {
        let names = self.names.iter();
        names.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// An address as the page shows it.
    pub(super) fn address(&self, address: Ipv4Addr) -> String {
        self.shown(&address.to_string())
    }

    /// The page shows what was done, or is made to.
    pub(super) fn compare(&self, name: &str) -> Result<()> {
        let file = repository().join(name);
        let text = fs::read_to_string(&file)?;
        let (blocks, with_these) = self.put_into(&text)?;
        if std::env::var_os("TARPIT_BLESS").is_some() {
            return Ok(fs::write(&file, with_these)?);
        }
        for (page, seen) in blocks.iter().zip(&self.blocks) {
            ensure!(
                lasting(page) == lasting(seen),
                "{name} shows\n{page}\nwhere this was seen:\n{seen}\nCompared were\n{}and\n{}`TARPIT_BLESS=1` writes it anew",
                lasting(page),
                lasting(seen)
            );
        }
        Ok(())
    }

    /// The blocks of a page, and the page with what was done in their place.
    fn put_into(&self, text: &str) -> Result<(Vec<String>, String)> {
        let (mut blocks, mut page) = (Vec::new(), String::new());
        let mut seen = self.blocks.iter();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            writeln!(page, "{line}")?;
            if line == BEGIN {
                let block = lines.by_ref().take_while(|line| *line != END);
                blocks.push(block.fold(String::new(), |block, line| block + line + "\n"));
                page.push_str(seen.next().map_or("", String::as_str));
                writeln!(page, "{END}")?;
            }
        }
        ensure!(
            blocks.len() == self.blocks.len(),
            "the page has {} blocks `console`, {} were seen",
            blocks.len(),
            self.blocks.len()
        );
        Ok((blocks, page))
    }
}

/// What of a block is the same in each run. Commands are, to the letter, but for names of sessions.
fn lasting(block: &str) -> String {
    let mut text = String::new();
    for line in block.lines() {
        // The order of what came at once, and debts that run out meanwhile.
        if line == "newest sessions" {
            break;
        }
        if ["sources ", "  free of debt in "]
            .iter()
            .any(|start| line.starts_with(start))
        {
            continue;
        }
        match line.strip_prefix("$ ") {
            Some(command) => text.push_str(&lasting_command(command)),
            // A delay that was tried, and what came of it: a few milliseconds decide who is deferred.
            None if line.ends_with("harm") && line.contains("stolen;") => text.push_str("TRY"),
            None => text.push_str(&lasting_line(line)),
        }
        text.push('\n');
    }
    text
}

fn lasting_command(command: &str) -> String {
    let words = command
        .split(' ')
        .map(|word| match word.strip_prefix("tp-") {
            Some(_) => "tp-NAME",
            None => word,
        });
    words.collect::<Vec<_>>().join(" ")
}

/// A line with one blank between words, and a word for each moment, span, port, process and session. A
/// span is one word, however many it was: `59 s` may be `1m 0s` in the next run.
fn lasting_line(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let bare = word.trim_matches(|sign: char| !sign.is_ascii_alphanumeric());
        let before = words.last().copied().unwrap_or_default();
        if is_unit(bare) && is_number(before) {
            words.pop();
            push_span(&mut words);
        } else if is_span(bare) {
            push_span(&mut words);
        } else if is_moment(bare) {
            words.push("MOMENT");
        } else if bare.starts_with("tp-") {
            words.push("tp-NAME");
        } else if before == "tarpit" || before == "process" {
            words.push("NUMBER");
        } else if let Some(address) = before_port(bare) {
            words.push(address);
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

fn push_span(words: &mut Vec<&str>) {
    if words.last() != Some(&"SPAN") {
        words.push("SPAN");
    }
}

fn is_unit(word: &str) -> bool {
    ["ms", "s", "min", "h", "d"].contains(&word)
}

fn is_number(word: &str) -> bool {
    let bare = word.trim_start_matches(['+', '-', '(']);
    bare.starts_with(|sign: char| sign.is_ascii_digit()) && bare.parse::<f64>().is_ok()
}

/// `1.5s`, `59m`
fn is_span(word: &str) -> bool {
    word.strip_suffix(['s', 'm', 'h', 'd'])
        .is_some_and(is_number)
}

/// `2026-11-30`, `20:01`, `2026-11-30T20:01:05Z`
fn is_moment(word: &str) -> bool {
    let of_a_moment = |sign: char| sign.is_ascii_digit() || "-:.TZ".contains(sign);
    let mark = |at: usize| word.as_bytes().get(at).copied();
    word.chars().all(of_a_moment) && (mark(4) == Some(b'-') || mark(2) == Some(b':'))
}

/// The address of `192.0.2.1:4711`.
fn before_port(word: &str) -> Option<&str> {
    let (address, port) = word.rsplit_once(':')?;
    let is_port = address.contains('.') && port.parse::<u16>().is_ok();
    is_port.then_some(address)
}

#[test]
fn what_lasts_and_what_does_not() {
    for (one, other) in [
        ("waited 4.0 s, allowed 3 s", "waited 4.1 s, allowed 3 s"),
        ("up 59s", "up   1m 0s"),
        (
            "ends in 59m 58s (2026-11-30T23:59:58Z)",
            "ends in 1h 0m (2027-01-01T00:00:00Z)",
        ),
        ("session tp-0123ABCD of", "session tp-ZZZZZZZZ of"),
        ("tarpit 0.1.0, process 1234,", "tarpit 1.0.0, process 77,"),
        ("client 192.0.2.10:4711,", "client 192.0.2.10:9,"),
    ] {
        assert_eq!(lasting_line(one), lasting_line(other));
    }
    for (one, other) in [
        ("22 refused", "23 refused"),
        ("mode observe", "mode enforce"),
        ("source 192.0.2.10", "source 192.0.2.11"),
        ("client 192.0.2.10:4711", "client 192.0.2.11:4711"),
        ("3 holds of 4s", "4 holds of 4s"),
        ("known senders waited 4 s", "known senders waited"),
    ] {
        assert_ne!(lasting_line(one), lasting_line(other));
    }
    assert_ne!(
        lasting("$ tarpit mode enforce --for 1h"),
        lasting("$ tarpit mode enforce --for 2h")
    );
}
