//! Who is held, by what for and for how long: for a look from outside.
//!
//! What it promises: it costs the pit a bounded time, however many are held or were. A lane looks at
//! [`LOOKED_AT_MAX`] sessions at most, spread over all its places, and into [`PLACES_MAX`] of those: they
//! remain when a flood is over. Counters
//! by reason that go up and down with each hold were rejected: sessions leave by keepers, successors
//! and panics, and a count that drifts is worse than a sample.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tarpit_core::Tick;
use tarpit_core::record::HoldReason;

use super::Pit;
use super::lane::Errand;
use super::slab::Slab;
use crate::conn::frozen;
use crate::metrics::Closed;

/// Sessions that a lane looks at: some microseconds each.
const LOOKED_AT_MAX: u32 = 2048;

/// Places that a lane looks into; most may be empty.
const PLACES_MAX: u32 = 32_768;

/// How long the lanes are waited for. One that is busy is left out.
const PATIENCE: Duration = Duration::from_millis(300);

/// Upper ends of the ages that are told apart, in seconds. No hold is longer than 240 s.
pub const AGES: [u32; 5] = [5, 15, 60, 120, 240];

/// Who is held in this process, of those that were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// By what for, in the order of [`Closed::ALL`].
    pub reasons: Vec<(HoldReason, u64)>,
    /// By how long, each up to its end in [`AGES`].
    pub ages: [u64; AGES.len()],
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            reasons: HoldReason::ALL.iter().map(|reason| (*reason, 0)).collect(),
            ages: [0; AGES.len()],
        }
    }
}

impl Survey {
    /// Sessions that were looked at, and are held.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.ages.iter().sum()
    }

    /// Looks at those of a lane.
    pub(super) fn of(slab: &Slab, now: Tick) -> Self {
        let mut survey = Self::default();
        let taken = u32::try_from(slab.len()).unwrap_or(u32::MAX);
        for place in (0..slab.places()).step_by(step(taken, slab.places())) {
            let Some((_, parcel)) = slab.at(place) else {
                continue;
            };
            if parcel.state.listens || parcel.is_over() {
                continue;
            }
            if let Some((reason, since)) = frozen::held_for(&parcel.record) {
                survey.add(reason, now.since(since));
            }
        }
        survey
    }

    fn add(&mut self, reason: HoldReason, age: Duration) {
        let mut reasons = self.reasons.iter_mut();
        if let Some((_, count)) = reasons.find(|(one, _)| *one == reason) {
            *count += 1;
        }
        let age = AGES.partition_point(|end| u64::from(*end) < age.as_secs());
        self.ages[age.min(AGES.len() - 1)] += 1;
    }

    fn join(&mut self, other: &Self) {
        for ((_, count), (_, more)) in self.reasons.iter_mut().zip(&other.reasons) {
            *count += more;
        }
        for (count, more) in self.ages.iter_mut().zip(other.ages) {
            *count += more;
        }
    }
}

/// From one place that is looked into to the next.
fn step(taken: u32, places: u32) -> usize {
    let of_taken = taken.div_ceil(LOOKED_AT_MAX);
    let of_places = places.div_ceil(PLACES_MAX);
    of_taken.max(of_places).max(1) as usize
}

impl Pit {
    /// Asks the lanes, and waits a moment for them: not on a thread that serves mail.
    pub(crate) fn survey(&self) -> Survey {
        let (answer, answers) = std::sync::mpsc::channel();
        for lane in self.lanes.get().into_iter().flatten() {
            lane.leave(Errand::Survey(answer.clone()));
        }
        drop(answer);
        gather(&answers)
    }
}

fn gather(answers: &Receiver<Survey>) -> Survey {
    let until = Instant::now() + PATIENCE;
    let mut survey = Survey::default();
    while let Ok(one) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        survey.join(&one);
    }
    survey
}

#[cfg(test)]
mod tests {
    use tarpit_core::policy::Offence;

    use super::*;

    #[test]
    fn what_is_looked_into_is_bounded() {
        for (taken, places, expected) in [
            (0, 0, 1),
            (5, 4096, 1),
            (2048, 4096, 1),
            (2049, 4096, 2),
            (1_000_000, 1_003_520, 489),
            // A flood is over.
            (10, 1_003_520, 31),
        ] {
            assert_eq!(step(taken, places), expected, "{taken} of {places}");
        }
    }

    #[test]
    fn each_is_counted_once_by_reason_and_by_age() {
        let mut survey = Survey::default();
        let guess = HoldReason::Offence(Offence::UnknownRecipient);
        for seconds in [0, 5, 6, 15, 16, 239, 1000] {
            survey.add(guess, Duration::from_secs(seconds));
        }
        survey.add(HoldReason::Room, Duration::from_secs(100));
        assert_eq!(survey.ages, [2, 2, 1, 1, 2]);
        let twice = {
            let mut twice = survey.clone();
            twice.join(&survey);
            twice
        };
        assert_eq!(twice.looked_at(), 16);
        let of = |reason| twice.reasons.iter().find(|one| one.0 == reason).unwrap().1;
        assert_eq!(
            (of(guess), of(HoldReason::Room), of(HoldReason::Debt)),
            (14, 2, 0)
        );
    }
}
