//! Caps, reserve, queue.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::upstream::connection::Connection;
use crate::upstream::dial::OwnAddresses;
use crate::upstream::identity::Told;
use crate::upstream::leg::Leg;
use crate::upstream::opening::{Opening, Route};
use crate::upstream::server::Server;
use crate::upstream::stock::{IDLE_LONG_MAX, Slot, Stock, Wish};

fn stock(max: u32, per_source: u32, reserved: u32) -> Arc<Stock> {
    Stock::new(&config::Upstream {
        connections_max: max,
        connections_per_source_max: per_source,
        connections_reserved: reserved,
        ..settings("127.0.0.1:1".parse().unwrap(), Identity::None)
    })
}

/// What is there at once, without waiting; whoever would have to wait leaves the queue again.
fn at_once(stock: &Arc<Stock>, claim: Claim) -> Option<Slot> {
    at_once_or_idle(stock, claim, None)
}

/// The same; an idle connection told `wanted` will do.
fn at_once_or_idle(stock: &Arc<Stock>, claim: Claim, wanted: Option<Told>) -> Option<Slot> {
    let take = pin!(stock.take(claim, told(wanted)));
    match take.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(slot) => slot,
        Poll::Pending => None,
    }
}

fn told(told: Option<Told>) -> Wish {
    Wish {
        told,
        ..Wish::default()
    }
}

async fn open(config: &config::Upstream) -> Connection {
    let route = Route {
        server: &Server::new(config.address()),
        upstream: "mx",
        leg: &Leg::new(config::UpstreamTls::Off),
        connect_limit: LIMIT,
        hostname: "gw.example",
        own: &Arc::<OwnAddresses>::default(),
    };
    let mut opening = Opening::start();
    let opened = Connection::open(route, Told::Nothing, &mut opening);
    opened.await.unwrap()
}

fn stranger(n: u8) -> Claim {
    claim(&format!("192.0.2.{n}"), false)
}

fn known(n: u8) -> Claim {
    claim(&format!("198.51.100.{n}"), true)
}

#[test]
fn connections_in_all_and_the_reserve() {
    let stock = stock(4, 4, 1);
    let strangers: Vec<_> = (0..3)
        .map(|n| at_once(&stock, stranger(n)).unwrap())
        .collect();
    assert!(
        at_once(&stock, stranger(3)).is_none(),
        "the last place is kept for known senders"
    );
    let reserved = at_once(&stock, known(0)).unwrap();
    assert!(at_once(&stock, known(1)).is_none(), "four in all");
    assert_eq!(stock.counts(), (4, 0));
    drop(reserved);
    assert!(at_once(&stock, stranger(3)).is_none(), "still kept");
    drop(strangers);
    assert_eq!(stock.counts(), (0, 0));
    // Known senders elsewhere take nothing from what strangers may have.
    let _known = at_once(&stock, known(0)).unwrap();
    let _strangers: Vec<_> = (0..3)
        .map(|n| at_once(&stock, stranger(n)).unwrap())
        .collect();
}

#[test]
fn connections_of_one_source() {
    let stock = stock(10, 2, 0);
    let first = at_once(&stock, stranger(1)).unwrap();
    let _second = at_once(&stock, stranger(1)).unwrap();
    assert!(at_once(&stock, stranger(1)).is_none());
    let _other = at_once(&stock, stranger(2)).unwrap();
    drop(first);
    assert!(at_once(&stock, stranger(1)).is_some());
}

/// First come first served, but nobody is held up by one who could not go anyway.
#[tokio::test]
async fn the_queue() {
    let stock = stock(2, 1, 1);
    let (first, second) = (
        at_once(&stock, stranger(1)).unwrap(),
        at_once(&stock, known(1)).unwrap(),
    );
    let mut turns = Vec::new();
    for claim in [stranger(1), stranger(2), stranger(3), known(2), known(3)] {
        let mut turn = Box::pin(stock.take(claim, Wish::default()));
        assert!(
            turn.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        turns.push(turn);
    }
    let mut granted = move || {
        let mut granted = Vec::new();
        for (at, turn) in turns.iter_mut().enumerate() {
            if let Poll::Ready(slot) = turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                granted.push((at, slot.unwrap()));
            }
        }
        granted.iter().for_each(|(at, _)| drop(turns.remove(*at)));
        granted
    };
    drop(second);
    let mut now = granted();
    assert_eq!(
        now.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [3],
        "the known one passes the strangers"
    );
    let third = now.pop().unwrap();
    drop(first);
    let mut now = granted();
    assert_eq!(
        now.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [0],
        "the first who may"
    );
    drop(now.pop());
    let mut now = granted();
    assert_eq!(
        now.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [0],
        "then the next"
    );
    drop(third);
    let now_known = granted();
    assert_eq!(
        now_known.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [1],
        "a stranger may not have the last place"
    );
    drop((now.pop(), now_known));
    assert_eq!(granted().len(), 1);
}

#[test]
fn who_left_the_queue_holds_up_nobody() {
    let stock = stock(1, 1, 0);
    let only = at_once(&stock, stranger(1)).unwrap();
    let mut gone = Box::pin(stock.take(stranger(2), Wish::default()));
    let mut stays = Box::pin(stock.take(stranger(3), Wish::default()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(gone.as_mut().poll(&mut context).is_pending());
    assert!(stays.as_mut().poll(&mut context).is_pending());
    drop(only);
    // Its turn came, and it was gone before it knew: the place goes on.
    drop(gone);
    let Poll::Ready(Some(_slot)) = stays.as_mut().poll(&mut context) else {
        panic!("its turn has come");
    };
    assert_eq!(stock.counts().0, 1);
}

#[tokio::test]
async fn waiting_has_an_end() {
    let mut world = World::new(Identity::None, &[&["mark\neof"]]).await;
    let stock = &world.upstream.stock;
    let all: Vec<_> = (0..5)
        .map(|_| at_once(stock, world.claim).unwrap())
        .collect();
    world.limit = Duration::from_millis(50);
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "capacity"
    );
    drop(all);
    assert_eq!(world.upstream.stats().open, 0);
    world.limit = Duration::from_millis(50);
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "timed_out",
        "now it was connected"
    );
    world.server.marked().await;
    world.done().await;
}

/// However much time there is, after ten seconds the client had better come back.
#[tokio::test(start_paused = true)]
async fn waiting_has_an_end_of_its_own() {
    let upstream = Upstream::new(
        settings("127.0.0.1:1".parse().unwrap(), Identity::None),
        "gw.example".into(),
    );
    let claim = stranger(1);
    let _all: Vec<_> = (0..5)
        .map(|_| at_once(&upstream.stock, claim).unwrap())
        .collect();
    let mut link = UpstreamLink::new(upstream);
    let start = tokio::time::Instant::now();
    let (ask, envelope) = (Ask::Rcpt(Recipient::plain("a@x.example")), envelope(1, &[]));
    let answer = link
        .ask(
            &ask,
            &client(),
            claim,
            Some(&envelope),
            Duration::from_secs(100),
        )
        .await;
    assert_eq!(shown(&answer), "capacity");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn an_idle_connection_is_left_in_time() {
    let server = Scripted::start(&[&[BARE, "C: QUIT\nS: 221 bye\neof"]]).await;
    let stock = stock(2, 2, 0);
    idle(&stock, &server, 1).await.unwrap();
    // The task that waits must have begun to.
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(stock.counts(), (1, 1));
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    server.done().await;
    while stock.counts() != (0, 0) {
        tokio::task::yield_now().await;
    }
}

/// An idle connection with a place of its own.
async fn idle(stock: &Arc<Stock>, server: &Scripted, n: u8) -> Result<(), ()> {
    let settings = settings(server.address, Identity::None);
    let Some(Slot::Vacant {
        permit,
        closing: None,
    }) = at_once(stock, known(n))
    else {
        return Err(());
    };
    let mut connection = open(&settings).await;
    connection.permit = Some(permit);
    stock.keep(Box::new(connection)).map_err(drop)
}

#[tokio::test]
async fn an_idle_connection_makes_room() {
    let scripts: [&[&str]; 2] = [&[BARE, "C: QUIT\neof"], &[BARE, "eof"]];
    let server = Scripted::start(&scripts).await;
    let stock = stock(2, 1, 0);
    idle(&stock, &server, 1).await.unwrap();
    // Who left it there is not counted any more.
    idle(&stock, &server, 1).await.unwrap();
    assert_eq!(stock.counts(), (2, 2));
    let Some(Slot::Vacant {
        permit,
        closing: Some(closing),
    }) = at_once(&stock, stranger(1))
    else {
        panic!("the oldest idle one must go");
    };
    closing.wire.hang_up();
    assert_eq!(stock.counts(), (2, 1));
    let Some(Slot::Idle(reused)) = at_once_or_idle(&stock, known(3), Some(Told::Nothing)) else {
        panic!("the other one is there to be used");
    };
    assert_eq!(stock.counts(), (2, 0));
    assert!(at_once(&stock, known(4)).is_none());
    drop((permit, reused));
    assert_eq!(stock.counts(), (0, 0));
    server.done().await;
}

#[tokio::test]
async fn an_idle_connection_goes_to_who_waits() {
    let server = Scripted::start(&[&[BARE, "eof"]]).await;
    let stock = stock(1, 1, 0);
    let Some(Slot::Vacant { permit, .. }) = at_once(&stock, known(1)) else {
        panic!("there is room");
    };
    let mut context = Context::from_waker(Waker::noop());
    let mut turn = Box::pin(stock.take(known(2), told(Some(Told::Nothing))));
    assert!(turn.as_mut().poll(&mut context).is_pending());
    let settings = settings(server.address, Identity::None);
    let mut connection = open(&settings).await;
    connection.permit = Some(permit);
    stock.keep(Box::new(connection)).unwrap();
    let Poll::Ready(Some(Slot::Idle(reused))) = turn.as_mut().poll(&mut context) else {
        panic!("it was waited for");
    };
    drop(reused);
    server.done().await;
}

#[tokio::test]
async fn idle_connections_are_half_of_all() {
    let script: &[&str] = &[BARE, "eof"];
    let server = Scripted::start(&[script; 11]).await;
    let stock = stock(20, 20, 0);
    for n in 0..10 {
        idle(&stock, &server, n).await.unwrap();
    }
    idle(&stock, &server, 10).await.unwrap_err();
    assert_eq!(stock.counts(), (10, 10));
    while let Some(Slot::Idle(_)) = at_once_or_idle(&stock, known(1), Some(Told::Nothing)) {}
    server.done().await;
}

#[tokio::test]
async fn more_than_a_few_idle_connections_are_left_sooner() {
    const FEW: u8 = 8;
    let kept: &[&str] = &[BARE, "eof"];
    let left: &[&str] = &[BARE, "C: QUIT\nS: 221 bye\neof"];
    let mut scripts = [kept; FEW as usize + 1];
    scripts[usize::from(FEW)] = left;
    assert_eq!(u32::from(FEW), IDLE_LONG_MAX);
    let server = Scripted::start(&scripts).await;
    let stock = stock(20, 20, 0);
    for n in 0..=FEW {
        idle(&stock, &server, n).await.unwrap();
    }
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3)).await;
    tokio::time::resume();
    while stock.counts() != (FEW.into(), FEW.into()) {
        tokio::task::yield_now().await;
    }
    while let Some(Slot::Idle(_)) = at_once_or_idle(&stock, known(1), Some(Told::Nothing)) {}
    server.done().await;
}
