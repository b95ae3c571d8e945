//! What came of sessions, source by source, and in all.

use std::collections::HashMap;
use std::time::Duration;

use super::Trace;
use crate::record::{Deed, Judged};
use crate::{Source, Tick};

/// What came of the sessions of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// RCPTs that got 2yz: names that it knows now.
    pub accepted: u64,
    /// Guesses and other RCPTs that were refused, and failed AUTHs: answers all the same.
    pub refused: u64,
    /// RCPTs and AUTHs that got no answer that tells anything.
    pub unseen: u64,
    /// Messages that were accepted.
    pub messages: u64,
    /// Holds.
    pub holds: u64,
    /// Holds that ended with the client's leaving.
    pub hung_up: u64,
    /// Time in holds.
    pub held: Duration,
    /// Sessions that were turned away at the door.
    pub turned_away: u64,
}

/// What a source is, as the records tell: no setting changes that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nature {
    /// The upstream accepted mail of it: in the records, or before.
    pub wanted: bool,
    /// It guessed a name wrong.
    pub guessed: bool,
    /// It guessed a password wrong.
    pub guessed_password: bool,
}

impl Nature {
    /// Of each source.
    #[must_use]
    pub fn all(traces: &[Trace]) -> HashMap<Source, Self> {
        let mut natures: HashMap<Source, Self> = HashMap::new();
        for trace in traces {
            let nature = natures.entry(trace.source).or_default();
            for step in &trace.steps {
                let missed = step.judged.offence().is_some();
                let auth = matches!(step.deed, Deed::Auth | Deed::AuthMistake);
                nature.wanted |= step.deed == Deed::Message && step.judged == Judged::Accepted;
                nature.guessed |= missed && !auth && step.deed != Deed::Message;
                nature.guessed_password |= missed && auth;
            }
        }
        for nature in natures.values_mut() {
            // Who was never answered, and never brought mail, is no partner.
            nature.guessed |= !nature.wanted && !nature.guessed_password;
        }
        natures
    }
}

/// What came of all sessions, source by source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Sessions, those that were turned away included.
    pub sessions: u64,
    /// The last moment at which anything happened.
    pub end: Tick,
    /// By source.
    pub sources: HashMap<Source, Effect>,
}

/// The same in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sessions.
    pub sessions: u64,
    /// Names that sources heard "yes" to which brought no mail and guessed.
    pub names_learnt: u64,
    /// Their wrong guesses that were answered.
    pub guesses_answered: u64,
    /// RCPTs and AUTHs of theirs that got no answer that tells anything.
    pub guesses_unseen: u64,
    /// Time that sources without accepted mail were held.
    pub stolen: Duration,
    /// Time that sources with accepted mail were held.
    pub harm: Duration,
    /// Sources with accepted mail that were held.
    pub harmed: u64,
    /// Sources with accepted mail that got 450, 454 or 421 for their debt.
    pub wanted_deferred: u64,
    /// The other sources that did.
    pub others_deferred: u64,
    /// Messages accepted.
    pub messages: u64,
    /// Holds.
    pub holds: u64,
    /// Holds that ended with the client's leaving.
    pub hung_up: u64,
    /// Sessions turned away at the door.
    pub turned_away: u64,
}

impl Effects {
    /// Adds up.
    #[must_use]
    pub fn outcome(&self, natures: &HashMap<Source, Nature>) -> Outcome {
        let mut all = Outcome {
            sessions: self.sessions,
            ..Outcome::default()
        };
        for (source, effect) in &self.sources {
            let nature = natures.get(source).copied().unwrap_or_default();
            let deferred = u64::from(effect.unseen > 0 || effect.turned_away > 0);
            if nature.wanted {
                all.harm = all.harm.saturating_add(effect.held);
                all.harmed = all.harmed.saturating_add(u64::from(!effect.held.is_zero()));
                all.wanted_deferred = all.wanted_deferred.saturating_add(deferred);
            } else {
                all.stolen = all.stolen.saturating_add(effect.held);
                all.others_deferred = all.others_deferred.saturating_add(deferred);
                all.guesses_answered = all.guesses_answered.saturating_add(effect.refused);
                all.guesses_unseen = all.guesses_unseen.saturating_add(effect.unseen);
                if nature.guessed {
                    all.names_learnt = all.names_learnt.saturating_add(effect.accepted);
                }
            }
            all.messages = all.messages.saturating_add(effect.messages);
            all.holds = all.holds.saturating_add(effect.holds);
            all.hung_up = all.hung_up.saturating_add(effect.hung_up);
            all.turned_away = all.turned_away.saturating_add(effect.turned_away);
        }
        all
    }
}
