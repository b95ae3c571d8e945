//! For tests that look into a gateway while clients talk to it over loopback.

mod server;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::Gateway;
use crate::config::Config;
use crate::conn::Conn;
use crate::sample::{LATE, sample};
use crate::shared::Shared;
pub(crate) use server::Server;

/// Longer than anything takes here but a hold.
const DELAY: Duration = Duration::from_secs(2);

/// A client that says what it is told, and hears reply codes.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) async fn connect(house: &House) -> Self {
        Self::connect_as("client.example.net", house).await
    }

    /// Up to the reply to HELO, with this name.
    pub(crate) async fn hello(name: &str, house: &House) -> Self {
        let address = house.gateway.addresses()[0].1;
        Self::greeted(name, TcpStream::connect(address).await.unwrap()).await
    }

    /// Up to the reply to MAIL, from this address of the loopback network.
    pub(crate) async fn connect_from(source: [u8; 4], house: &House) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::from(source), 0).into()).unwrap();
        let connected = socket.connect(house.gateway.addresses()[0].1).await;
        let mut client = Self::greeted("client.example.net", connected.unwrap()).await;
        client.told("MAIL FROM:<s@example.net>", "250").await;
        client
    }

    async fn greeted(name: &str, stream: TcpStream) -> Self {
        let mut client = Self(BufReader::new(stream));
        assert_eq!(client.code().await, "220");
        client.told(&format!("HELO {name}"), "250").await;
        client
    }

    pub(crate) async fn connect_as(name: &str, house: &House) -> Self {
        let mut client = Self::hello(name, house).await;
        client.told("MAIL FROM:<s@example.net>", "250").await;
        client
    }

    pub(crate) async fn say(&mut self, line: &str) {
        let octets = format!("{line}\r\n");
        self.0.get_mut().write_all(octets.as_bytes()).await.unwrap();
    }

    pub(crate) async fn told(&mut self, line: &str, code: &str) {
        self.say(line).await;
        assert_eq!(self.code().await, code, "{line}");
    }

    /// It has nothing more to say.
    pub(crate) async fn close(&mut self) {
        self.0.get_mut().shutdown().await.unwrap();
    }

    /// Empty if the connection is gone.
    pub(crate) async fn code(&mut self) -> String {
        self.line().await.chars().take(3).collect()
    }

    /// A whole line, or what came of it before the connection was gone.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(LATE, self.0.read_line(&mut line));
        // A process that is killed with octets unread in its sockets resets them.
        let _ = read.await.expect("a client hears nothing at all");
        line
    }

    /// So many octets.
    pub(crate) async fn octets(&mut self, count: usize) -> String {
        let mut octets = vec![0; count];
        let read = tokio::time::timeout(LATE, self.0.read_exact(&mut octets));
        read.await.expect("a client hears too little").unwrap();
        String::from_utf8(octets).unwrap()
    }
}

/// A gateway with a maildir, which holds refusals for [`DELAY`].
pub(crate) struct House {
    pub(crate) gateway: Gateway,
    folder: TempDir,
}

impl House {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// With a configuration that differs by what `change` does.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = sample(folder.path());
        config.listeners[0].policy.delay = DELAY;
        config.listeners[0].policy.hold_max = DELAY;
        config.limits.sessions_max = 1000;
        config.limits.sessions_per_source_max = 1000;
        change(&mut config);
        let gateway = Gateway::start(config).await.unwrap();
        until("the gateway is not ready", || {
            gateway.handle().ready().is_ok()
        })
        .await;
        Self { gateway, folder }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.gateway.handle().shared()
    }

    /// So many clients that wait for the refusal of a guess.
    pub(crate) async fn held(&self, number: usize) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..number {
            let mut client = Client::connect(self).await;
            client.say("RCPT TO:<nobody@example.org>").await;
            clients.push(client);
        }
        self.are_held(number).await;
        clients
    }

    /// Waits until so many are held, and in the pit.
    pub(crate) async fn are_held(&self, number: usize) {
        let shared = self.shared();
        let are_there =
            || count(shared.places.held()) >= number && shared.pit.load().sessions >= number as u64;
        until("some are not held", are_there).await;
    }

    pub(crate) async fn deliver(&self) {
        let mut client = Client::connect(self).await;
        client.told("RCPT TO:<user@example.org>", "250").await;
        client.told("DATA", "354").await;
        client.told("hello\r\n.", "250").await;
        client.told("QUIT", "221").await;
    }

    pub(crate) fn messages(&self) -> usize {
        let new = self.folder.path().join("mail/user@example.org/new");
        std::fs::read_dir(new).map_or(0, Iterator::count)
    }
}

/// Waits for what comes soon.
pub(crate) async fn until(complaint: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LATE, waiting).await.expect(complaint);
}

/// Waits until no session is counted.
pub(crate) async fn empty(shared: &Shared) {
    let empty = tokio::time::timeout(LATE, shared.places.empty());
    empty.await.expect("a session is counted that is not there");
}

pub(crate) fn count(sessions: u32) -> usize {
    usize::try_from(sessions).unwrap()
}

/// A client of this name meets a bug in the pit's lane,
pub(crate) const BUG_IN_THE_PIT: &str = "bug-in-the-pit.example.net";
/// and one of this name in the mail lane.
pub(crate) const BUG_IN_THE_MAIL_LANE: &str = "bug-in-the-mail-lane.example.net";

/// The same for its record: one of this name ends in the pit when the record is read,
pub(crate) const BUG_IN_A_RECORD: &str = "bug-in-a-record.example.net";
/// and one of this name when it comes back from a keeper.
pub(crate) const BUG_FROM_A_KEEPER: &str = "bug-from-a-keeper.example.net";

/// The bug where a record is read, by a lane or by the thread of the keepers.
pub(crate) fn meet_bug_in_a_record(conn: &Conn<()>) {
    let thread = std::thread::current();
    let bug = match thread.name() {
        Some("keepers") => BUG_FROM_A_KEEPER,
        Some(name) if name.starts_with("pit-") => BUG_IN_A_RECORD,
        _ => return,
    };
    assert_ne!(
        conn.session.helo().0,
        Some(bug),
        "the bug that the test wants"
    );
}

/// The bug: a panic while a session is worked on, once it has said its name.
pub(crate) fn meet_bug<S>(conn: &Conn<S>) {
    let thread = std::thread::current();
    let is_pit = thread.name().is_some_and(|name| name.starts_with("pit-"));
    let bug = if is_pit {
        BUG_IN_THE_PIT
    } else {
        BUG_IN_THE_MAIL_LANE
    };
    assert_ne!(
        conn.session.helo().0,
        Some(bug),
        "the bug that the test wants"
    );
}
