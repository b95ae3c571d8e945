//! How long clients wait: of those that were held, how many are still there after so many seconds.
//!
//! A hold that was paid says only that its client would have waited for at least so long. The share
//! of the ones that hung up among all would count it as patience without end; this is the estimator
//! of Kaplan and Meier (1958), which takes each hold out of account from its end on.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::records::sessions::{Sessions, Wait};

/// Seconds at which it is told.
const TOLD: [u64; 11] = [1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60];

/// How a kind of clients waits.
#[derive(Debug)]
pub(super) struct Survival {
    whose: &'static str,
    holds: usize,
    hung_up: usize,
    /// Seconds, the share that is still there, and how many holds were as long.
    at: Vec<(u64, f64, usize)>,
}

/// Of wanted sources and of the others, where there were real holds.
pub(super) fn all(sessions: &Sessions) -> Vec<Survival> {
    let is_wanted = |wait: &&Wait| {
        let nature = sessions.natures.get(&wait.source);
        nature.is_some_and(|nature| nature.wanted)
    };
    let (wanted, others): (Vec<&Wait>, Vec<&Wait>) = sessions.waits.iter().partition(is_wanted);
    [("wanted sources", wanted), ("other sources", others)]
        .into_iter()
        .filter(|(_, waits)| !waits.is_empty())
        .map(|(whose, waits)| Survival::of(whose, waits))
        .collect()
}

impl Survival {
    fn of(whose: &'static str, mut waits: Vec<&Wait>) -> Self {
        // Of one moment, who hung up was still there then.
        waits.sort_by_key(|wait| (wait.millis, !wait.hung_up));
        let mut at = Vec::new();
        let (mut share, mut past) = (1.0, 0);
        for seconds in TOLD {
            while let Some(wait) = waits.get(past).filter(|wait| wait.millis <= seconds * 1000) {
                if wait.hung_up {
                    share *= 1.0 - 1.0 / count(waits.len() - past);
                }
                past += 1;
            }
            let left = waits.len() - past;
            if left == 0 && past > 0 && !at.is_empty() {
                // Nobody was held for longer: nothing is known.
                break;
            }
            at.push((seconds, share, left));
        }
        Self {
            whose,
            holds: waits.len(),
            hung_up: waits.iter().filter(|wait| wait.hung_up).count(),
            at,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let at = self.at.iter();
        let at = at.map(|(seconds, share, left)| {
            json!({ "seconds": seconds, "still_there": share, "held_for_longer": left })
        });
        json!({
            "of": self.whose,
            "holds": self.holds,
            "hung_up": self.hung_up,
            "at": at.collect::<Vec<_>>(),
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut out = format!(
            "\nWho still waits, of {} ({} holds, {} hung up)\n",
            self.whose, self.holds, self.hung_up
        );
        for (seconds, share, left) in &self.at {
            let bar: String = (0..40)
                .map(|at| {
                    if f64::from(at) < share * 40.0 {
                        '#'
                    } else {
                        ' '
                    }
                })
                .collect();
            let _ = writeln!(
                out,
                "  {seconds:>3} s {bar} {:>4.0} %  ({left} were held for longer)",
                share * 100.0
            );
        }
        out
    }
}

/// Few enough for a share.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use tarpit_core::{Prefixes, Source};

    use super::*;

    fn wait(millis: u64, hung_up: bool) -> Wait {
        Wait {
            millis,
            hung_up,
            source: Source::of([192, 0, 2, 1].into(), Prefixes::default()),
        }
    }

    #[test]
    fn who_was_let_go_counts_as_far_as_it_waited() {
        // The example of every textbook: a share falls by those who left among those still there.
        let waits = [
            wait(1500, true),
            wait(2500, false),
            wait(4000, true),
            wait(4000, false),
            wait(9000, false),
        ];
        let survival = Survival::of("x", waits.iter().collect());
        let share = |seconds| survival.at.iter().find(|at| at.0 == seconds).unwrap().1;
        assert!((share(1) - 1.0).abs() < 1e-9);
        assert!((share(2) - 0.8).abs() < 1e-9);
        assert!((share(3) - 0.8).abs() < 1e-9);
        assert!((share(5) - 0.8 * 2.0 / 3.0).abs() < 1e-9);
        // Nothing is said beyond the longest hold.
        assert_eq!(survival.at.last().unwrap().0, 8);
        assert_eq!((survival.holds, survival.hung_up), (5, 2));
    }
}
