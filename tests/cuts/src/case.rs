//! One run of a dialogue: its cut, what the client was told, and what the upstream took.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, watch};

use crate::point::{Action, Leg, Point, World};
use crate::script::{Script, token};
use crate::stream::Tls;

/// A message that an upstream took for good.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) message: usize,
    pub(crate) recipients: Vec<String>,
    /// Whether its content is that of the client, octet for octet.
    pub(crate) exact: bool,
    /// Whether the whole 250 went out; `None` where the server is a real one and doesn't tell.
    pub(crate) answered: Option<bool>,
}

/// What the upstream side knows of a case.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) commits: Vec<Commit>,
    /// What no gateway may ever send.
    pub(crate) violations: Vec<String>,
    /// For each connection (or transaction, where connections are shared) in order: octets read,
    /// octets sent, replies.
    pub(crate) lengths: Vec<[u32; 3]>,
}

/// Sessions that wait at their points for the gateway to be killed.
#[derive(Debug)]
pub(crate) struct Gang {
    pub(crate) arrived: AtomicUsize,
    pub(crate) arrival: Notify,
    /// Somebody was told 250 to a whole message.
    pub(crate) yes: Notify,
    killed: watch::Sender<bool>,
}

impl Gang {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            arrived: AtomicUsize::new(0),
            arrival: Notify::new(),
            yes: Notify::new(),
            killed: watch::Sender::new(false),
        })
    }

    pub(crate) fn one_more(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        self.arrival.notify_one();
    }

    /// The gateway is dead.
    pub(crate) fn release(&self) {
        self.killed.send_replace(true);
    }

    async fn wait(&self) {
        let mut killed = self.killed.subscribe();
        // The sender lives as long as we do.
        let _ = killed.wait_for(|killed| *killed).await;
    }
}

/// One run of a dialogue.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) number: u64,
    pub(crate) point: Point,
    pub(crate) script: Script,
    /// Whether the cut came; without it nothing was tried.
    pub(crate) fired: AtomicBool,
    gang: Option<Arc<Gang>>,
    journal: Mutex<Journal>,
    /// Transactions of it at the upstream now.
    open: AtomicI64,
}

impl Case {
    pub(crate) fn new(number: u64, point: Point, gang: Option<Arc<Gang>>) -> Arc<Self> {
        Arc::new(Self {
            number,
            point,
            script: Script::new(point.dialogue, number, point.world == World::Secured),
            fired: AtomicBool::new(point.action == Action::Nothing),
            gang,
            journal: Mutex::default(),
            open: AtomicI64::new(0),
        })
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn fire(&self) {
        self.fired.store(true, Ordering::SeqCst);
    }

    /// Its client was told that a message is taken.
    pub(crate) fn note_yes(&self) {
        if let Some(gang) = &self.gang {
            gang.yes.notify_waiters();
        }
    }

    /// Waits here until the gateway was killed.
    pub(crate) async fn park(&self) {
        if let Some(gang) = &self.gang {
            gang.one_more();
            gang.wait().await;
        }
    }

    /// A transaction of it begins at the upstream; it is over when this is dropped.
    pub(crate) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(Arc::clone(self))
    }

    /// A connection (or transaction) of it begins at the upstream. Its cut, if it is due there.
    pub(crate) fn attach(self: &Arc<Self>) -> Attached {
        let mut journal = self.journal();
        let number = journal.lengths.len();
        journal.lengths.push([0; 3]);
        drop(journal);
        let due = match self.point.leg {
            Leg::UpstreamHeard(which) | Leg::UpstreamSaid(which) => {
                let which = usize::from(which);
                // Half of the failures last: the upstream fails again when it is tried again.
                let lasts = self.point.seed & 1 == 1;
                which == number || (lasts && which < number)
            }
            Leg::ClientSent | Leg::ClientHeard => false,
        };
        Attached {
            case: Arc::clone(self),
            number,
            due,
        }
    }
}

/// A connection or transaction of a case at the upstream.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) case: Arc<Case>,
    pub(crate) number: usize,
    /// The cut is to happen on it.
    pub(crate) due: bool,
}

/// A transaction that is not over.
#[derive(Debug)]
pub(crate) struct Open(Arc<Case>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How a case is found: by the client's port, where the upstream is told, or by a token.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    cases: Mutex<HashMap<String, Arc<Case>>>,
    next: AtomicU64,
    /// For worlds with TLS.
    pub(crate) tls: OnceLock<Tls>,
    /// Grows with all that happens at the upstream.
    pub(crate) activity: AtomicU64,
    /// Transactions on connections that had one before.
    pub(crate) reused: AtomicU64,
}

impl Registry {
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Case>>> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The case of each message, by its token.
    pub(crate) fn add(&self, case: &Arc<Case>) {
        let mut cases = self.lock();
        for message in &case.script.messages {
            cases.insert(message.token.clone(), Arc::clone(case));
        }
    }

    /// The client's address, once it is known.
    pub(crate) fn add_address(&self, address: String, case: &Arc<Case>) {
        self.lock().insert(address, Arc::clone(case));
    }

    /// Case and number of the message.
    pub(crate) fn message(&self, token: &str) -> Option<(Arc<Case>, usize)> {
        let case = self.lock().get(token).map(Arc::clone)?;
        let messages = &case.script.messages;
        let number = messages.iter().position(|one| one.token == token)?;
        Some((case, number))
    }

    pub(crate) fn address(&self, address: &str) -> Option<Arc<Case>> {
        self.lock().get(address).map(Arc::clone)
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}

/// The first token in a message's content.
pub(crate) fn find_token(content: &[u8]) -> Option<String> {
    const SUBJECT: &[u8] = b"Subject: ";
    let start = content
        .windows(SUBJECT.len())
        .position(|window| window == SUBJECT)?
        + SUBJECT.len();
    let length = token(0, 0).len();
    let found = content.get(start..start + length)?;
    String::from_utf8(found.to_vec()).ok()
}
