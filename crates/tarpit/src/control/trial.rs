//! A trial of `enforce`, which undoes itself: when its time is up, when sources whose mail was accepted
//! have waited for too long in all, or when one of them hung up in a hold.
//!
//! It decides by what it is told; it has no clock and changes nothing. What those sources waited is
//! the harm that the gateway counts, less what there was when the trial began.

use std::time::Duration;

use tarpit_admin::api;
use tarpit_core::policy::Mode;
use tarpit_gateway::HarmFigures;

/// A trial that runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    began: u64,
    length: Duration,
    trip: Duration,
    waited_before: Duration,
    hang_ups_before: u64,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its time is up.
    TimeUp,
    /// They waited for too long.
    Waited,
    /// One of them hung up.
    HungUp,
    /// Somebody said that it is to stay.
    Confirmed,
    /// Another command or a reload came, or the process ends.
    BrokenOff,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::TimeUp => "time_up",
            Self::Waited => "waited",
            Self::HungUp => "hung_up",
            Self::Confirmed => "confirmed",
            Self::BrokenOff => "broken_off",
        }
    }
}

impl Trial {
    /// One that begins at `now` (seconds since 1970) with this harm already done.
    pub(super) fn new(now: u64, length: Duration, trip: Duration, harm: &HarmFigures) -> Self {
        Self {
            began: now,
            length,
            trip,
            waited_before: harm.waited,
            hang_ups_before: harm.hang_ups,
        }
    }

    /// Whether it is to end, `ran` after it began.
    pub(super) fn judge(&self, ran: Duration, harm: &HarmFigures) -> Option<Outcome> {
        if harm.hang_ups > self.hang_ups_before {
            Some(Outcome::HungUp)
        } else if self.waited(harm) >= self.trip && !self.waited(harm).is_zero() {
            Some(Outcome::Waited)
        } else if ran >= self.length {
            Some(Outcome::TimeUp)
        } else {
            None
        }
    }

    fn waited(&self, harm: &HarmFigures) -> Duration {
        harm.waited.saturating_sub(self.waited_before)
    }

    /// For whoever looks meanwhile.
    pub(super) fn shown(&self, harm: &HarmFigures) -> api::Trial {
        api::Trial {
            began: self.began,
            ends: self.began + self.length.as_secs(),
            trip_seconds: self.trip.as_secs_f64(),
            waited_seconds: self.waited(harm).as_secs_f64(),
        }
    }

    /// What came of it. `mode`: since then.
    pub(super) fn verdict(
        &self,
        now: u64,
        outcome: Outcome,
        mode: Mode,
        harm: &HarmFigures,
    ) -> api::Verdict {
        let hang_ups = harm.hang_ups.saturating_sub(self.hang_ups_before);
        let waited = self.waited(harm);
        let events = harm.events.iter().filter(|event| event.at >= self.began);
        let events: Vec<_> = events.map(api::HarmEvent::from).collect();
        let text = self.text(outcome, mode, waited, hang_ups, &events);
        api::Verdict {
            at: now,
            began: self.began,
            outcome: outcome.as_str().to_owned(),
            mode: mode.as_str().to_owned(),
            waited_seconds: waited.as_secs_f64(),
            hang_ups,
            events,
            text,
        }
    }

    fn text(
        &self,
        outcome: Outcome,
        mode: Mode,
        waited: Duration,
        hang_ups: u64,
        events: &[api::HarmEvent],
    ) -> String {
        let why = match outcome {
            Outcome::TimeUp => "its time is up".to_owned(),
            Outcome::Waited => format!(
                "sources whose mail was accepted waited {:.1} s in all, allowed were {} s",
                waited.as_secs_f64(),
                self.trip.as_secs()
            ),
            Outcome::HungUp => "a source whose mail was accepted hung up in a hold".to_owned(),
            Outcome::Confirmed => "confirmed".to_owned(),
            Outcome::BrokenOff => "broken off".to_owned(),
        };
        let harm = if waited.is_zero() && hang_ups == 0 {
            "Nobody whose mail was accepted has waited.".to_owned()
        } else {
            let mut sources: Vec<&str> = events.iter().map(|event| &*event.source).collect();
            sources.sort_unstable();
            sources.dedup();
            let hung_up = match hang_ups {
                0 => String::new(),
                1 => ", and hung up once".to_owned(),
                _ => format!(", and hung up {hang_ups} times"),
            };
            format!(
                "{} waited {:.1} s in all{hung_up}: ask `tarpit explain` why.",
                sources.join(", "),
                waited.as_secs_f64()
            )
        };
        format!(
            "the trial is over: {why}. The mode is {} now. {harm}",
            mode.as_str()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const TRIP: Duration = Duration::from_secs(30);

    fn harm(seconds: u64, hang_ups: u64) -> HarmFigures {
        HarmFigures {
            waited: Duration::from_secs(seconds),
            hang_ups,
            ..HarmFigures::default()
        }
    }

    #[test]
    fn it_ends_by_time_by_waiting_and_by_who_hangs_up() {
        let trial = Trial::new(1_000, HOUR, TRIP, &harm(100, 7));
        let short = Duration::from_secs(10);
        let almost = HOUR - Duration::from_millis(1);
        for (ran, seconds, hang_ups, expected) in [
            (Duration::ZERO, 100, 7, None),
            (almost, 129, 7, None),
            (HOUR, 129, 7, Some(Outcome::TimeUp)),
            (short, 130, 7, Some(Outcome::Waited)),
            (short, 100, 8, Some(Outcome::HungUp)),
            (HOUR, 200, 9, Some(Outcome::HungUp)),
        ] {
            assert_eq!(trial.judge(ran, &harm(seconds, hang_ups)), expected);
        }
    }

    #[test]
    fn no_patience_at_all_still_needs_somebody_who_waits() {
        let trial = Trial::new(1_000, HOUR, Duration::ZERO, &harm(0, 0));
        assert_eq!(trial.judge(Duration::ZERO, &harm(0, 0)), None);
        assert_eq!(
            trial.judge(Duration::ZERO, &harm(1, 0)),
            Some(Outcome::Waited)
        );
    }

    #[test]
    fn the_verdict_counts_from_its_beginning() {
        let trial = Trial::new(1_000, HOUR, TRIP, &harm(100, 7));
        let verdict = trial.verdict(1_060, Outcome::Waited, Mode::Observe, &harm(131, 7));
        assert_eq!((verdict.waited_seconds, verdict.hang_ups), (31.0, 0));
        assert_eq!((&*verdict.outcome, &*verdict.mode), ("waited", "observe"));
        let verdict = trial.verdict(4_600, Outcome::TimeUp, Mode::Observe, &harm(100, 7));
        assert!(
            verdict
                .text
                .contains("Nobody whose mail was accepted has waited")
        );
        assert_eq!(trial.shown(&harm(101, 7)).ends, 4_600);
    }
}
