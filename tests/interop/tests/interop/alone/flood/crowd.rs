//! Many clients at once, none of which behaves.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, Socket, Type};

/// Threads that flood. There is one core for them at most, whatever else runs.
const THREADS: usize = 2;

/// Addresses of one network, in turn: 127.9.N.1 to 127.9.N.250.
#[derive(Clone, Debug)]
pub(super) struct Sources(u8, Arc<AtomicU32>);

impl Sources {
    pub(super) fn new(network: u8) -> Self {
        Self(network, Arc::default())
    }

    fn next(&self) -> Ipv4Addr {
        let [.., host] = (self.1.fetch_add(1, Ordering::Relaxed) % 250 + 1).to_be_bytes();
        Ipv4Addr::new(127, 9, self.0, host)
    }
}

/// Connections that are open until this is dropped.
#[derive(Debug)]
pub(super) struct Crowd(Vec<TcpStream>);

impl Crowd {
    pub(super) fn connect(port: u16, count: usize, sources: Sources) -> Result<Self> {
        let start = Instant::now();
        let streams: Result<Vec<_>> = (0..count).map(|_| connect(sources.next(), port)).collect();
        let crowd = Self(streams?);
        println!(
            "{count} connections in {:.2} s",
            start.elapsed().as_secs_f64()
        );
        Ok(crowd)
    }

    /// The same with little room for what they do not read, on either side: with the segments of
    /// loopback the system would take megabytes for each.
    pub(super) fn connect_narrow(port: u16, count: usize, sources: Sources) -> Result<Self> {
        let connect = |_| {
            let socket = bound(sources.next())?;
            socket.set_recv_buffer_size(4096)?;
            socket.set_tcp_mss(536)?;
            reach(socket, port)
        };
        Ok(Self((0..count).map(connect).collect::<Result<_>>()?))
    }

    /// The same, and each says this at once, as far as it is still listened to.
    pub(super) fn ask(port: u16, count: usize, sources: Sources, bytes: &[u8]) -> Result<Self> {
        let ask = |_| {
            let socket = bound(sources.next())?;
            socket.set_recv_buffer_size(4096)?;
            let mut stream = reach(socket, port)?;
            let _ = stream.write_all(bytes);
            Ok(stream)
        };
        Ok(Self((0..count).map(ask).collect::<Result<_>>()?))
    }

    /// How many of them hear this first; the others hear something else, or nothing before the end.
    pub(super) fn hear(&self, start: &[u8]) -> Result<usize> {
        let mut count = 0;
        for mut stream in &self.0 {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let mut heard = vec![0; start.len()];
            count += usize::from(stream.read_exact(&mut heard).is_ok() && heard == start);
        }
        Ok(count)
    }

    /// How many connections the gateway has ended. What they have heard is thrown away.
    pub(super) fn gone(&self) -> Result<usize> {
        let mut gone = 0;
        for stream in &self.0 {
            stream.set_nonblocking(true)?;
            let mut heard = stream.take(64 * 1024);
            gone += usize::from(!matches!(
                std::io::copy(&mut heard, &mut std::io::sink()),
                Err(error) if error.kind() == ErrorKind::WouldBlock
            ));
        }
        Ok(gone)
    }

    /// All of them say this.
    pub(super) fn say(&self, bytes: &[u8]) -> Result<()> {
        for mut stream in &self.0 {
            stream.write_all(bytes)?;
        }
        Ok(())
    }

    /// Each says this again and again, until nobody takes it any more.
    pub(super) fn stuff(&self, line: &[u8]) -> Result<()> {
        let bytes = line.repeat(4096 / line.len());
        for mut stream in &self.0 {
            stream.set_nonblocking(true)?;
            for _ in 0..1000 {
                match stream.write(&bytes) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("stuff"),
                }
            }
        }
        Ok(())
    }

    /// Each says one octet of a command that never ends, every so often.
    pub(super) fn drip(self, every: Duration) -> Flood {
        Flood::run(1, move |_| {
            for mut stream in &self.0 {
                // Who was shown out is no longer part of it.
                let _ = stream.write(b"N");
            }
            std::thread::sleep(every);
        })
    }

    /// Which of them hear this code first, and when no more have said anything for a second, how
    /// many were silent.
    pub(super) fn greeted(&self) -> Result<(usize, usize)> {
        let (mut welcome, mut refused) = (0, 0);
        for mut stream in &self.0 {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let mut code = [0; 3];
            stream.read_exact(&mut code)?;
            match &code {
                b"220" => welcome += 1,
                b"421" => refused += 1,
                _ => anyhow::bail!("greeted by {}", String::from_utf8_lossy(&code)),
            }
        }
        Ok((welcome, refused))
    }
}

/// Threads that go on until this is dropped; then it prints how often they did what they do.
#[derive(Debug)]
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    start: Instant,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    pub(super) fn run(threads: usize, round: impl Fn(usize) + Send + Sync + 'static) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let round = Arc::new(round);
        let thread = |number| {
            let (stop, rounds, round) =
                (Arc::clone(&stop), Arc::clone(&rounds), Arc::clone(&round));
            std::thread::spawn(move || {
                // The flood is another machine's work: what it takes of this one says nothing.
                let _ = rustix::process::nice(19);
                while !stop.load(Ordering::Relaxed) {
                    round(number);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..threads).map(thread).collect();
        Self {
            stop,
            rounds,
            start: Instant::now(),
            threads,
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let rounds = self.rounds.load(Ordering::Relaxed);
        let seconds = self.start.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let rate = rounds as f64 / seconds;
        println!("{rounds} rounds of the flood, {rate:.0} a second");
    }
}

/// Connections that are reset as soon as they are there.
pub(super) fn churn(port: u16, sources: Sources) -> Flood {
    Flood::run(THREADS, move |_| {
        if let Ok(stream) = connect(sources.next(), port) {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    })
}

/// Connections that send the first flight of a handshake, await the answer, and reset.
pub(super) fn shake_hands(port: u16, sources: Sources, hello: Vec<u8>) -> Flood {
    Flood::run(4 * THREADS, move |_| {
        let Ok(mut stream) = connect(sources.next(), port) else {
            return;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.write_all(&hello);
        let _ = stream.read(&mut [0; 64]);
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    })
}

/// What a client sends first.
pub(super) fn first_flight() -> Result<Vec<u8>> {
    let config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("gate.example.org")?;
    let mut flight = Vec::new();
    ClientConnection::new(Arc::new(config), name)?.write_tls(&mut flight)?;
    Ok(flight)
}

fn connect(source: Ipv4Addr, port: u16) -> Result<TcpStream> {
    reach(bound(source)?, port)
}

fn bound(source: Ipv4Addr) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    Ok(socket)
}

fn reach(socket: Socket, port: u16) -> Result<TcpStream> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&server.into()).context("connect")?;
    Ok(socket.into())
}

/// A crowd needs more than the usual 1,024.
pub(super) fn raise_descriptors() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    let _ = setrlimit(Resource::Nofile, limit);
}
