//! Several servers: which one is asked, what they have in common, and what is whole on one alone.

use super::*;
use crate::config::Balance;
use crate::upstream::Health;

mod refusals;

const REFUSES_RELAY: &str = "
    C: MAIL FROM:<>
    S: 250 sender ok
    C: RCPT TO:<postmaster@example.com>
    S: 554 5.7.1 relay access denied
    C: RSET
    S: 250 reset
    C: QUIT
    S: 221 bye
    eof
";

const RELAYS: &str = "
    C: MAIL FROM:<>
    S: 250 sender ok
    C: RCPT TO:<postmaster@example.com>
    S: 250 why not
    C: RSET
    S: 250 reset
    C: QUIT
    S: 221 bye
    eof
";

/// What a probe hears of a server that is up.
const UP: &[&str] = &[BARE, REFUSES_RELAY];

/// Some servers, and sessions to the upstream that they are together.
struct Group {
    servers: Vec<Scripted>,
    upstream: Arc<Upstream>,
}

impl Group {
    /// For each server its scripts. All are probed once, which takes the first of them.
    async fn probed(balance: Balance, servers: &[&[&[&str]]]) -> Self {
        let group = Self::new(balance, servers).await;
        group.upstream.probe_all().await;
        group
    }

    async fn new(balance: Balance, scripts: &[&[&[&str]]]) -> Self {
        Self::of(Identity::None, balance, scripts).await
    }

    async fn of(identity: Identity, balance: Balance, scripts: &[&[&[&str]]]) -> Self {
        let mut servers = Vec::new();
        for scripts in scripts {
            servers.push(Scripted::start(scripts).await);
        }
        let settings = config::Upstream {
            addresses: servers.iter().map(|server| server.address).collect(),
            balance,
            ..settings(servers[0].address, identity)
        };
        Self {
            upstream: Upstream::new(settings, "gw.example".into()),
            servers,
        }
    }

    fn link(&self) -> UpstreamLink {
        UpstreamLink::new(Arc::clone(&self.upstream))
    }

    fn healths(&self) -> Vec<Health> {
        let servers = self.upstream.servers();
        servers.into_iter().map(|server| server.health).collect()
    }

    fn open(&self) -> Vec<u32> {
        let servers = self.upstream.servers();
        servers.into_iter().map(|server| server.open).collect()
    }

    async fn done(self) {
        for server in self.servers {
            server.done().await;
        }
    }
}

async fn rcpt(link: &mut UpstreamLink, envelope: &Envelope, path: &str) -> String {
    let ask = Ask::Rcpt(Recipient::plain(path));
    let claim = claim("192.0.2.7", false);
    shown(
        &link
            .ask(&ask, &client(), claim, Some(envelope), LIMIT)
            .await,
    )
}

fn takes(name: &str) -> String {
    format!("C: RCPT TO:<{name}@x.example>\nS: 250 {name} ok\n")
}

#[tokio::test]
async fn in_order_the_first_that_is_there() {
    let asked = takes("a");
    let first: &[&[&str]] = &[UP, &["S: 421 4.3.2 too busy\neof"]];
    let second: &[&[&str]] = &[UP, &[BARE, MAIL, &asked, "eof"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    assert_eq!(group.healths(), [Health::Up, Health::Up]);
    let mut link = group.link();
    let answer = rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
    assert_eq!(answer, "250 a ok", "the client hears nothing of the first");
    assert_eq!(group.open(), [0, 1]);
    let servers = group.upstream.servers();
    let asked = format!("{} {}", group.upstream.config.name, servers[1].address);
    assert_eq!(link.asked(), Some(asked), "for the record");
    assert_eq!(group.link().asked(), None);
    assert!(servers[0].is_passed_over && !servers[1].is_passed_over);
    assert_eq!(group.upstream.health(), Health::Up, "one is enough");
    drop(link);
    group.done().await;
}

/// Dead is who can't be connected, who says 421, who closes, and who says what is no SMTP.
#[tokio::test]
async fn a_server_that_died_is_passed_over_until_its_next_probe() {
    for death in ["close", "S: 421 no\nclose", "S: hello\nclose"] {
        let asked = takes("a");
        let first: &[&[&str]] = &[UP, &[death], UP, &[BARE, MAIL, &asked, "eof"]];
        let second: &[&[&str]] = &[
            UP,
            &[BARE, MAIL, &asked, "eof"],
            &[BARE, MAIL, &asked, "eof"],
        ];
        let group = Group::probed(Balance::Order, &[first, second]).await;
        for _ in 0..2 {
            let mut link = group.link();
            let answer = rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
            assert_eq!(answer, "250 a ok", "{death}");
            assert_eq!(group.open(), [0, 1]);
            link.abort();
        }
        group.upstream.probe(0).await;
        let mut link = group.link();
        rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
        assert_eq!(group.open(), [1, 0], "back in its place");
        drop(link);
        group.done().await;
    }
}

#[tokio::test]
async fn all_of_them_are_away() {
    let first: &[&[&str]] = &[UP, &["close"], &["close"]];
    let second: &[&[&str]] = &[UP, &["S: 421 no\neof"], &["S: 421 no\neof"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let mut link = group.link();
    for _ in 0..2 {
        // The second time too: nobody knows better before the next probes.
        let answer = rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
        assert_eq!(answer, "closed");
    }
    assert_eq!(group.open(), [0, 0]);
    group.done().await;
}

/// Bytes that are passed on untouched go to the next server, too.
#[tokio::test]
async fn a_plain_pipe_to_the_next_server() {
    let second: &[&[&str]] = &[UP, &["S: 220 up\neof"]];
    let mut group = Group::probed(Balance::Order, &[&[UP], second]).await;
    // Nobody listens at the first any more.
    group.servers.remove(0).done().await;
    let (who, claim) = (client(), claim("192.0.2.7", false));
    let pipe = group.upstream.connect_raw(&who, claim).await.unwrap();
    assert_eq!(group.open(), [0, 1]);
    assert!(group.upstream.servers()[0].is_passed_over);
    drop(pipe);
    group.done().await;
}

/// Where the server was told of the client, its 421 may be that client's doing: the next server is
/// asked, but nobody else is sent there because of it.
#[tokio::test]
async fn a_client_cant_bring_a_server_down() {
    let told = "proxy 192.0.2.7:4711 198.51.100.1:25\n";
    let outside = "proxy 192.0.2.1:49152 192.0.2.2:25\n";
    let greeting = "S: 220 up\nC: EHLO client.example\nS: 250 up\n";
    let up: &[&str] = &[outside, BARE, REFUSES_RELAY];
    let asked = takes("a");
    let first: &[&[&str]] = &[
        up,
        &[told, "S: 421 4.7.0 too many connections from you\neof"],
    ];
    let second: &[&[&str]] = &[up, &[told, greeting, MAIL, &asked, "eof"]];
    let group = Group::of(Identity::ProxyV2, Balance::Order, &[first, second]).await;
    group.upstream.probe_all().await;
    let mut link = group.link();
    let answer = rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
    assert_eq!(answer, "250 a ok");
    assert!(!group.upstream.servers()[0].is_passed_over);
    drop(link);
    group.done().await;
}

/// A transaction that lost its server is said again as a whole, to one of them.
#[tokio::test]
async fn a_transaction_is_never_split() {
    let (a, b, c) = (takes("a"), takes("b"), takes("c"));
    let first: &[&[&str]] = &[UP, &[BARE, MAIL, &a, &b, "mark\nclose"], &["close"]];
    let second: &[&[&str]] = &[UP, &[BARE, MAIL, &a, &b, &c, "eof"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let mut link = group.link();
    let a = rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
    let b = rcpt(&mut link, &envelope(1, &["a@x.example"]), "b@x.example").await;
    assert_eq!((&*a, &*b), ("250 a ok", "250 b ok"));
    group.servers[0].marked().await;
    while !link.hears_something() {
        tokio::task::yield_now().await;
    }
    let both = envelope(1, &["a@x.example", "b@x.example"]);
    assert_eq!(rcpt(&mut link, &both, "c@x.example").await, "250 c ok");
    assert_eq!(group.open(), [0, 1]);
    drop(link);
    group.done().await;
}

/// 421 in the middle closes that connection. Where it stood for a while, what was accepted is said
/// to another server, and the client hears nothing of it; of a new one, it hears 451.
#[tokio::test]
async fn a_421_in_the_middle_ends_the_connection_alone() {
    let (a, b) = (takes("a"), takes("b"));
    let closes = "C: RCPT TO:<b@x.example>\nS: 421 4.3.2 shutting down\neof";
    let at_mail = "C: MAIL FROM:<s@example.org>\nS: 421 4.3.2 shutting down\neof";
    let first: &[&[&str]] = &[
        UP,
        &[BARE, MAIL, &a, closes],
        &["S: 421 4.3.2 no\neof"],
        UP,
        &[BARE, at_mail],
    ];
    let second: &[&[&str]] = &[UP, &[BARE, MAIL, &a, &b, "C: DATA\nS: 354 go\neof"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let mut link = group.link();
    rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
    let accepted = envelope(1, &["a@x.example"]);
    assert_eq!(rcpt(&mut link, &accepted, "b@x.example").await, "250 b ok");
    let both = envelope(1, &["a@x.example", "b@x.example"]);
    let (who, claim) = (client(), claim("192.0.2.7", false));
    let answer = link.ask(&Ask::Data, &who, claim, Some(&both), LIMIT).await;
    assert_eq!(shown(&answer), "354 go");
    assert_eq!(group.open(), [0, 1]);
    drop(link);
    group.upstream.probe(0).await;
    let mut link = group.link();
    let answer = rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
    assert_eq!(answer, "closed");
    assert_eq!(group.upstream.stats().open, 0);
    group.done().await;
}

/// After a hold the transaction goes back to where it stood, though another server comes first by
/// then.
#[tokio::test]
async fn a_transaction_goes_back_to_its_server() {
    let (a, b) = (takes("a"), takes("b"));
    let left = "C: RSET\nS: 250 reset\nC: QUIT\nS: 221 bye\neof";
    let first: &[&[&str]] = &[UP, &["close"], UP];
    let second: &[&[&str]] = &[UP, &[BARE, MAIL, &a, left], &[BARE, MAIL, &a, &b, "eof"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let mut link = group.link();
    rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
    link.let_go();
    // What stays of it in the pit is a record.
    let placed = link.placed().unwrap();
    link = group.link();
    link.restore(placed);
    group.upstream.probe(0).await;
    assert!(!group.upstream.servers()[0].is_passed_over);
    let accepted = envelope(1, &["a@x.example"]);
    assert_eq!(rcpt(&mut link, &accepted, "b@x.example").await, "250 b ok");
    // Whoever asked the first one found nobody there, and would have said so.
    assert!(!group.upstream.servers()[0].is_passed_over);
    drop(link);
    group.done().await;
}

/// The other server does not know a name that the first accepted: nothing goes on, and the client
/// may come back.
#[tokio::test]
async fn a_replay_elsewhere_is_exact_or_it_fails() {
    let (a, b) = (takes("a"), takes("b"));
    let unknown = "C: RCPT TO:<a@x.example>\nS: 550 5.1.1 no a\n";
    let left = "C: RSET\nS: 250 reset\nC: QUIT\nS: 221 bye\neof";
    let first: &[&[&str]] = &[UP, &[BARE, MAIL, &a, "mark\nclose"], &["close"]];
    let second: &[&[&str]] = &[UP, &[BARE, MAIL, unknown, left]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let mut link = group.link();
    rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
    group.servers[0].marked().await;
    while !link.hears_something() {
        tokio::task::yield_now().await;
    }
    let accepted = envelope(1, &["a@x.example"]);
    assert_eq!(rcpt(&mut link, &accepted, "b@x.example").await, "changed");
    drop((link, b));
    group.done().await;
}

#[tokio::test]
async fn fewest_connections() {
    let a = takes("a");
    let taken: &[&str] = &[BARE, MAIL, &a, "eof"];
    let group = Group::probed(
        Balance::LeastConnections,
        &[&[UP, taken, taken], &[UP, taken, taken]],
    )
    .await;
    let mut links: Vec<_> = (0..4).map(|_| group.link()).collect();
    let mut seen = Vec::new();
    for link in &mut links {
        rcpt(link, &envelope(1, &[]), "a@x.example").await;
        seen.push(group.open());
    }
    assert_eq!(seen, [[1, 0], [1, 1], [2, 1], [2, 2]]);
    drop(links);
    group.done().await;
}

/// At most so many connections to each server: who comes after waits, or hears 451.
#[tokio::test]
async fn the_limit_of_each_server() {
    let a = takes("a");
    let taken: &[&str] = &[BARE, MAIL, &a, "eof"];
    let mut servers = Vec::new();
    for scripts in [[UP, taken, taken], [UP, taken, taken]] {
        servers.push(Scripted::start(&scripts).await);
    }
    let settings = config::Upstream {
        addresses: servers.iter().map(|server| server.address).collect(),
        connections_max: 2,
        connections_reserved: 1,
        connections_per_source_max: 9,
        ..settings(servers[0].address, Identity::None)
    };
    let group = Group {
        upstream: Upstream::new(settings, "gw.example".into()),
        servers,
    };
    group.upstream.probe_all().await;
    let mut links: Vec<_> = (0..2).map(|_| group.link()).collect();
    for link in &mut links {
        rcpt(link, &envelope(1, &[]), "a@x.example").await;
    }
    assert_eq!(group.open(), [1, 1], "one of two is kept for known senders");
    let mut waiting = group.link();
    let (ask, first) = (Ask::Rcpt(Recipient::plain("a@x.example")), envelope(1, &[]));
    let short = Duration::from_millis(50);
    let (who, stranger) = (client(), claim("192.0.2.7", false));
    let answer = waiting.ask(&ask, &who, stranger, Some(&first), short).await;
    assert_eq!(shown(&answer), "capacity");
    let known = claim("198.51.100.1", true);
    let mut wanted = group.link();
    let answer = wanted.ask(&ask, &who, known, Some(&first), LIMIT).await;
    assert_eq!(shown(&answer), "250 a ok");
    assert_eq!(group.open(), [2, 1]);
    let turn = waiting.ask(&ask, &who, stranger, Some(&first), LIMIT);
    let freed = async {
        tokio::task::yield_now().await;
        links.pop();
    };
    let (answer, ()) = tokio::join!(turn, freed);
    assert_eq!(shown(&answer), "250 a ok", "whose turn came");
    assert_eq!(group.open(), [2, 1]);
    drop((links, wanted, waiting));
    group.done().await;
}

#[tokio::test]
async fn announced_is_what_all_have() {
    let offers = |keywords: &str| format!("S: 220 up\nC: EHLO gw.example\nS: 250-up|{keywords}\n");
    let rich = offers("250-SIZE 99|250-8BITMIME|250-PIPELINING|250-CHUNKING|250 AUTH PLAIN LOGIN");
    let poor = offers("250-SIZE 70|250-8BITMIME|250 AUTH LOGIN CRAM-MD5");
    let first: &[&[&str]] = &[&[&rich, REFUSES_RELAY], &[&rich, REFUSES_RELAY]];
    let second: &[&[&str]] = &[&[&poor, REFUSES_RELAY], &["S: 421 no\neof"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let common = group.upstream.capabilities().unwrap();
    assert_eq!(common.size, Some(70));
    assert!(common.eight_bit_mime && !common.pipelining && !common.chunking);
    assert_eq!(common.auth.iter().count(), 1);
    group.upstream.probe_all().await;
    let alone = group.upstream.capabilities().unwrap();
    assert_eq!(alone.size, Some(99), "who is away has no say");
    assert!(alone.chunking);
    group.done().await;
}

/// DESIGN promise 7.
#[tokio::test]
async fn one_that_relays_counts_for_all() {
    let group = Group::probed(Balance::Order, &[&[UP, UP], &[&[BARE, RELAYS], UP]]).await;
    let reply = "250 why not".to_owned();
    assert_eq!(group.upstream.health(), Health::Relays { reply });
    group.upstream.probe_all().await;
    assert_eq!(group.upstream.health(), Health::Up);
    group.done().await;
}

/// Whether it relays is not known of a server that was never there: it gets no mail, not even when
/// all others are away.
#[tokio::test]
async fn a_server_that_was_never_judged_gets_no_mail() {
    let first: &[&[&str]] = &[UP, &["close"], &["close"], &["close"], &["close"]];
    let second: &[&[&str]] = &[&["S: 421 no\neof"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let why = Trouble::Closed;
    assert_eq!(group.healths(), [Health::Up, Health::Down { why }]);
    for all_are_down in [false, true] {
        if all_are_down {
            group.upstream.probe(0).await;
            assert_eq!(group.upstream.health(), Health::Down { why });
        }
        let answer = rcpt(&mut group.link(), &envelope(1, &[]), "a@x.example").await;
        assert_eq!(answer, "closed");
    }
    rcpt(&mut group.link(), &envelope(1, &[]), "a@x.example").await;
    group.done().await;
}

#[tokio::test]
async fn the_near_end_of_a_connection_is_ours() {
    let mut world = World::new(Identity::None, &[&[BARE, MAIL, &takes("a"), "eof"]]).await;
    world.rcpt(&envelope(1, &[]), "a@x.example").await;
    let near = world.link.near_end().unwrap();
    assert!(world.upstream.is_ours(near));
    let mapped = match near.ip() {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        std::net::IpAddr::V6(v6) => v6,
    };
    assert!(world.upstream.is_ours((mapped, near.port()).into()));
    assert!(!world.upstream.is_ours(world.server.address));
    world.link.abort();
    assert!(!world.upstream.is_ours(near), "no longer");
    world.done().await;
}
