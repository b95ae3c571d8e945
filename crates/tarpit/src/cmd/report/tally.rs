//! Adds up records.
//!
//! Harm is what `gateway/src/harm.rs` counts as it happens: that a source waited, or would have,
//! although the upstream accepts its mail. Here all is known, so nobody has to be remembered: mail in
//! these records makes all that its source waited in them harm, before it or after. Of a source
//! without such mail the hold itself says that it was a known sender.
//!
//! Guesses and names learnt are those of the metrics too: of sessions that brought no mail. Who is a
//! harvester is judged by source, which no metric can do.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tarpit_core::Source;

use crate::records::line::{About, Line};
use crate::records::read::Passed;

/// An hour, the grain of the plots, in milliseconds.
const HOUR: i64 = 3_600_000;

/// What one source did, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dealings {
    pub(super) sessions: u64,
    /// RCPTs that got 2yz.
    pub(super) accepted: u64,
    /// RCPTs that were refused.
    pub(super) refused: u64,
    pub(super) auth_failed: u64,
    /// RCPTs and AUTHs that got 450 or 454 unseen.
    pub(super) unseen: u64,
    pub(super) messages: u64,
    /// It was a known sender when it waited: mail of it was accepted within the 30 days before.
    pub(super) known: bool,
    pub(super) holds: u64,
    /// Of these, ended by the client.
    pub(super) hung_up: u64,
    pub(super) held: Duration,
    /// Holds that would have been.
    pub(super) observed: u64,
    pub(super) would_hold: Duration,
    /// Milliseconds since 1970.
    pub(super) last: i64,
}

impl Dealings {
    /// What it waited, and would have.
    pub(super) fn waited(&self) -> Duration {
        self.held + self.would_hold
    }

    /// Whether the upstream accepted mail of it: in the records, or not long before.
    pub(super) const fn is_wanted(&self) -> bool {
        self.messages > 0 || self.known
    }

    /// Whether it was hurt: it is wanted, and waited or was turned away.
    pub(super) fn is_hurt(&self) -> bool {
        self.is_wanted() && (!self.waited().is_zero() || self.unseen > 0)
    }

    /// It guessed, and brought no mail that anybody wanted, in any session: what it heard "yes" to
    /// are names that it learnt.
    pub(super) const fn is_harvester(&self) -> bool {
        self.refused > 0 && !self.is_wanted()
    }
}

/// What happened in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Hour {
    pub(super) sessions: u64,
    /// Seconds that unwanted sources waited, or would have.
    pub(super) stolen: f64,
    /// Seconds that wanted sources waited, or would have.
    pub(super) harm: f64,
}

/// How many, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spell {
    pub(super) count: u64,
    pub(super) time: Duration,
}

impl Spell {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.time += time;
    }
}

/// Guesses that were answered, and what they were good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Harvest {
    /// RCPTs that were refused.
    pub(super) guesses: u64,
    /// RCPTs that were accepted beside them.
    pub(super) names_learnt: u64,
}

impl Harvest {
    const fn add(&mut self, guesses: u64, names_learnt: u64) {
        more(&mut self.guesses, guesses);
        more(&mut self.names_learnt, names_learnt);
    }
}

/// All that is told.
#[derive(Debug)]
pub(super) struct Report {
    /// Milliseconds since 1970: of the first record and the last.
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) all: Dealings,
    /// Sessions by the mode of their listener.
    pub(super) modes: BTreeMap<Box<str>, u64>,
    /// Holds by reason: those that were, and those that would have been.
    pub(super) reasons: BTreeMap<Box<str>, (Spell, Spell)>,
    /// How holds ended.
    pub(super) ends: BTreeMap<Box<str>, u64>,
    /// The sources that were hurt, the most hurt first.
    pub(super) harm: Vec<(Source, Dealings)>,
    /// The sources that waited the longest among those that brought no mail.
    pub(super) top: Vec<(Source, Dealings)>,
    pub(super) sources: u64,
    pub(super) wanted: u64,
    /// Sources that guessed and brought no mail.
    pub(super) harvesters: u64,
    /// Of those sources.
    pub(super) by_harvesters: Harvest,
    /// Of sessions that brought no mail, as the metrics count.
    pub(super) by_sessions: Harvest,
    /// Seconds that unwanted sources waited, or would have.
    pub(super) stolen: Duration,
    /// Without gaps.
    pub(super) hours: BTreeMap<i64, Hour>,
    pub(super) passed: Passed,
}

/// So many sources are listed at most.
pub(super) const LISTED: usize = 20;

/// Hours that a plot has at most: ten years.
const HOURS_MAX: i64 = 87_660;

impl Report {
    /// Whether some of the figures say what would have been.
    pub(super) fn is_estimate(&self) -> bool {
        self.modes.contains_key("observe") || self.all.observed > 0
    }

    /// Whether anything was really held or turned away.
    pub(super) fn is_enforced(&self) -> bool {
        self.modes.contains_key("enforce")
    }

    pub(super) fn harm_time(&self) -> Duration {
        self.harm
            .iter()
            .map(|(_, dealings)| dealings.waited())
            .sum()
    }
}

/// Takes records.
#[derive(Debug)]
pub(super) struct Tally {
    since: Option<i64>,
    from: i64,
    to: i64,
    modes: BTreeMap<Box<str>, u64>,
    reasons: BTreeMap<Box<str>, (Spell, Spell)>,
    ends: BTreeMap<Box<str>, u64>,
    by_sessions: Harvest,
    sources: HashMap<Source, Dealings>,
    sessions_of: BTreeMap<i64, u64>,
    waits_of: HashMap<(i64, Source), Duration>,
    /// Lines without a time or a source.
    unreadable: u64,
}

impl Tally {
    /// Of the records since a moment, in milliseconds since 1970.
    pub(super) fn new(since: Option<i64>) -> Self {
        Self {
            since,
            from: i64::MAX,
            to: i64::MIN,
            modes: BTreeMap::new(),
            reasons: BTreeMap::new(),
            ends: BTreeMap::new(),
            by_sessions: Harvest::default(),
            sources: HashMap::new(),
            sessions_of: BTreeMap::new(),
            waits_of: HashMap::new(),
            unreadable: 0,
        }
    }

    /// One more.
    pub(super) fn take(&mut self, about: About, line: &Line<'_>) {
        let (Some(at), Some(source)) = (line.at(), line.source()) else {
            self.unreadable += 1;
            return;
        };
        if self.since.is_some_and(|since| at < since) {
            return;
        }
        self.from = self.from.min(at);
        self.to = self.to.max(at);
        match about {
            About::Act => {}
            About::Hold => self.hold(at, source, line),
            About::Session => self.session(at, source, line),
        }
    }

    fn hold(&mut self, at: i64, source: Source, line: &Line<'_>) {
        let held = line.held();
        let (were, would) = entry(&mut self.reasons, line.reason);
        let dealings = self.sources.entry(source).or_default();
        if line.is_observed() {
            would.add(held);
            dealings.observed += 1;
            dealings.would_hold += held;
        } else {
            were.add(held);
            dealings.holds += 1;
            dealings.held += held;
            dealings.hung_up += u64::from(line.end == "hang_up");
            *entry(&mut self.ends, line.end) += 1;
        }
        dealings.known |= line.known;
        dealings.last = dealings.last.max(at);
        *self.waits_of.entry((at / HOUR, source)).or_default() += held;
    }

    fn session(&mut self, at: i64, source: Source, line: &Line<'_>) {
        *entry(&mut self.modes, line.mode) += 1;
        if line.refused > 0 && line.messages_accepted == 0 {
            self.by_sessions.add(line.refused, line.accepted);
        }
        let dealings = self.sources.entry(source).or_default();
        dealings.sessions += 1;
        more(&mut dealings.accepted, line.accepted);
        more(&mut dealings.refused, line.refused);
        more(&mut dealings.auth_failed, line.auth_failed);
        more(&mut dealings.unseen, line.unseen);
        more(&mut dealings.messages, line.messages_accepted);
        dealings.last = dealings.last.max(at);
        *self.sessions_of.entry(at / HOUR).or_default() += 1;
    }

    /// Judges: who was hurt can only be told when all is known of each source.
    pub(super) fn close(self, passed: Passed) -> Report {
        let passed = Passed {
            unreadable: passed.unreadable + self.unreadable,
        };
        let hours = self.hours();
        let mut all = Dealings::default();
        let (mut wanted, mut harvesters, mut stolen) = (0, 0, Duration::ZERO);
        let mut by_harvesters = Harvest::default();
        for dealings in self.sources.values() {
            add(&mut all, dealings);
            if dealings.is_wanted() {
                wanted += 1;
            } else {
                stolen += dealings.waited();
            }
            if dealings.is_harvester() {
                harvesters += 1;
                by_harvesters.add(dealings.refused, dealings.accepted);
            }
        }
        let count = self.sources.len() as u64;
        let sorted = |is_listed: &dyn Fn(&Dealings) -> bool| {
            let listed = self.sources.iter().filter(|(_, one)| is_listed(one));
            let mut list: Vec<(Source, Dealings)> =
                listed.map(|(source, one)| (*source, one.clone())).collect();
            let rank = |(source, one): &(Source, Dealings)| {
                let weight = (one.waited(), one.unseen, one.refused);
                (std::cmp::Reverse(weight), *source)
            };
            list.sort_by_key(rank);
            list
        };
        let harm = sorted(&Dealings::is_hurt);
        let mut top =
            sorted(&|one| !one.is_wanted() && (one.refused > 0 || !one.waited().is_zero()));
        top.truncate(LISTED);
        Report {
            from: self.from,
            to: self.to,
            all,
            modes: self.modes,
            reasons: self.reasons,
            ends: self.ends,
            harm,
            top,
            sources: count,
            wanted,
            harvesters,
            by_harvesters,
            by_sessions: self.by_sessions,
            stolen,
            hours,
            passed,
        }
    }

    fn hours(&self) -> BTreeMap<i64, Hour> {
        if self.from > self.to || (self.to - self.from) / HOUR > HOURS_MAX {
            return BTreeMap::new();
        }
        let range = self.from / HOUR..=self.to / HOUR;
        let mut hours: BTreeMap<i64, Hour> = range.map(|hour| (hour, Hour::default())).collect();
        for (hour, sessions) in &self.sessions_of {
            hours.entry(*hour).or_default().sessions += sessions;
        }
        for ((hour, source), waited) in &self.waits_of {
            let hour = hours.entry(*hour).or_default();
            let wanted = self.sources.get(source).is_some_and(Dealings::is_wanted);
            let seconds = waited.as_secs_f64();
            if wanted {
                hour.harm += seconds;
            } else {
                hour.stolen += seconds;
            }
        }
        hours
    }
}

fn add(all: &mut Dealings, one: &Dealings) {
    more(&mut all.sessions, one.sessions);
    more(&mut all.accepted, one.accepted);
    more(&mut all.refused, one.refused);
    more(&mut all.auth_failed, one.auth_failed);
    more(&mut all.unseen, one.unseen);
    more(&mut all.messages, one.messages);
    more(&mut all.holds, one.holds);
    more(&mut all.hung_up, one.hung_up);
    all.held += one.held;
    more(&mut all.observed, one.observed);
    all.would_hold += one.would_hold;
    all.last = all.last.max(one.last);
}

/// A file may say anything, and a sum must not end the report.
const fn more(sum: &mut u64, by: u64) {
    *sum = sum.saturating_add(by);
}

/// The value for a word, with no memory asked for where there is one already. A file may say
/// anything, so the words that count are few.
fn entry<'m, T: Default>(map: &'m mut BTreeMap<Box<str>, T>, word: &str) -> &'m mut T {
    /// Reasons, ends and modes are fewer.
    const WORDS_MAX: usize = 64;
    // Ours are of small letters; a terminal may do what others say.
    let is_word = word
        .bytes()
        .all(|octet| octet.is_ascii_lowercase() || octet == b'_');
    let word = if is_word && (map.contains_key(word) || map.len() < WORDS_MAX) {
        word
    } else {
        "other"
    };
    if !map.contains_key(word) {
        map.insert(word.into(), T::default());
    }
    map.get_mut(word)
        .unwrap_or_else(|| unreachable!("it was inserted"))
}
