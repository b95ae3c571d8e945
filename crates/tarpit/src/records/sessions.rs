//! Recorded sessions, ready to be run again: from lines to what `core` replays.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

use tarpit_core::policy::{Mode, Offence, Way};
use tarpit_core::record::{ActRecord, Deed, HoldEnd, HoldReason, HoldRecord, Judged};
use tarpit_core::replay::gather::{Gathered, Gatherer};
use tarpit_core::replay::{Effects, Nature, Rules, Settings, Trace};
use tarpit_core::{SessionId, Source, Tick};
use tarpit_gateway::config::{Config, Exemption};
use tarpit_gateway::metrics::Closed;

use super::line::{About, Line, span};
use super::read;

/// Lines that are kept in memory at most: about 20 octets each, and 300 for a session.
const ACTS_MAX: u64 = 100_000_000;

/// What is known of a session beside what it did.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    client: Option<IpAddr>,
    /// Its place in the list of names.
    listener: usize,
    /// Some of its acts were only counted.
    cut: bool,
    acts: u32,
}

/// A hold that was real: how long, whether the client hung up, and whose it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) millis: u64,
    pub(crate) hung_up: bool,
    pub(crate) source: Source,
}

/// All recorded sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) traces: Vec<Trace>,
    pub(crate) natures: HashMap<Source, Nature>,
    /// What came of them.
    pub(crate) recorded: Effects,
    /// Holds that were real.
    pub(crate) waits: Vec<Wait>,
    /// Holds that would have been.
    pub(crate) observed: u64,
    /// Sessions some of whose acts were only counted.
    pub(crate) cut: u64,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
    /// Milliseconds since 1970 of the first tick.
    epoch: i64,
    known: Vec<Known>,
    listeners: Vec<Box<str>>,
}

/// Reads them.
///
/// # Errors
///
/// A file can't be read, or there is nothing in it to run.
pub(crate) fn read(given: &[PathBuf]) -> anyhow::Result<Sessions> {
    let files = read::files(given)?;
    let mut reader = Reader::default();
    let passed = read::each(&files, |about, line| reader.take(about, line))?;
    anyhow::ensure!(
        reader.acts > 0,
        "there are no acts in these records, so there is nothing to run; a JSON log has none, a record file does \
         (docs/records.md)"
    );
    anyhow::ensure!(
        reader.acts <= ACTS_MAX,
        "more than {ACTS_MAX} acts: take fewer files"
    );
    Ok(reader.close(passed.unreadable))
}

#[derive(Default)]
struct Reader {
    gatherer: Gatherer<Known>,
    waits: Vec<Wait>,
    observed: u64,
    /// They were known senders when they waited, whether or not mail of theirs is in these records.
    known_senders: HashSet<Source>,
    acts: u64,
    unreadable: u64,
    epoch: Option<i64>,
    listeners: Vec<Box<str>>,
}

/// Ticks begin so long before the first line: what it is about began earlier.
const BEFORE: i64 = 86_400_000;

impl Reader {
    fn take(&mut self, about: About, line: &Line<'_>) {
        if self.try_take(about, line).is_none() {
            self.unreadable += 1;
        }
    }

    fn try_take(&mut self, about: About, line: &Line<'_>) -> Option<()> {
        let source = line.source()?;
        let id = line.session.parse::<SessionId>().ok()?;
        let at = self.tick(line.at()?);
        match about {
            About::Act => self.act(at, id, source, line),
            About::Hold => self.hold(at, id, source, line),
            About::Session => self.session(at, id, source, line),
        }
    }

    fn tick(&mut self, at: i64) -> Tick {
        let epoch = *self.epoch.get_or_insert_with(|| at.saturating_sub(BEFORE));
        Tick::from_millis(u64::try_from(at.saturating_sub(epoch)).unwrap_or(0))
    }

    fn act(&mut self, at: Tick, id: SessionId, source: Source, line: &Line<'_>) -> Option<()> {
        let offence = line.offence.map(offence);
        let judged = Judged::from_words(line.judged, offence.flatten())?;
        let act = ActRecord {
            session: id,
            source,
            deed: Deed::ALL
                .into_iter()
                .find(|deed| deed.as_str() == line.deed)?,
            judged,
            took: span(line.took_seconds),
            price: span(line.price_seconds),
            transaction: line.transaction,
            role: line.role,
        };
        self.acts += 1;
        let listener = self.listener(line.listener);
        let known = self.gatherer.act(at, &act, mode(line.mode)?);
        known.client = known.client.or_else(|| line.client.parse().ok());
        known.listener = listener;
        known.acts += 1;
        Some(())
    }

    fn hold(&mut self, at: Tick, id: SessionId, source: Source, line: &Line<'_>) -> Option<()> {
        let end = match line.end {
            "observed" => HoldEnd::Observed,
            word => *HoldEnd::ALL.iter().find(|end| end.word() == word)?,
        };
        let hold = HoldRecord {
            session: id,
            source,
            reason: *HoldReason::ALL
                .iter()
                .find(|one| one.word() == line.reason)?,
            mode: mode(line.mode)?,
            code: None,
            owed: span(0.0),
            way: Way::Silent,
            held: line.held(),
            end,
        };
        if end == HoldEnd::Observed {
            self.observed += 1;
        } else {
            self.waits.push(Wait {
                millis: u64::try_from(hold.held.as_millis()).unwrap_or(u64::MAX),
                hung_up: end == HoldEnd::HangUp,
                source,
            });
        }
        if line.known {
            self.known_senders.insert(source);
        }
        self.gatherer.hold(at, &hold);
        Some(())
    }

    fn session(&mut self, at: Tick, id: SessionId, source: Source, line: &Line<'_>) -> Option<()> {
        let listener = self.listener(line.listener);
        let known = self.gatherer.session(at, id, source, span(line.seconds));
        let client = line.client.parse::<std::net::SocketAddr>();
        known.client = client
            .map(|client| client.ip().to_canonical())
            .ok()
            .or(known.client);
        known.listener = listener;
        // Each of these is an act, but for recipients over a limit.
        let counts = [
            line.accepted,
            line.refused,
            line.unseen,
            line.messages_accepted,
        ];
        let acts = counts.into_iter().fold(0, u64::saturating_add);
        known.cut = acts > u64::from(known.acts);
        Some(())
    }

    /// Configurations have few listeners. Of a file that says otherwise, the others are unknown.
    fn listener(&mut self, name: &str) -> usize {
        const LISTENERS_MAX: usize = 256;
        let place = self.listeners.iter().position(|one| **one == *name);
        place.unwrap_or_else(|| {
            if self.listeners.len() < LISTENERS_MAX {
                self.listeners.push(name.into());
            }
            self.listeners.len() - 1
        })
    }

    fn close(self, unreadable: u64) -> Sessions {
        let (gathered, recorded) = self.gatherer.close();
        let (mut traces, mut known) = (Vec::new(), Vec::new());
        for Gathered { trace, about } in gathered {
            traces.push(trace);
            known.push(about);
        }
        let mut natures = Nature::all(&traces);
        for source in self.known_senders {
            natures.entry(source).or_default().wanted = true;
        }
        Sessions {
            natures,
            traces,
            recorded,
            waits: self.waits,
            observed: self.observed,
            cut: known.iter().filter(|known| known.cut).count() as u64,
            unreadable: unreadable + self.unreadable,
            epoch: self.epoch.unwrap_or(0),
            known,
            listeners: self.listeners,
        }
    }
}

impl Sessions {
    /// The settings of a configuration, and which of its listeners and exemptions each session has
    /// under it. The names of listeners that it lacks: their sessions run under its first one.
    pub(crate) fn set(&mut self, config: &Config) -> (Settings, Vec<&str>) {
        let place = |name: &str| config.listeners.iter().position(|one| *one.name == *name);
        let places: Vec<Option<usize>> = self.listeners.iter().map(|name| place(name)).collect();
        for (trace, known) in self.traces.iter_mut().zip(&self.known) {
            trace.listener = places.get(known.listener).copied().flatten().unwrap_or(0);
            let opened = i64::try_from(trace.opened.as_millis()).unwrap_or(i64::MAX);
            let opened = self.epoch.saturating_add(opened) / 1000;
            let opened = u64::try_from(opened).unwrap_or(0);
            let covers = |one: &Exemption| {
                known
                    .client
                    .is_some_and(|client| one.covers(client, opened))
            };
            trace.exempt = config.exempt.iter().any(covers);
        }
        let missing = self.listeners.iter().zip(&places);
        let missing = missing.filter(|(_, place)| place.is_none());
        let rules = |listener: &tarpit_gateway::config::Listener| Rules {
            policy: listener.policy.clone(),
            kind: listener.kind,
        };
        let settings = Settings {
            listeners: config.listeners.iter().map(rules).collect(),
            door_debt: config.limits.door_debt,
            ledger: config.limits.ledger(),
        };
        (settings, missing.map(|(name, _)| &**name).collect())
    }
}

fn mode(word: &str) -> Option<Mode> {
    Mode::ALL.iter().find(|mode| mode.word() == word).copied()
}

fn offence(word: &str) -> Option<Offence> {
    HoldReason::ALL.iter().find_map(|reason| match reason {
        HoldReason::Offence(offence) if offence.as_str() == word => Some(*offence),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 3] = [
        r#"{"v":1,"timestamp":"2026-11-29T10:00:05Z","session":"tp-00000001","source":"192.0.2.1","client":"192.0.2.1","listener":"mx","mode":"enforce","deed":"rcpt","judged":"refused","offence":"unknown_recipient","took_seconds":0.1,"price_seconds":5.0,"transaction":1,"target":"tarpit::act"}"#,
        r#"{"v":1,"timestamp":"2026-11-29T10:00:10Z","session":"tp-00000001","source":"192.0.2.1","reason":"unknown_recipient","held_seconds":5.0,"end":"paid","mode":"enforce","known":true,"target":"tarpit::hold"}"#,
        r#"{"v":1,"timestamp":"2026-11-29T10:00:11Z","session":"tp-00000001","source":"192.0.2.1","client":"192.0.2.1:4711","listener":"mx","mode":"enforce","refused":1,"seconds":6.0,"end":"quit","target":"tarpit::session"}"#,
    ];

    #[test]
    fn a_known_sender_is_wanted_though_its_mail_came_before_the_records() {
        for (word, wanted) in [("true", true), ("false", false)] {
            let mut reader = Reader::default();
            for line in LINES {
                let line = line.replace("\"known\":true", &format!("\"known\":{word}"));
                let (about, line) = Line::read(line.as_bytes()).unwrap().unwrap();
                reader.take(about, &line);
            }
            let sessions = reader.close(0);
            assert_eq!((sessions.traces.len(), sessions.unreadable), (1, 0));
            let nature = sessions.natures[&sessions.traces[0].source];
            assert!(nature.wanted == wanted && nature.guessed);
        }
    }

    #[test]
    fn counts_that_cannot_be_are_no_panic() {
        let most = u64::MAX;
        let line = format!(
            r#"{{"timestamp":"2026-11-29T10:00:06Z","session":"tp-00000001","source":"192.0.2.1","listener":"mx","accepted":{most},"refused":{most},"unseen":{most},"messages_accepted":{most},"target":"tarpit::session"}}"#
        );
        let mut reader = Reader::default();
        let (about, line) = Line::read(line.as_bytes()).unwrap().unwrap();
        reader.take(about, &line);
        for number in 0..1000 {
            reader.listener(&number.to_string());
        }
        assert!(reader.listeners.len() < 1000);
        let sessions = reader.close(0);
        assert_eq!((sessions.traces.len(), sessions.cut), (1, 1));
    }
}
