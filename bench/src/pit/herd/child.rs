//! One process of the herd: a thread, an epoll set, and as many clients as it has descriptors for.
//!
//! It obeys lines on standard input ([`Order`]) and answers `report` with one line of JSON. The end
//! of its input ends it, and with it all its connections, by a reset: a million sockets in
//! TIME_WAIT would still lie in the kernel when the next row is measured.

use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustls::ClientConfig;

use super::client::{Client, Event, Manner};
use super::order::{Order, Tally};
use crate::pit::machine;
use crate::tls;

/// The key of standard input in the epoll set; clients have the numbers below.
const ORDERS: u64 = u64::MAX;

/// Events taken at a time: a slot of replies of a large pit.
const EVENTS: usize = 1024;

/// How often what is paced is looked after: at 10,000 a second, 20 at a time.
const BEAT: Duration = Duration::from_millis(2);

/// After a connection was refused, nobody connects for so long: the herd is a load, not a flood.
const REST: Duration = Duration::from_millis(200);

/// What does not change while it runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Herd {
    /// Where to connect
    #[arg(long)]
    pub(crate) to: SocketAddrV4,
    /// The first of our own addresses, as a number below 2^24 within 127.0.0.0/8
    #[arg(long)]
    pub(crate) first_source: u32,
    /// Connections of one address
    #[arg(long)]
    pub(crate) per_source: u32,
    /// Connections that may be on their way to a hold at a time
    #[arg(long)]
    pub(crate) opening_max: u32,
    /// How long a reply is held, against which its lateness is reckoned
    #[arg(long)]
    pub(crate) hold_ms: u64,
    /// Send one octet of the next command ahead, which nobody reads before its time
    #[arg(long)]
    pub(crate) ahead: bool,
    /// Say names and paths of the greatest length that the standard allows
    #[arg(long)]
    pub(crate) long: bool,
    /// Send the first guess when MAIL has its reply, not with it
    #[arg(long)]
    pub(crate) stepwise: bool,
    /// STARTTLS first, trusting the certificate in this file
    #[arg(long)]
    pub(crate) trust: Option<PathBuf>,
}

/// Runs one until its input ends.
pub(crate) fn run(herd: Herd) -> Result<()> {
    machine::raise_descriptors()?;
    let tls = herd
        .trust
        .as_deref()
        .map(tls::trusting)
        .transpose()
        .context("the certificate to trust")?;
    Child::new(herd, tls)?.run()
}

/// Something done so many times a second.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    rate: f64,
    done: u64,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self {
            since: Instant::now(),
            rate,
            done: 0,
        }
    }

    /// Whether one more is due now.
    fn next(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.since).as_secs_f64() * self.rate;
        let is_due = (self.done as f64) < due;
        self.done += u64::from(is_due);
        is_due
    }

    /// Forgets what could not be done in time: it would come as a burst.
    fn resume(&mut self) {
        *self = Self::new(self.rate);
    }
}

/// The process.
struct Child {
    herd: Herd,
    manner: Manner,
    set: rustix::fd::OwnedFd,
    clients: Vec<Option<Client>>,
    free: Vec<u32>,
    tally: Tally,
    /// How many there are to be.
    wanted: u64,
    opening: Pace,
    guessing: Option<(Pace, usize)>,
    churning: Option<Pace>,
    resting_until: Option<Instant>,
    /// Connections so far: gives each a port of its own.
    connections: u64,
    random: u64,
}

impl Child {
    fn new(herd: Herd, tls: Option<Arc<ClientConfig>>) -> Result<Self> {
        let manner = Manner::new(&herd, tls);
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(ORDERS);
        epoll::add(&set, io::stdin(), data, epoll::EventFlags::IN)?;
        Ok(Self {
            random: u64::from(herd.first_source) | 1 << 40,
            herd,
            manner,
            set,
            clients: Vec::new(),
            free: Vec::new(),
            tally: Tally::default(),
            wanted: 0,
            opening: Pace::new(0.0),
            guessing: None,
            churning: None,
            resting_until: None,
            connections: 0,
        })
    }

    fn run(mut self) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut input = Vec::new();
        loop {
            let timeout = self.is_busy().then_some(Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(BEAT.subsec_nanos()),
            });
            match epoll::wait(&self.set, spare_capacity(&mut events), timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                waited => waited.context("waiting for events")?,
            };
            for event in events.drain(..) {
                // The struct is packed: copied before its fields are looked at.
                let (data, flags) = (event.data, event.flags);
                if data.u64() != ORDERS {
                    self.event(data.u64(), flags);
                } else if !self.orders(&mut input)? {
                    self.leave();
                    return Ok(());
                }
            }
            self.keep_pace();
        }
    }

    fn leave(self) {
        for client in self.clients.into_iter().flatten() {
            client.reset();
        }
    }

    /// Whether there is something to do that no event would bring about.
    fn is_busy(&self) -> bool {
        self.tally.clients() < self.wanted || self.guessing.is_some() || self.churning.is_some()
    }

    /// Reads and obeys orders; false at their end.
    fn orders(&mut self, input: &mut Vec<u8>) -> Result<bool> {
        let mut buffer = [0; 1024];
        let read = rustix::io::read(io::stdin(), &mut buffer).context("reading orders")?;
        input.extend_from_slice(&buffer[..read]);
        while let Some(end) = memchr::memchr(b'\n', input) {
            let line = String::from_utf8_lossy(&input[..end]).into_owned();
            input.drain(..=end);
            self.obey(line.parse()?)?;
        }
        Ok(read > 0)
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Open { count, rate } => {
                self.wanted += count;
                self.opening = Pace::new(rate);
            }
            Order::Answer { share } => self.manner.answers = share,
            Order::Guess { rate } => self.guessing = Some((Pace::new(rate), 0)),
            Order::Churn { rate } => {
                self.churning = (rate > 0.0).then(|| Pace::new(rate));
                if rate > 0.0 {
                    self.opening = Pace::new(rate * 2.0);
                }
            }
            Order::Reset => self.tally.reset(),
            Order::Report => {
                let mut out = io::stdout().lock();
                writeln!(out, "{}", self.tally.to_json()).context("reporting")?;
                out.flush().context("reporting")?;
            }
        }
        Ok(())
    }

    fn keep_pace(&mut self) {
        let now = Instant::now();
        self.guess(now);
        if let Some(mut pace) = self.churning {
            while pace.next(now) {
                self.hang_up_somebody();
            }
            self.churning = Some(pace);
        }
        if self.resting_until.is_some_and(|until| now < until) {
            return;
        }
        if self.resting_until.take().is_some() {
            self.opening.resume();
        }
        while self.tally.clients() < self.wanted
            && self.tally.opening() < u64::from(self.herd.opening_max)
            && self.opening.next(now)
        {
            self.open();
        }
    }

    /// Lets those guess who keep silent, in their order and at the pace that was ordered.
    fn guess(&mut self, now: Instant) {
        let Some((mut pace, mut at)) = self.guessing.take() else {
            return;
        };
        while at < self.clients.len() {
            let silent = self.clients[at].as_ref().is_some_and(Client::is_silent);
            if silent && !pace.next(now) {
                self.guessing = Some((pace, at));
                return;
            }
            if silent && let Some(client) = &mut self.clients[at] {
                let event = client.guess(&self.manner, &mut self.tally);
                self.after(at, event);
            }
            at += 1;
        }
    }

    fn open(&mut self) {
        let at = self.free.pop().map_or(self.clients.len(), |at| at as usize);
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        let source = self.herd.first_source + number / self.herd.per_source.max(1);
        self.connections += 1;
        match Client::connect(self.herd.to, source, self.connections, number) {
            Ok(client) => {
                let data = epoll::EventData::new_u64(at as u64);
                let flags = epoll::EventFlags::IN;
                if let Err(error) = epoll::add(&self.set, client.socket(), data, flags) {
                    self.tally.fail(&format!("epoll: {error}"));
                }
                self.tally.enter();
                if at == self.clients.len() {
                    self.clients.push(Some(client));
                } else {
                    self.clients[at] = Some(client);
                }
            }
            Err(error) => {
                self.tally.fail(&format!("connect: {error}"));
                self.rest();
                if at < self.clients.len() {
                    self.free.push(number);
                }
            }
        }
    }

    fn event(&mut self, number: u64, _flags: epoll::EventFlags) {
        let Ok(at) = usize::try_from(number) else {
            return;
        };
        let Some(Some(client)) = self.clients.get_mut(at) else {
            return;
        };
        let event = client.read(&self.manner, &mut self.tally);
        self.after(at, event);
    }

    fn after(&mut self, at: usize, event: Event) {
        match event {
            Event::Stays => {}
            Event::Refused => {
                self.rest();
                self.remove(at);
            }
            Event::Ended => self.remove(at),
        }
    }

    /// Nobody connects for a while, and less is wanted of those that were refused.
    fn rest(&mut self) {
        self.resting_until = Some(Instant::now() + REST);
    }

    fn remove(&mut self, at: usize) {
        if let Some(client) = self.clients.get_mut(at).and_then(Option::take) {
            self.tally.leave(client.state());
            client.reset();
            self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }

    /// One client, whichever it is, leaves as clients do: without a word, by FIN or by RST.
    fn hang_up_somebody(&mut self) {
        let count = self.clients.len() as u64;
        if count == 0 {
            return;
        }
        let Ok(at) = usize::try_from(self.random() % count) else {
            return;
        };
        let by_reset = self.random().is_multiple_of(2);
        if let Some(client) = self.clients.get_mut(at).and_then(Option::take) {
            self.tally.leave(client.state());
            self.tally.hung_up += 1;
            if by_reset {
                client.reset();
            }
            self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }

    /// xorshift64* (Vigna, 2016): which one leaves need not be unforeseeable.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
