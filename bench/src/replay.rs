//! `cargo xtask bench replay`: how long a replay of many recorded sessions takes.
//!
//! The records are made up, in the proportions of a server under harvest: of ten sessions six
//! guess, three bring a message, one does nothing. What is measured is the real binary on a real
//! file: reading, running, adding up.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::gateway;

/// How much is replayed.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Sessions
    #[arg(default_value_t = 1_000_000)]
    sessions: u32,
    /// Try all delays too, as `tarpit advise` does
    #[arg(long)]
    advise: bool,
    /// The program to measure, instead of building it
    #[arg(long, value_name = "PATH")]
    tarpit: Option<std::path::PathBuf>,
}

/// Measures and prints a table.
pub(crate) fn run(wish: &Wish) -> Result<()> {
    let binary = wish.tarpit.clone().map_or_else(gateway::build, Ok)?;
    let folder = tempfile::tempdir()?;
    let records = folder.path().join("records.jsonl");
    write(&records, wish.sessions).context("the records")?;
    let size = fs::metadata(&records)?.len();
    let config = folder.path().join("new.toml");
    fs::write(&config, CONFIG)?;
    println!("| what | sessions | MiB | seconds | sessions a second | most memory, MiB |");
    println!("|---|---|---|---|---|---|");
    let replay: [&str; 3] = ["replay", "--config", "new.toml"];
    let mut commands = vec![
        ("replay", replay.to_vec()),
        ("report", vec!["report", "--records"]),
    ];
    if wish.advise {
        commands.push(("advise", vec!["advise"]));
    }
    for (what, arguments) in commands {
        let (spent, memory) = measure(&binary, &arguments, folder.path())?;
        println!(
            "| {what} | {} | {} | {:.1} | {:.0} | {} |",
            wish.sessions,
            size >> 20,
            spent.as_secs_f64(),
            f64::from(wish.sessions) / spent.as_secs_f64(),
            memory >> 10,
        );
    }
    Ok(())
}

const CONFIG: &str = "hostname = \"mx.example.test\"\n[tarpit]\nmode = \"enforce\"\nscope = \"source\"\n\
     [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:2525\"\n[maildir]\nroot = \"mail\"\n\
     recipients = [\"alice@example.test\"]\n";

/// Runs it; how long it took, and the most memory that it had, in KiB.
fn measure(binary: &Path, arguments: &[&str], folder: &Path) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let mut child = Command::new(binary)
        .args(arguments)
        .arg("records.jsonl")
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()?;
    let mut memory = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        memory = memory.max(now.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(status.success(), "{arguments:?} failed: {status}");
    Ok((start.elapsed(), memory))
}

/// Sessions of `observe`, one every 20 ms, a few at a time.
fn write(path: &Path, sessions: u32) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for number in 0..u64::from(sessions) {
        let book = Book {
            at: 1_790_000_000_000 + number * 20,
            session: name(number),
            source: match number % 10 {
                // Each address of the harvesters comes again and again.
                0..6 => format!("198.51.{}.{}", number / 10 % 100, number % 250),
                _ => format!("203.0.{}.{}", number / 10 % 200, number % 250),
            },
        };
        match number % 10 {
            0..6 => book.guesses(&mut out)?,
            6..9 => book.mail(&mut out)?,
            _ => book.end(&mut out, 30, 0, 0, 0)?,
        }
    }
    out.flush()?;
    Ok(())
}

struct Book {
    at: u64,
    session: String,
    source: String,
}

impl Book {
    fn guesses(&self, out: &mut impl std::io::Write) -> Result<()> {
        for guess in 0..3 {
            let at = 100 + guess * 60;
            self.act(
                out,
                at,
                "rcpt",
                "refused\",\"offence\":\"unknown_recipient",
                20,
                5,
            )?;
            self.line(out, at, "hold", "\"reason\":\"unknown_recipient\",\"owed_seconds\":5.0,\"held_seconds\":5.0,\"end\":\"observed\",\"way\":\"silent\"")?;
        }
        self.act(out, 300, "rcpt", "accepted", 20, 0)?;
        self.end(out, 320, 1, 3, 0)
    }

    fn mail(&self, out: &mut impl std::io::Write) -> Result<()> {
        self.act(out, 150, "rcpt", "accepted", 20, 0)?;
        self.act(out, 400, "message", "accepted", 200, 0)?;
        self.end(out, 420, 1, 0, 1)
    }

    fn act(
        &self,
        out: &mut impl std::io::Write,
        at: u32,
        deed: &str,
        judged: &str,
        took: u32,
        price: u32,
    ) -> Result<()> {
        let fields = format!(
            "\"client\":\"{}\",\"listener\":\"mx\",\"deed\":\"{deed}\",\"judged\":\"{judged}\",\"took_seconds\":{},\
             \"price_seconds\":{price}.0,\"transaction\":1,\"role\":false,\"authenticated\":false,\"exempt\":false",
            self.source,
            f64::from(took) / 1000.0
        );
        self.line(out, at, "act", &fields)
    }

    fn end(
        &self,
        out: &mut impl std::io::Write,
        at: u32,
        accepted: u32,
        refused: u32,
        messages: u32,
    ) -> Result<()> {
        let fields = format!(
            "\"client\":\"{}:40000\",\"listener\":\"mx\",\"helo\":\"client.example\",\"tls\":false,\
             \"sender\":\"somebody@client.example\",\"accepted\":{accepted},\"refused\":{refused},\"deferred\":0,\
             \"unseen\":0,\"errors\":{refused},\"messages\":{messages},\"messages_accepted\":{messages},\
             \"seconds\":{},\"end\":\"quit\"",
            self.source,
            f64::from(at) / 1000.0
        );
        self.line(out, at, "session", &fields)
    }

    fn line(
        &self,
        out: &mut impl std::io::Write,
        at: u32,
        target: &str,
        fields: &str,
    ) -> Result<()> {
        let (session, source) = (&self.session, &self.source);
        writeln!(
            out,
            "{{\"v\":1,\"timestamp\":\"{}\",\"message\":\"{target}\",\"session\":\"tp-{session}\",\"source\":\"{source}\",\
             \"mode\":\"observe\",{fields},\"target\":\"tarpit::{target}\"}}",
            time(self.at + u64::from(at))
        )?;
        Ok(())
    }
}

/// Eight digits in Crockford's base 32.
fn name(number: u64) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit =
        |shift: u32| char::from(ALPHABET[usize::try_from(number >> (shift * 5) & 31).unwrap_or(0)]);
    (0..8).rev().map(digit).collect()
}

/// RFC 3339, of some days in September 2026.
fn time(millis: u64) -> String {
    // 2026-09-21T14:13:20Z is 1,790,000,000.
    let seconds = millis / 1000;
    let day = 21 + (seconds - 1_789_948_800) / 86_400;
    let of_day = (seconds - 1_789_948_800) % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!(
        "2026-09-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}000Z",
        millis % 1000
    )
}
