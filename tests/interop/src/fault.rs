//! A mail server that fails when and how a test wants: a real one can't be told to.
//!
//! It is written for this crate and shares no code with the gateway, so that a misreading of the
//! protocol on one side is not hidden by the same one on the other. One thread a connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Where in the conversation it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In place of the greeting.
    Greeting,
    /// In place of the reply to EHLO.
    Ehlo,
    /// In place of the reply to MAIL.
    Mail,
    /// In place of the reply to RCPT.
    Rcpt,
    /// In place of the reply to DATA.
    Data,
    /// After the first octets of the message.
    Body,
    /// In place of the reply to end-of-data, the message being lost.
    EndOfData,
    /// In place of the reply to end-of-data, the message being stored.
    Stored,
}

/// How it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Says nothing any more, and reads on.
    Silence,
    /// Closes the connection.
    Close,
    /// Says this line instead, and goes on as if it had said what it should.
    Say(&'static str),
}

/// What it was given, and how it is to behave.
#[derive(Debug, Default)]
struct State {
    fault: Option<(Stage, Fault)>,
    capabilities: Vec<String>,
    delay: Duration,
    messages: Vec<Vec<u8>>,
    commands: Vec<String>,
    connections: Vec<(u64, TcpStream)>,
    most_connections: usize,
    next: u64,
}

/// A server for `example.org` that knows [`crate::USERS`] and `userN`, and relays for nobody.
/// Dropping it closes everything.
#[derive(Debug)]
pub struct FaultServer {
    port: u16,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    accept: Option<JoinHandle<()>>,
}

impl FaultServer {
    /// Starts it, on a free port of 127.0.0.1, with no fault yet.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start() -> Result<Self> {
        Self::start_on(0)
    }

    /// Starts it on this port of 127.0.0.1, where another one was before.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_on(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("bind")?;
        let port = listener.local_addr()?.port();
        let capabilities = [
            "PIPELINING",
            "SIZE 52428800",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
        ];
        let state = State {
            capabilities: capabilities.map(str::to_owned).to_vec(),
            ..State::default()
        };
        let (state, stop) = (
            Arc::new(Mutex::new(state)),
            Arc::new(AtomicBool::new(false)),
        );
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        let accept = std::thread::spawn(move || accept(&listener, &shared, &stopped));
        Ok(Self {
            port,
            state,
            stop,
            accept: Some(accept),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on it fails at `stage`, on each connection.
    pub fn fail(&self, stage: Stage, fault: Fault) {
        self.lock().fault = Some((stage, fault));
    }

    /// It is well again.
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    /// Each reply to RCPT takes this long.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// What it answers to EHLO from now on, without its name.
    pub fn offer(&self, capabilities: &[&str]) {
        self.lock().capabilities = capabilities.iter().map(|&line| line.to_owned()).collect();
    }

    /// Closes all connections that it has, as a restart does.
    pub fn drop_connections(&self) {
        for (_, stream) in &self.lock().connections {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The messages that it stored, as they went over the wire, without end-of-data.
    #[must_use]
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.lock().messages.clone()
    }

    /// All command lines that it got, on all connections, in order of arrival.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.lock().commands.clone()
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// The most connections that were ever open at once.
    #[must_use]
    pub fn most_connections(&self) -> usize {
        self.lock().most_connections
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        self.drop_connections();
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<Mutex<State>>, stop: &AtomicBool) {
    for stream in listener.incoming().map_while(Result::ok) {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            let connection = Connection::open(stream, state);
            // How a connection ends is what tests ask the gateway about, not us.
            let _ = connection.and_then(|mut connection| connection.talk());
        });
    }
}

/// One connection. It is in the list of open ones from its first to its last moment.
struct Connection {
    number: u64,
    reader: BufReader<TcpStream>,
    state: Arc<Mutex<State>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.lock()
            .connections
            .retain(|(number, _)| *number != self.number);
    }
}

impl Connection {
    fn open(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<Self> {
        // Else each reply in two pieces waits for the client's delayed acknowledgement.
        stream.set_nodelay(true)?;
        let copy = stream.try_clone()?;
        let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = guard.next;
        guard.next += 1;
        guard.connections.push((number, copy));
        guard.most_connections = guard.most_connections.max(guard.connections.len());
        drop(guard);
        Ok(Self {
            number,
            reader: BufReader::new(stream),
            state,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn talk(&mut self) -> std::io::Result<()> {
        self.answer(Stage::Greeting, "220 fault.example.org ESMTP")?;
        while let Some(line) = self.line()? {
            self.lock().commands.push(line.clone());
            let upper = line.to_ascii_uppercase();
            match upper.split(' ').next().unwrap_or_default() {
                "EHLO" => {
                    let reply = self.ehlo();
                    self.answer(Stage::Ehlo, &reply)?;
                }
                "MAIL" => self.answer(Stage::Mail, "250 2.1.0 Ok")?,
                "RCPT" => {
                    std::thread::sleep(self.lock().delay);
                    self.answer(Stage::Rcpt, recipient(&line))?;
                }
                "DATA" => {
                    self.answer(Stage::Data, "354 go on")?;
                    self.message()?;
                }
                "RSET" | "NOOP" | "HELO" => self.say("250 2.0.0 Ok")?,
                "QUIT" => return self.say("221 2.0.0 Bye"),
                _ => self.say("502 5.5.2 What?")?,
            }
        }
        Ok(())
    }

    fn ehlo(&self) -> String {
        let state = self.lock();
        let mut lines = vec!["fault.example.org"];
        lines.extend(state.capabilities.iter().map(String::as_str));
        let last = lines.pop().unwrap_or_default();
        let first: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
        format!("{first}250 {last}")
    }

    /// Reads a message, stores it and says so.
    fn message(&mut self) -> std::io::Result<()> {
        let mut message = Vec::new();
        loop {
            let start = message.len();
            if self.reader.read_until(b'\n', &mut message)? == 0 {
                return Ok(());
            }
            self.fail_in_body()?;
            if message.get(start..) == Some(b".\r\n") {
                message.truncate(start);
                break;
            }
        }
        if self.fault_at(Stage::EndOfData).is_none() {
            self.lock().messages.push(message);
        }
        let stage = if self.fault_at(Stage::Stored).is_some() {
            Stage::Stored
        } else {
            Stage::EndOfData
        };
        self.answer(stage, "250 2.0.0 Ok: queued as F00D")
    }

    fn fail_in_body(&mut self) -> std::io::Result<()> {
        match self.fault_at(Stage::Body) {
            None => Ok(()),
            Some(Fault::Say(line)) => self.say(line),
            Some(Fault::Close) => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Some(Fault::Silence) => self.be_silent(),
        }
    }

    /// Says `reply`, unless this is where it fails.
    fn answer(&mut self, stage: Stage, reply: &str) -> std::io::Result<()> {
        match self.fault_at(stage) {
            None => self.say(reply),
            Some(Fault::Say(line)) => self.say(line),
            Some(Fault::Close) => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Some(Fault::Silence) => self.be_silent(),
        }
    }

    fn be_silent(&mut self) -> std::io::Result<()> {
        std::io::copy(&mut self.reader, &mut std::io::sink())?;
        Err(std::io::ErrorKind::ConnectionAborted.into())
    }

    fn fault_at(&self, stage: Stage) -> Option<Fault> {
        self.lock()
            .fault
            .clone()
            .filter(|(at, _)| *at == stage)
            .map(|(_, fault)| fault)
    }

    fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.reader
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
    }

    fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(line.trim_end().to_owned()))
    }
}

/// What it says to RCPT.
fn recipient(line: &str) -> &'static str {
    let path = line
        .split(['<', '>'])
        .nth(1)
        .unwrap_or_default()
        .to_ascii_lowercase();
    match path.strip_suffix("@example.org") {
        Some(user) if crate::USERS.contains(&user) || user.starts_with("user") => "250 2.1.5 Ok",
        Some(_) => "550 5.1.1 User unknown",
        None => "554 5.7.1 Relay access denied",
    }
}
