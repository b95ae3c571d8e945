//! What was tried, and what went wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::case::Case;
use crate::point::{Action, World};

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// How many points there are in one pass.
    pub exist: usize,
    /// What went wrong, each with the text that repeats its point.
    pub failures: Vec<String>,
    /// How often the gateway was killed.
    pub kills: u64,
    /// Sessions that were caught by a kill wherever they were.
    pub caught: usize,
    /// The longest that a killed gateway took until it greeted again.
    pub restart: Duration,
    /// Transactions on upstream connections that had one before.
    pub reused: u64,
    /// The session that took longest.
    pub slowest: (Duration, String),
    /// How long it took.
    pub elapsed: Duration,
    tried: BTreeMap<(World, &'static str, String), (usize, usize)>,
    well: usize,
    took: Vec<(World, Duration)>,
}

impl Report {
    pub(crate) fn note(&mut self, case: &Case, took: Duration, wrong: &[String]) {
        let point = case.point;
        if point.action == Action::Nothing {
            self.well += 1;
        } else if point.at != u32::MAX {
            let key = (point.world, point.leg.name(), point.action.to_string());
            let (tried, missed) = self.tried.entry(key).or_default();
            if case.fired.load(Ordering::SeqCst) {
                *tried += 1;
            } else {
                *missed += 1;
            }
        }
        if took > self.slowest.0 {
            self.slowest = (took, point.to_string());
        }
        if !wrong.is_empty() {
            let wrong = wrong.join("\n    ");
            self.failures.push(format!("{point}\n    {wrong}"));
        }
    }

    pub(crate) fn took(&mut self, world: World, span: Duration) {
        self.took.push((world, span));
    }

    /// Cuts that came.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.tried.values().map(|(tried, _)| tried).sum()
    }

    /// Points that were never got to: the dialogue had ended before.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.tried.values().map(|(_, missed)| missed).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = ["world", "leg", "what", "tried", "not reached"];
        let [world, leg, what, tried, missed] = named;
        writeln!(out, "{world:<9}{leg:<16}{what:<13}{tried:>7}{missed:>13}")?;
        for ((world, leg, what), (tried, missed)) in &self.tried {
            writeln!(out, "{world:<9}{leg:<16}{what:<13}{tried:>7}{missed:>13}")?;
        }
        for (world, span) in &self.took {
            writeln!(out, "{world}: {:.1} s", span.as_secs_f64())?;
        }
        writeln!(
            out,
            "{} sessions that were not cut; {} transactions on connections used before; {} kills, \
             which caught {} more sessions on their way; back after {} ms at most",
            self.well,
            self.reused,
            self.kills,
            self.caught,
            self.restart.as_millis()
        )?;
        let (took, point) = &self.slowest;
        writeln!(out, "slowest session: {:.1} s, {point}", took.as_secs_f64())?;
        writeln!(
            out,
            "{} cut points tried ({} exist in one pass, {} not reached) in {:.1} s: {} wrong",
            self.tried(),
            self.exist,
            self.missed(),
            self.elapsed.as_secs_f64(),
            self.failures.len()
        )
    }
}
