//! The front's side, turn by turn, with a keeper that does what a test says.
//!
//! Records here can't be read: a session that goes on, or is buried, is counted as unreadable, and
//! that shows where it went.

use std::time::Instant;

use rustix::process::{Pid, getpriority_process};
use tarpit_core::ledger::{Grant, Terms};
use tempfile::TempDir;

use super::super::super::link::Link;
use super::super::super::message::Freight;
use super::super::super::message::tests::small;
use super::retire::IDLE_MAX;
use super::*;
use crate::Gateway;
use crate::pit::shed::Among;
use crate::priority::NICE;
use crate::sample::{LATE, sample};

/// A gateway, its porter, and the keeper's end of the line.
struct Scene {
    shared: Arc<Shared>,
    porter: Porter,
    keeper: Link,
    _gateway: Gateway,
    folder: TempDir,
}

impl Scene {
    /// The pit may hold so many.
    async fn new(pit_sessions_max: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = sample(folder.path());
        config.limits.pit_sessions_max = pit_sessions_max;
        let gateway = Gateway::start(config).await.unwrap();
        let shared = gateway.handle().shared();
        let mut desk = Keepers::open(0, false).unwrap();
        desk.ahead = 50;
        let desk = Arc::new(desk);
        let mut porter = Porter::new(Arc::downgrade(&shared), desk, settings(&folder));
        let (ours, theirs) = link::pair().unwrap();
        porter.add(&shared, 1, ours, None);
        let keeper = keeper(theirs);
        let mut scene = Self {
            shared,
            porter,
            keeper,
            _gateway: gateway,
            folder,
        };
        scene.turn();
        scene
    }

    fn turn(&mut self) {
        self.porter
            .lines
            .iter_mut()
            .for_each(|line| line.stirs = true);
        self.porter.turn(&self.shared);
    }

    /// One more keeper.
    fn another(&mut self, process: u32) -> Link {
        let (ours, theirs) = link::pair().unwrap();
        self.porter.add(&self.shared, process, ours, None);
        let keeper = keeper(theirs);
        self.turn();
        keeper
    }

    /// What the keeper hears now, but for credit.
    fn heard(&mut self) -> Vec<Message> {
        self.keeper.heard()
    }

    fn tells(&mut self, message: &Message) {
        assert_eq!(self.keeper.send(message, &[]).unwrap(), Sent::Yes);
    }

    /// The keeper gives a session back that it had.
    fn gives_back(&mut self) {
        self.tells(&Message::Holds(vec![small().source]));
        let socket = link::pair().unwrap().0;
        let back = Message::Back(vec![(Why::Input, small())]);
        assert_eq!(
            self.keeper.send(&back, &[socket.as_fd()]).unwrap(),
            Sent::Yes
        );
    }

    /// A lane leaves a session at the desk.
    fn leave(&self, ticket: Option<u64>) -> Result<(), Box<Cargo>> {
        let freight = Freight { ticket, ..small() };
        self.shared.places.add_held(freight.source);
        let socket = link::pair().unwrap().0;
        let cargo = Cargo {
            freight,
            socket,
            veil: None,
        };
        let desk = &self.porter.keepers;
        desk.put(cargo, desk.eases())
    }

    /// Sessions that went on here, or were buried.
    fn went_on(&self) -> u64 {
        self.shared.metrics.sessions_unreadable.get()
    }
}

/// One with room for 100.
fn keeper(line: OwnedFd) -> Link {
    let mut keeper = Link::new(line);
    keeper.grant(100);
    keeper.tell_credit().unwrap();
    keeper
}

fn settings(folder: &TempDir) -> Settings {
    Settings {
        directory: folder.path().to_owned(),
        program: "/nonexistent".into(),
        arguments: Vec::new(),
    }
}

#[tokio::test]
async fn a_smaller_pit_asks_for_the_surplus_once() {
    let mut scene = Scene::new(10).await;
    let load = |sessions, sheds| Message::Load {
        load: Load {
            sessions,
            ..Load::default()
        },
        sheds,
    };
    scene.tells(&Message::Holds(vec![small().source; 20]));
    scene.tells(&load(20, 0));
    scene.turn();
    scene.turn();
    assert_eq!(scene.heard(), [Message::Shed(Among::All, 10)]);
    // They are on their way, and may be for long.
    scene.tells(&load(10, 1));
    scene.turn();
    scene.turn();
    assert_eq!(scene.heard(), []);
    assert_eq!(scene.porter.lines[0].sources.all, 20);
}

#[tokio::test]
async fn a_keeper_that_is_killed_does_not_block_the_queue_of_its_sources() {
    let mut scene = Scene::new(100).await;
    let hold_max = Duration::from_secs(60);
    let terms = Terms {
        price: hold_max,
        allowance: Duration::ZERO,
        hold_max,
    };
    let (now, source) = (scene.shared.clock.now(), small().source);
    let ledger = |ticket| {
        let ledger = &scene.shared.ledger;
        ledger.request(now, Ticket(ticket), source, Account::Rcpt, &terms)
    };
    let Grant::Granted(reservation) = ledger(0) else {
        panic!("no room");
    };
    assert!(matches!(ledger(1), Grant::Wait { .. }));
    assert!(matches!(ledger(2), Grant::Wait { .. }));
    scene.leave(Some(1)).unwrap();
    scene.turn();
    assert!(matches!(scene.heard()[..], [Message::Park(_)]));
    scene.keeper = Link::new(link::pair().unwrap().0);
    scene.turn();
    assert_eq!(scene.shared.places.held(), 0);

    let ledger = &scene.shared.ledger;
    ledger.release(now, reservation);
    let next = ledger.poll(now, Ticket(2), source, Account::Rcpt, &terms);
    assert!(matches!(next, Grant::Granted(_)), "{next:?}");
}

#[tokio::test]
async fn a_session_whose_socket_is_lost_is_buried() {
    let mut scene = Scene::new(100).await;
    scene.tells(&Message::Holds(vec![small().source]));
    let back = Message::Back(vec![(Why::Input, small())]).encode();
    rustix::net::send(&scene.keeper, &back, rustix::net::SendFlags::empty()).unwrap();
    scene.turn();
    assert_eq!((scene.went_on(), scene.shared.places.held()), (1, 0));
}

#[tokio::test]
async fn what_is_at_the_desk_when_all_are_called_back_does_not_leave() {
    let mut scene = Scene::new(100).await;
    scene.leave(None).unwrap();
    let before = scene.porter.keepers.eases();
    scene.porter.keepers.ease();
    scene.turn();
    assert_eq!(scene.heard(), [Message::Drain]);
    assert_eq!(scene.went_on(), 1);
    // A lane that had not heard of it.
    let socket = link::pair().unwrap().0;
    let late = Cargo {
        freight: small(),
        socket,
        veil: None,
    };
    assert!(scene.porter.keepers.put(late, before).is_err());

    scene.leave(Some(5)).unwrap();
    scene.shared.stop.send_replace(Stop::Draining);
    scene.turn();
    assert_eq!(scene.heard(), [Message::Drain]);
    assert_eq!(scene.went_on(), 2);
    assert_eq!(scene.porter.keepers.lock().waiting.line_of(5), None);
    assert!(scene.leave(None).is_err());
}

#[tokio::test]
async fn who_comes_back_goes_on_only_when_its_keeper_is_told() {
    let mut scene = Scene::new(100).await;
    let recall = Message::Recall(vec![u64::MAX; 4000]);
    let line = &mut scene.porter.lines[0].link;
    while line.send(&recall, &[]).unwrap() == Sent::Yes {}
    scene.gives_back();
    scene.turn();
    scene.turn();
    assert_eq!((scene.went_on(), scene.shared.places.held()), (0, 1));
    scene.heard();
    assert_eq!(scene.keeper.in_flight(), 1);
    scene.turn();
    assert_eq!((scene.went_on(), scene.shared.places.held()), (1, 0));
    scene.heard();
    assert_eq!(scene.keeper.in_flight(), 0);
}

#[tokio::test]
async fn who_comes_back_over_a_line_that_is_lost_stays_with_its_keeper() {
    let mut scene = Scene::new(100).await;
    scene.gives_back();
    scene.tells(&Message::Drain);
    scene.turn();
    assert!(scene.porter.lines.is_empty());
    assert_eq!((scene.went_on(), scene.shared.places.held()), (0, 0));
}

#[tokio::test]
async fn keepers_that_hold_nobody_for_long_are_let_go_but_the_last() {
    let mut scene = Scene::new(100).await;
    let now = scene.shared.clock.now();
    let mut other = scene.another(2);
    scene.leave(None).unwrap();
    scene.turn();
    assert!(matches!(scene.heard()[..], [Message::Park(_)]));
    // The first holds somebody, and the second has not been idle for long enough.
    scene.porter.retire(now + IDLE_MAX / 2);
    scene.turn();
    assert_eq!(other.heard(), []);
    scene.porter.retire(now + IDLE_MAX * 2);
    scene.turn();
    assert_eq!(other.heard(), [Message::Release]);
    // Nobody is given to it any more.
    for _ in 0..99 {
        scene.leave(None).unwrap();
    }
    assert!(scene.leave(None).is_err());

    let mut scene = Scene::new(100).await;
    scene.porter.retire(now);
    scene.porter.retire(now + IDLE_MAX * 2);
    scene.turn();
    assert_eq!(scene.heard(), []);
}

#[tokio::test]
async fn the_thread_runs_below_mail() {
    let scene = Scene::new(100).await;
    Keepers::start(&scene.shared, settings(&scene.folder), 1, false).unwrap();
    let start = Instant::now();
    while nice_of("keepers") != Some(NICE) {
        assert!(start.elapsed() < LATE, "{:?}", nice_of("keepers"));
        tokio::task::yield_now().await;
    }
}

/// How nice a thread of this process is.
fn nice_of(name: &str) -> Option<i32> {
    let mut threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let found = threads.find(|thread| {
        let own = std::fs::read_to_string(thread.path().join("comm"));
        own.is_ok_and(|own| own.trim_end() == name)
    })?;
    let number = found.file_name().to_str()?.parse().ok()?;
    getpriority_process(Pid::from_raw(number)).ok()
}
