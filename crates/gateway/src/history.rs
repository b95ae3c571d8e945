//! The newest sessions, for whoever asks about one by its name or its source.
//!
//! Bounded, and for a look only: the record in the log is what lasts. Sessions that had mail accepted
//! have places of their own, so that a flood of guesses does not push them out. A session that still
//! runs is here once a hold of it has ended.
//!
//! What it promises: one short lock for a session that ends and for a hold that ends.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tarpit_core::record::{HoldEnd, HoldReason, HoldRecord, SessionRecord};
use tarpit_core::{SessionId, Source, Tick};

use crate::clock::unix_now;
use crate::config::Addresses;
use crate::conn::Conn;
use crate::shared::Shared;

/// Sessions that had mail accepted: two hours of a server that takes a thousand an hour.
const WANTED_MAX: usize = 2048;

/// All others. With the usual names each takes under a kilobyte, with the longest two: all of them 16 MiB
/// at most.
const OTHERS_MAX: usize = 6144;

/// Holds that are listed of one session; the record counts the others.
const HOLDS_MAX: usize = 16;

/// A session that has ended, or that still runs and was held.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentSession {
    /// Its name, as it is shown ([`SessionId::shown`]).
    pub id: SessionId,
    /// Who is charged.
    pub source: Source,
    /// Its last holds, oldest first, 16 at most.
    pub holds: VecDeque<RecentHold>,
    /// What is known since it ended.
    pub ended: Option<Box<Ended>>,
}

/// A hold that ended, or that would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentHold {
    /// Seconds since 1970.
    pub at: u64,
    /// What for.
    pub reason: HoldReason,
    /// The code of the reply that waited; `None` if the command waited to be looked at.
    pub code: Option<u16>,
    /// What was owed when it began.
    pub owed: Duration,
    /// How long it was.
    pub held: Duration,
    /// How it ended.
    pub end: HoldEnd,
}

/// What is known of a session that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Seconds since 1970.
    pub at: u64,
    /// How long it was.
    pub lasted: Duration,
    /// Its client.
    pub client: SocketAddr,
    /// The listener.
    pub listener: Box<str>,
    /// Why its network was exempt, if it was.
    pub exempt: Option<Box<str>>,
    /// Its record, without the messages.
    pub record: SessionRecord,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<SessionId, RecentSession>,
    /// Oldest first.
    wanted: VecDeque<SessionId>,
    others: VecDeque<SessionId>,
}

impl Shared {
    /// A hold ended, or would have been.
    pub(crate) fn note_hold(&self, hold: &HoldRecord, now: Tick) {
        let is_known = || self.ledger.is_known(now, hold.source);
        self.harm.hold(hold, is_known, &self.metrics);
        self.history.hold(hold);
    }
}

/// A session ended.
pub(crate) fn note_session<S>(shared: &Shared, conn: &Conn<S>, now: Tick) {
    let record = conn.session.record();
    if conn.is_check && record.messages_count == 0 {
        return;
    }
    let config = &conn.live.config;
    let exemption = conn.exempt.and_then(|at| config.exempt.get(at));
    // Escaped where it is shown; what is not to be shown is not kept either.
    let shown = |path: &str| match config.addresses {
        Addresses::Full => path.into(),
        how => how.show(path).into_boxed_str(),
    };
    let ended = Ended {
        at: unix_now(),
        lasted: now.since(conn.opened),
        client: conn.peer,
        listener: config.listeners[conn.listener].name.clone(),
        exempt: exemption.map(|exemption| exemption.reason.clone()),
        record: SessionRecord {
            messages: Vec::new(),
            sender: record.sender.as_deref().map(shown),
            refused_paths: record
                .refused_paths
                .iter()
                .map(|path| shown(path))
                .collect(),
            ..record.clone()
        },
    };
    let (id, source) = (conn.session.id(), conn.session.source());
    shared.history.ended(id, source, ended);
}

impl History {
    fn hold(&self, hold: &HoldRecord) {
        let entry = RecentHold {
            at: unix_now(),
            reason: hold.reason,
            code: hold.code.map(tarpit_smtp::ReplyCode::get),
            owed: hold.owed,
            held: hold.held,
            end: hold.end,
        };
        let mut inner = self.lock();
        let session = inner.session(hold.session.shown(), hold.source);
        if session.holds.len() >= HOLDS_MAX {
            session.holds.pop_front();
        }
        session.holds.push_back(entry);
        inner.shorten();
    }

    fn ended(&self, id: SessionId, source: Source, ended: Ended) {
        let id = id.shown();
        let is_wanted = ended.record.messages_accepted > 0;
        let mut inner = self.lock();
        let session = inner.session(id, source);
        session.source = source;
        session.ended = Some(Box::new(ended));
        if is_wanted {
            inner.wanted.push_back(id);
        }
        inner.shorten();
    }

    /// The session of this name.
    pub(crate) fn session(&self, id: SessionId) -> Option<RecentSession> {
        self.lock().sessions.get(&id.shown()).cloned()
    }

    /// The newest sessions of a source, newest first, `count` at most.
    pub(crate) fn of_source(&self, source: Source, count: usize) -> Vec<RecentSession> {
        self.newest(count, |session| session.source == source)
    }

    /// The newest of those that `is_meant`, newest first, `count` at most.
    pub(crate) fn newest(
        &self,
        count: usize,
        is_meant: impl Fn(&RecentSession) -> bool,
    ) -> Vec<RecentSession> {
        let inner = self.lock();
        let meant = inner.sessions.values().filter(|session| is_meant(session));
        let mut newest: Vec<_> = meant
            .map(|session| (std::cmp::Reverse(session.at()), session.id))
            .collect();
        // Sessions that end wait for this lock: of thousands, only those are copied that are asked for.
        if newest.len() > count {
            newest.select_nth_unstable(count);
            newest.truncate(count);
        }
        newest.sort_unstable();
        let found = newest.iter();
        found
            .filter_map(|(_, id)| inner.sessions.get(id).cloned())
            .collect()
    }

    /// Whoever panicked with it left it whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn session(&mut self, id: SessionId, source: Source) -> &mut RecentSession {
        let others = &mut self.others;
        self.sessions.entry(id).or_insert_with(|| {
            others.push_back(id);
            RecentSession {
                id,
                source,
                holds: VecDeque::new(),
                ended: None,
            }
        })
    }

    /// Those that had mail accepted are in both lists, and leave with the second one.
    fn shorten(&mut self) {
        if self.others.len() > OTHERS_MAX
            && let Some(oldest) = self.others.pop_front()
            && !self
                .sessions
                .get(&oldest)
                .is_some_and(RecentSession::is_wanted)
        {
            self.sessions.remove(&oldest);
        }
        if self.wanted.len() > WANTED_MAX
            && let Some(oldest) = self.wanted.pop_front()
        {
            self.sessions.remove(&oldest);
        }
    }
}

impl RecentSession {
    fn is_wanted(&self) -> bool {
        let ended = self.ended.as_ref();
        ended.is_some_and(|ended| ended.record.messages_accepted > 0)
    }

    /// When something was last heard of it, in seconds since 1970.
    #[must_use]
    pub fn at(&self) -> u64 {
        let hold = self.holds.back().map(|hold| hold.at);
        self.ended
            .as_ref()
            .map(|ended| ended.at)
            .or(hold)
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use tarpit_core::policy::{Mode, Offence, Way};

    use super::*;

    fn ended(messages_accepted: u32) -> Ended {
        Ended {
            at: 1,
            lasted: Duration::ZERO,
            client: "192.0.2.1:99".parse().unwrap(),
            listener: "mx".into(),
            exempt: None,
            record: SessionRecord {
                messages_accepted,
                ..SessionRecord::default()
            },
        }
    }

    fn hold(session: u64) -> HoldRecord {
        HoldRecord {
            session: SessionId(session),
            source: Source::V4(1, 32),
            reason: HoldReason::Offence(Offence::UnknownRecipient),
            mode: Mode::Enforce,
            code: None,
            owed: Duration::ZERO,
            way: Way::Silent,
            held: Duration::from_secs(1),
            end: HoldEnd::Paid,
        }
    }

    #[test]
    fn a_session_is_found_by_what_is_shown_of_it() {
        let history = History::default();
        let id = SessionId(0xabc_0123_4567_89ab);
        history.hold(&HoldRecord {
            session: id,
            ..hold(0)
        });
        let shown: SessionId = format!("tp-{id}").parse().unwrap();
        let found = history.session(shown).unwrap();
        assert!(found.ended.is_none() && found.holds.len() == 1);
        history.ended(id, Source::V4(2, 32), ended(0));
        let found = history.session(shown).unwrap();
        assert_eq!(found.source, Source::V4(2, 32));
        assert_eq!(history.of_source(Source::V4(2, 32), 9), [found]);
        assert_eq!(history.of_source(Source::V4(1, 32), 9), []);
    }

    #[test]
    fn wanted_ones_outlive_a_flood_and_nothing_grows_without_end() {
        let history = History::default();
        for number in 0..3000 {
            history.ended(SessionId(number), Source::V4(7, 32), ended(1));
        }
        for number in 10_000..40_000 {
            for _ in 0..2 {
                history.hold(&hold(number));
            }
            history.ended(SessionId(number), Source::V4(1, 32), ended(0));
        }
        assert_eq!(history.session(SessionId(0)), None);
        assert!(history.session(SessionId(2_999)).is_some());
        assert!(history.session(SessionId(39_999)).is_some());
        assert_eq!(history.session(SessionId(10_000)), None);
        let inner = history.lock();
        assert_eq!(inner.wanted.len(), WANTED_MAX);
        assert_eq!(inner.others.len(), OTHERS_MAX);
        assert_eq!(inner.sessions.len(), WANTED_MAX + OTHERS_MAX);
        drop(inner);
        for _ in 0..100 {
            history.hold(&hold(39_999));
        }
        let found = history.session(SessionId(39_999)).unwrap();
        assert_eq!(found.holds.len(), HOLDS_MAX);
    }
}
