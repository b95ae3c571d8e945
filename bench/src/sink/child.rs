//! The sink as a process of its own, and how the benchmark talks to it: a line on standard input
//! asks for the counters, its end ends the sink.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::authority;
use crate::process::End;

/// Counters of one listener of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// RCPT commands that were looked at: what a harvester can have learnt at most.
    pub(crate) looked_up: u64,
    /// Messages taken.
    pub(crate) messages: u64,
    /// Connections accepted so far.
    pub(crate) connections: u64,
    /// Connections open now.
    pub(crate) open: u64,
}

/// A running sink.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where a mail proxy asks who is to get the mail, and hears of the first of them.
    pub(crate) authority: SocketAddr,
    _child: End,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sink {
    /// Starts a sink with this many listeners.
    pub(crate) fn start(listeners: usize, look_up: Duration) -> Result<Self> {
        let own = std::env::current_exe().context("where the benchmark itself is")?;
        let mut child = Command::new(own)
            .arg("sink")
            .args(["--listeners", &listeners.to_string()])
            .args(["--look-up-ms", &look_up.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the sink")?;
        let (ask, answers) = pipes(&mut child)?;
        let mut sink = Self {
            addresses: Vec::new(),
            authority: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            _child: End(child),
            ask,
            answers,
        };
        for _ in 0..listeners {
            let address = sink.address()?;
            sink.addresses.push(address);
        }
        sink.authority = sink.address()?;
        Ok(sink)
    }

    /// The counters of each listener.
    pub(crate) fn stats(&mut self) -> Result<Vec<Stats>> {
        self.ask.write_all(b"\n").context("asking the sink")?;
        (0..self.addresses.len())
            .map(|_| parse(&self.line()?))
            .collect()
    }

    fn address(&mut self) -> Result<SocketAddr> {
        let line = self.line()?;
        line.parse().with_context(|| format!("{line:?}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self
            .answers
            .read_line(&mut line)
            .context("reading the sink")?;
        if read == 0 {
            bail!("the sink ended");
        }
        Ok(line.trim_end().to_owned())
    }
}

fn pipes(child: &mut Child) -> Result<(ChildStdin, BufReader<ChildStdout>)> {
    match (child.stdin.take(), child.stdout.take()) {
        (Some(ask), Some(answers)) => Ok((ask, BufReader::new(answers))),
        _ => bail!("the sink has no pipes"),
    }
}

fn parse(line: &str) -> Result<Stats> {
    let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
    match numbers.as_deref() {
        Ok(&[looked_up, messages, connections, open]) => Ok(Stats {
            looked_up,
            messages,
            connections,
            open,
        }),
        _ => bail!("the sink said {line:?}, not four numbers"),
    }
}

/// The sink's own process: prints its addresses, the authority's last, then the counters for each line it reads.
pub(crate) fn run(listeners: usize, look_up: Duration) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut counters = Vec::new();
    let mut first = None;
    for _ in 0..listeners {
        let (address, counter) = runtime.block_on(super::listen(look_up))?;
        println!("{address}");
        counters.push(counter);
        first.get_or_insert(address);
    }
    let first = first.context("a sink without a listener")?;
    println!("{}", runtime.block_on(authority::listen(first))?);
    for line in std::io::stdin().lines() {
        line?;
        for counter in &counters {
            println!("{}", counter.line());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_back() {
        let counters = super::super::Counters::default();
        super::super::Counters::add(&counters.messages);
        super::super::Counters::add(&counters.open);
        let stats = parse(&counters.line()).unwrap();
        assert_eq!((stats.looked_up, stats.messages), (0, 1));
        assert_eq!((stats.connections, stats.open), (0, 1));
        assert!(parse("1 2 3").is_err());
        assert!(parse("1 2 3 x").is_err());
    }
}
