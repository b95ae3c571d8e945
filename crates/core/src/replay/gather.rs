//! From what was recorded to sessions that can be run again.
//!
//! Records come in the order in which they were written, those of many sessions mixed. Times in
//! them are those at which they were written: of an act when it was judged, of a hold when it was
//! over, of a session when it ended. When a command came follows from how long all took.

use std::collections::HashMap;
use std::time::Duration;

use super::{Effect, Effects, Step, Trace};
use crate::policy::Mode;
use crate::record::{ActRecord, Deed, HoldEnd, HoldReason, HoldRecord, Judged};
use crate::{SessionId, Source, Tick};

/// One session of the records.
#[derive(Clone, Debug)]
pub struct Gathered<T> {
    /// As it was. The listener and the exemption are for the caller to fill in.
    pub trace: Trace,
    /// What the caller knows of it.
    pub about: T,
}

/// Takes records, and knows what came of them.
#[derive(Debug)]
pub struct Gatherer<T> {
    open: HashMap<SessionId, usize>,
    sessions: Vec<Growing<T>>,
    effects: Effects,
}

#[derive(Debug)]
struct Growing<T> {
    gathered: Gathered<T>,
    /// When the reply before was said.
    replied: Tick,
    /// When the first command came.
    first: Option<Tick>,
    /// Waits before the look-up that comes next.
    waited: Duration,
    /// What `observe` found in the command that is looked up next.
    would: Option<Deed>,
    /// From the last act's command to its judgement.
    took: Duration,
    closed: bool,
}

impl<T: Default> Default for Gatherer<T> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            sessions: Vec::new(),
            effects: Effects::default(),
        }
    }
}

impl<T: Default> Gatherer<T> {
    /// An act, judged at `at`, under `mode`.
    pub fn act(&mut self, at: Tick, act: &ActRecord, mode: Mode) -> &mut T {
        self.count(act);
        self.effects.end = self.effects.end.max(at);
        let one = self.one(act.session, act.source, at);
        if let Judged::WouldRefuse(_) = act.judged {
            one.would = Some(act.deed);
            return &mut one.gathered.about;
        }
        // In `observe` the session's own time ran ahead by its waits, the clock did not.
        let passed = match mode {
            Mode::Enforce => act.took,
            Mode::Off | Mode::Observe => act.took.saturating_sub(one.waited),
        };
        let began = back(at, passed);
        one.first.get_or_insert(began);
        let step = Step {
            gap: short(began.since(one.replied)),
            took: short(act.took.saturating_sub(one.waited)),
            patience: match act.judged {
                Judged::Left => short(act.took),
                _ => u32::MAX,
            },
            transaction: act.transaction,
            deed: one.would.take().unwrap_or(act.deed),
            judged: act.judged,
            role: act.role,
        };
        one.gathered.trace.steps.push(step);
        one.replied = at;
        one.waited = Duration::ZERO;
        one.took = act.took;
        &mut one.gathered.about
    }

    /// A hold that was over at `at`, or that would have begun then.
    pub fn hold(&mut self, at: Tick, hold: &HoldRecord) -> &mut T {
        let effect = self.effects.sources.entry(hold.source).or_default();
        effect.holds = effect.holds.saturating_add(1);
        effect.held = effect.held.saturating_add(hold.held);
        let hung_up = hold.end == HoldEnd::HangUp;
        effect.hung_up = effect.hung_up.saturating_add(u64::from(hung_up));
        self.effects.end = self.effects.end.max(at);
        let one = self.one(hold.session, hold.source, at);
        let is_before = matches!(hold.reason, HoldReason::Debt | HoldReason::Room);
        if is_before || one.would.is_some() {
            one.waited = one.waited.saturating_add(hold.held);
            return &mut one.gathered.about;
        }
        if hold.end != HoldEnd::Observed {
            one.replied = at;
        }
        if hung_up && let Some(last) = one.gathered.trace.steps.last_mut() {
            last.patience = short(one.took.saturating_add(hold.held));
        }
        &mut one.gathered.about
    }

    /// A session that ended at `at`, and how long it was.
    pub fn session(&mut self, at: Tick, id: SessionId, source: Source, long: Duration) -> &mut T {
        self.effects.end = self.effects.end.max(at);
        let one = self.one(id, source, at);
        let trace = &mut one.gathered.trace;
        trace.opened = back(at, long);
        trace.rest = at.since(one.replied.max(trace.opened));
        // Who was introduced on the way is charged from then on.
        trace.source = source;
        one.closed = true;
        let place = self.open.remove(&id);
        let one = place.and_then(|place| self.sessions.get_mut(place));
        #[expect(clippy::expect_used, reason = "it was found or made above")]
        let one = one.expect("a session that was found");
        &mut one.gathered.about
    }

    fn one(&mut self, id: SessionId, source: Source, at: Tick) -> &mut Growing<T> {
        let sessions = &mut self.sessions;
        let place = *self.open.entry(id).or_insert_with(|| {
            sessions.push(Growing::new(source, at));
            sessions.len().saturating_sub(1)
        });
        #[expect(clippy::indexing_slicing, reason = "places are never taken away")]
        let one = &mut sessions[place];
        one.gathered.trace.source = source;
        one
    }

    fn count(&mut self, act: &ActRecord) {
        let effect = self.effects.sources.entry(act.source).or_default();
        effect.note(act.deed, act.judged);
    }

    /// All sessions, by the time at which they were accepted, and what came of them.
    #[must_use]
    pub fn close(mut self) -> (Vec<Gathered<T>>, Effects) {
        self.effects.sessions = self.sessions.len() as u64;
        for one in &mut self.sessions {
            let trace = &mut one.gathered.trace;
            let first = one.first.unwrap_or(trace.opened);
            if !one.closed {
                // It goes on, or its end was lost.
                trace.opened = first;
            }
            if let Some(step) = trace.steps.first_mut() {
                step.gap = short(first.since(trace.opened));
            }
        }
        let mut all: Vec<Gathered<T>> = self.sessions.into_iter().map(|one| one.gathered).collect();
        all.sort_by_key(|one| one.trace.opened);
        (all, self.effects)
    }
}

impl<T: Default> Growing<T> {
    fn new(source: Source, at: Tick) -> Self {
        Self {
            gathered: Gathered {
                trace: Trace {
                    source,
                    exempt: false,
                    listener: 0,
                    opened: at,
                    steps: Vec::new(),
                    rest: Duration::ZERO,
                },
                about: T::default(),
            },
            replied: Tick::ZERO,
            first: None,
            waited: Duration::ZERO,
            would: None,
            took: Duration::ZERO,
            closed: false,
        }
    }
}

impl Effect {
    /// Counts an act.
    pub(super) fn note(&mut self, deed: Deed, judged: Judged) {
        let count = match (deed, judged) {
            (_, Judged::Unseen) => &mut self.unseen,
            (Deed::Message, Judged::Accepted) => &mut self.messages,
            (Deed::Rcpt, Judged::Accepted) => &mut self.accepted,
            (
                Deed::Rcpt
                | Deed::Foreign
                | Deed::Unlisted
                | Deed::Sender
                | Deed::Service
                | Deed::Auth,
                Judged::Offence(_) | Judged::Repeated,
            ) => &mut self.refused,
            _ => return,
        };
        *count = count.saturating_add(1);
    }
}

fn back(from: Tick, by: Duration) -> Tick {
    let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    Tick::from_millis(from.as_millis().saturating_sub(by))
}

/// Milliseconds; a session is far shorter than the seven weeks that fit.
fn short(span: Duration) -> u32 {
    // `u32::MAX` is "never".
    let millis = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    millis.min(u32::MAX.saturating_sub(1))
}
