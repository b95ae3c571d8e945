//! Sessions over TLS whose sockets keepers hold: each hears what is due to it, over TLS and in time;
//! and where the keys are gone, nothing at all.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use tarpit_interop::{Certificates, Record};

use super::*;
use crate::talker::{Secure, Talker, secure};

const LIMIT: Duration = Duration::from_secs(30);

/// What comes later than this after it was due is late. This is a debug build beside other tests, and
/// more are due within a second than the front has room for.
const LATE: Duration = Duration::from_secs(5);

/// Clients over TLS: more than the front has descriptors for.
const COUNT: u8 = 110;

/// What a test needs.
struct Stage {
    server: FaultServer,
    runtime: Runtime,
    certificates: Certificates,
    settings: String,
}

impl Stage {
    fn new(delay: u64) -> Result<Self> {
        let server = FaultServer::start()?;
        let runtime = Runtime::new()?;
        let certificates = Certificates::new()?;
        let pair = certificates.issue(&["gate.example.org"])?;
        let settings = format!(
            "{}\n[[certificate]]\nchain = {:?}\nkey = {:?}\n",
            settings(&server, &runtime, delay),
            pair.chain,
            pair.key
        );
        Ok(Self {
            server,
            runtime,
            certificates,
            settings,
        })
    }

    fn start(&self) -> Result<Gateway> {
        Gateway::start_confined(&self.settings, DESCRIPTORS)
    }

    /// Clients that wait for the refusal of their guess, most of them in keepers by now.
    fn held(&self, network: u8, port: u16) -> Result<Vec<Held>> {
        let all = (1..=COUNT)
            .map(|number| {
                if usize::from(number) % BATCH == 0 {
                    std::thread::sleep(Duration::from_millis(30));
                }
                let source = Ipv4Addr::new(127, network, 0, number);
                let client = wait_for(LIMIT, || opened(source, port, &self.certificates).ok());
                let mut client = client.context("never let in")?;
                client.send("RCPT TO:<guess@example.org>\r\n")?;
                let since = Instant::now();
                Ok(Held { client, since })
            })
            .collect::<Result<Vec<_>>>()?;
        let in_keepers = || {
            let keepers = self.runtime.keepers().into_iter();
            let sockets: usize = keepers.map(sockets).sum();
            (sockets >= usize::from(COUNT) - IN_FRONT).then_some(())
        };
        wait_for(Duration::from_secs(5), in_keepers).context("too few are in keepers")?;
        Ok(all)
    }
}

/// A client that has made its guess.
struct Held {
    client: Talker<Secure>,
    since: Instant,
}

impl Held {
    fn refused_after(&mut self, delay: u64) -> Result<()> {
        let reply = self.client.reply()?;
        let (took, delay) = (self.since.elapsed(), Duration::from_secs(delay));
        ensure!(reply.starts_with("550"), "{reply}");
        ensure!(
            took >= delay - Duration::from_millis(100) && took < delay + LATE,
            "{took:?}"
        );
        Ok(())
    }

    /// What comes on the bare socket until it is closed: TLS says nothing of it.
    fn raw_rest(self) -> Result<Vec<u8>> {
        let mut stream = self.client.reader.into_inner();
        let mut rest = Vec::new();
        match stream.sock.read_to_end(&mut rest) {
            // A reset is an end.
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
            _ => Ok(rest),
        }
    }
}

/// Over TLS, with MAIL accepted.
fn opened(source: Ipv4Addr, port: u16, certificates: &Certificates) -> Result<Talker<Secure>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    let mut client = Talker::new(stream);
    let greeting = client.reply()?;
    ensure!(greeting.starts_with("220"), "{greeting}");
    client.ask("EHLO client.example.net", "250")?;
    client.ask("STARTTLS", "220")?;
    let mut client = secure(client, certificates)?;
    client.ask("EHLO client.example.net", "250")?;
    client.ask("MAIL FROM:<s@example.net>", "250")?;
    Ok(client)
}

#[test]
fn all_are_answered_over_tls_and_go_on() -> Result<()> {
    let delay = 5;
    let stage = Stage::new(delay)?;
    let gateway = stage.start()?;
    let mut clients = stage.held(36, gateway.port()?)?;
    for held in &mut clients {
        held.refused_after(delay)
            .with_context(|| gateway.excerpt())?;
    }
    // Idle for a while, in keepers again; then they speak, and guess once more.
    std::thread::sleep(Duration::from_secs(3));
    let gone = clients.split_off(usize::from(COUNT) - 10);
    drop(gone);
    for held in &mut clients {
        held.client.ask("NOOP", "250")?;
        held.since = Instant::now();
        held.client.send("RCPT TO:<again@example.org>\r\n")?;
    }
    for held in &mut clients {
        held.refused_after(delay)
            .with_context(|| gateway.excerpt())?;
    }
    let (quitting, staying) = clients.split_at_mut(50);
    for held in quitting.iter_mut() {
        held.client.ask("QUIT", "221")?;
    }
    std::thread::sleep(Duration::from_secs(2));
    // A drain calls back who is idle.
    gateway.signal(Signal::TERM)?;
    for held in staying {
        let reply = held.client.reply()?;
        ensure!(reply.starts_with("421 4.3.2"), "{reply}");
    }
    let records = gateway.wait_for_records("tarpit::session", usize::from(COUNT))?;
    let ends = |end: &str| {
        let theirs = |record: &&Record| record.text("end") == end && record.text("tls") == "true";
        records.iter().filter(theirs).count()
    };
    ensure!(ends("quit") == 50 && ends("hang_up") == 10, "{records:?}");
    gateway.stop()?;
    ensure!(stage.server.messages().is_empty());
    Ok(())
}

#[test]
fn a_front_that_is_killed_takes_them_along_without_a_word() -> Result<()> {
    let stage = Stage::new(5)?;
    let mut gateway = stage.start()?;
    let port = gateway.port()?;
    let plain = guesses(38, 20, port)?;
    let clients = stage.held(37, port)?;
    gateway.signal(Signal::KILL)?;
    ensure!(wait_for(Duration::from_secs(5), || (!gateway.runs()).then_some(())).is_some());
    for held in clients {
        let rest = held.raw_rest()?;
        ensure!(rest.is_empty(), "{rest:?}");
    }
    // Those in the clear that a keeper had hear what is due.
    for (mut client, _) in plain {
        if let Ok(reply) = client.reply() {
            reply.expect(550)?;
        }
    }
    // And whoever comes next finds keepers as they should be.
    let gateway = stage.start()?;
    for mut held in stage.held(39, gateway.port()?)? {
        held.refused_after(5).with_context(|| gateway.excerpt())?;
    }
    gateway.stop()
}

#[test]
fn an_upgrade_ends_them_over_tls_and_nobody_else() -> Result<()> {
    let stage = Stage::new(8)?;
    let gateway = stage.start()?;
    let port = gateway.port()?;
    let plain = guesses(41, 60, port)?;
    let clients = stage.held(40, port)?;
    gateway.signal(Signal::USR2)?;
    for mut held in clients {
        let reply = held.client.reply().with_context(|| gateway.excerpt())?;
        ensure!(reply.starts_with("421 4.3.2"), "{reply}");
        ensure!(held.since.elapsed() < Duration::from_secs(8), "it waited");
        // The end of TLS was said, too, or this would be an error.
        ensure!(held.client.reader.read_to_end(&mut Vec::new())? == 0);
    }
    gateway.wait_records(|records| {
        let mut messages = records.iter().map(|record| record.text("message"));
        let taken = messages.any(|message| message == "a keeper without a front is taken over");
        taken.then_some(())
    })?;
    for (mut client, since) in plain {
        client.reply()?.expect(550)?;
        ensure!(since.elapsed() >= Duration::from_secs(7), "too early");
        client.command("NOOP")?.expect(250)?;
        client.quit()?;
    }
    Ok(())
}
