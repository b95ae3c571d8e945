//! Which cases are measured, and which are left out, with the reason.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum as _;

use super::case::{Case, Doing};
use super::lookers;
use super::machine::{self, Kernel};
use super::subject::{Holding, Kind};
use super::{Part, Setting, Wish};
use crate::gateway::Reference;
use crate::stats::count;

/// Memory of the kernel for both ends of a session, and of the client's process: measured
/// generously.
const KIB_EACH: u64 = 12;
/// With TLS, a client's own state besides.
const TLS_KIB_EACH: u64 = 40;

/// From this size on, a case is measured in all phases: what is due makes a difference there.
const LARGE: u64 = 500_000;

/// Sizes of part `held`.
const SIZES: &[u64] = &[1000, 10_000, 100_000, 1_000_000];

/// Sizes of part `peers`: the last is more than any of them is known to hold.
const PEER_SIZES: &[u64] = &[1000, 10_000, 25_000];

/// Windows of part `peers`. They differ by factors, which shorter windows show too.
const PEER_WINDOWS: (Duration, usize) = (Duration::from_secs(4), 3);

/// The largest case of a quick run, unless another is asked for.
const QUICK_MAX: u64 = 20_000;

/// Holds of the large sizes: of a million, 16,700 are due a second.
const HOLD: Duration = Duration::from_secs(60);
/// Holds of the sizes between, and the largest of these.
const HALF: (Duration, u64) = (Duration::from_secs(30), 200_000);
/// Holds of the small sizes, where a minute would be a long time for a few replies, and the largest
/// of these.
const BRIEF: (Duration, u64) = (Duration::from_secs(10), 20_000);
/// Holds of part `short`: what `tarpit.delay` is by default.
const SHORT: Duration = Duration::from_secs(5);

/// Holds of a large case while nothing is due: the most that `tarpit.hold_max` may be.
const LONGEST: Duration = Duration::from_secs(75);

/// Sessions that arrive a second beside a large herd.
const NEW: f64 = 1000.0;
/// Share of a large herd that guesses on, in the phase with few due: 3,000 a second of a million.
const FEW: f64 = 0.18;

const ON: Doing = Doing::Guessing {
    share: 1.0,
    churn: 0.0,
    lookers: 0,
};

/// The page with all its places taken.
const LOOKED_AT: Doing = Doing::Guessing {
    share: 1.0,
    churn: 0.0,
    lookers: lookers::PLACES,
};

/// The cases, and words about those that are left out.
pub(super) fn plan(wish: &Wish, setting: &Setting) -> Result<(Vec<Case>, Vec<String>)> {
    let available = Kernel::now()?.available_kib;
    let (room, name) = machine::room();
    let reference = Reference::of(&setting.tarpit)?;
    let mut cases = Vec::new();
    let mut left_out = Vec::new();
    for case in all(wish, setting) {
        let each = KIB_EACH + case.kind.kib_each() + if case.tls { TLS_KIB_EACH } else { 0 };
        let needs = case.held * each;
        if needs > available / 10 * 9 {
            left_out.push(format!(
                "Left out: {}, which needs about {} MiB, where {} MiB are available.",
                words(&case),
                count(needs / 1024),
                count(available / 1024)
            ));
        } else if case.held > room {
            left_out.push(format!(
                "Left out: {}, since {name} allows {} only.",
                words(&case),
                count(room)
            ));
        } else if wish.quick && case.held > QUICK_MAX && !is_named(&case, wish) {
            left_out.push(format!("Left out for --quick: {}.", words(&case)));
        } else if case.holding == Holding::Stutter && !reference.knows("tarpit.hold") {
            left_out.push(format!(
                "Left out: {}, since this gateway has no tarpit.hold.",
                words(&case)
            ));
        } else {
            cases.push(case);
        }
    }
    Ok((cases, left_out))
}

/// Whether a large case is wished for although all is to be quick: by its size, or by its part, if
/// that has no cases but these.
fn is_named(case: &Case, wish: &Wish) -> bool {
    let is_only = case.part == Part::Tls && wish.only.contains(&Part::Tls);
    is_only || wish.held.contains(&case.held)
}

/// How long a case takes, roughly: its windows, and the holds that are waited for.
pub(super) fn takes(case: &Case, setting: &Setting) -> Duration {
    let mail = case.windows > 0;
    let windows = |at_capacity: usize| {
        // One of them paced, and one without mail.
        setting.window * u32::try_from(at_capacity + if mail { 2 } else { 1 }).unwrap_or(0)
    };
    let fill = Duration::from_secs_f64(case.held as f64 / setting.rate);
    let is_spread = fill >= case.hold || case.holding == Holding::Stutter;
    let phases = case.phases.iter().map(|doing| match doing {
        Doing::Waiting => windows(1) + case.hold * 4,
        Doing::Guessing { share, .. } if *share < 1.0 => windows(case.windows) + case.hold * 2,
        Doing::Guessing { .. } if is_spread => windows(case.windows) + case.hold,
        Doing::Guessing { .. } => windows(case.windows) + case.hold * 2,
    });
    let empty = if mail {
        windows(case.windows)
    } else {
        Duration::ZERO
    };
    // To start, to settle, to leave.
    fill + phases.sum::<Duration>() + empty + Duration::from_secs(8)
}

/// A case, in words.
pub(super) fn words(case: &Case) -> String {
    format!(
        "{}, {} held for {} s ({:?})",
        case.kind.name(),
        count(case.held),
        case.hold.as_secs(),
        case.part
    )
}

/// The setting for a case of this part.
pub(super) fn setting_for(part: Part, setting: &Setting) -> Setting {
    match part {
        Part::Peers => Setting {
            window: setting.window.min(PEER_WINDOWS.0),
            ..setting.clone()
        },
        _ => setting.clone(),
    }
}

fn all(wish: &Wish, setting: &Setting) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in Part::value_variants() {
        if wish.wants_cases(*part) {
            cases.extend(of(*part, wish, setting));
        }
    }
    if !wish.pit.is_empty() {
        cases.retain(|case| wish.pit.contains(&case.kind));
    }
    cases
}

/// A case of which nothing is special.
fn plain(part: Part, kind: Kind, held: u64, setting: &Setting) -> Case {
    Case {
        kind,
        part,
        held,
        hold: hold(held),
        holding: Holding::Silent,
        long: false,
        ahead: false,
        tls: false,
        asks: false,
        windows: setting.windows,
        phases: vec![ON],
    }
}

/// The other servers, the smaller sizes first: who is full then is spared the larger ones.
fn rivals(wish: &Wish, setting: &Setting) -> Vec<Case> {
    let sizes = match wish.held.as_slice() {
        [] if wish.quick => &PEER_SIZES[..1],
        [] => PEER_SIZES,
        wished => wished,
    };
    let most = PEER_SIZES.last().copied().unwrap_or(0);
    let sizes = sizes.iter().filter(|held| (1..=most).contains(*held));
    let kinds = sizes.flat_map(|held| Kind::RIVALS.map(|kind| (kind, *held)));
    kinds
        .map(|(kind, held)| Case {
            hold: SHORT,
            windows: PEER_WINDOWS.1,
            ..plain(Part::Peers, kind, held, setting)
        })
        .collect()
}

fn of(part: Part, wish: &Wish, setting: &Setting) -> Vec<Case> {
    let case = |kind, held| plain(part, kind, held, setting);
    let tarpit = |held| case(Kind::Tarpit, held);
    match part {
        Part::Held => {
            let sizes = match wish.held.as_slice() {
                [] => SIZES,
                wished => wished,
            };
            sizes
                .iter()
                // An empty pit is measured in each case.
                .filter(|held| **held > 0)
                .flat_map(|held| {
                    let both = [Kind::Floor, Kind::Tarpit];
                    both.map(|kind| case(kind, *held))
                })
                .flat_map(in_phases)
                .map(|case| Case {
                    // Whoever is to judge the machine alone needs fewer.
                    windows: match case.kind {
                        Kind::Floor => case.windows.div_ceil(2),
                        _ => case.windows,
                    },
                    ..case
                })
                .collect()
        }
        Part::Short => vec![Case {
            hold: SHORT,
            windows: setting.windows.div_ceil(2),
            ..tarpit(10_000)
        }],
        Part::Long => vec![Case {
            long: true,
            windows: 0,
            ..tarpit(10_000)
        }],
        Part::Unread => vec![Case {
            ahead: true,
            windows: 0,
            ..tarpit(10_000)
        }],
        Part::Asked => vec![Case {
            asks: true,
            ..tarpit(10_000)
        }],
        Part::Tls => [10_000, 50_000]
            .map(|held| Case {
                tls: true,
                windows: 0,
                ..tarpit(held)
            })
            .into(),
        Part::Page => vec![Case {
            phases: vec![ON, LOOKED_AT],
            ..tarpit(100_000)
        }],
        Part::Peers => rivals(wish, setting),
        Part::Way | Part::Names | Part::Soak => Vec::new(),
        Part::Stutter => vec![Case {
            holding: Holding::Stutter,
            hold: HOLD,
            windows: setting.windows.div_ceil(3),
            ..tarpit(100_000)
        }],
    }
}

fn hold(held: u64) -> Duration {
    [BRIEF, HALF]
        .into_iter()
        .find(|(_, largest)| held <= *largest)
        .map_or(HOLD, |(hold, _)| hold)
}

/// A large case while nothing is due, with the longest holds there are, since to read what a whole
/// herd says at once takes most of a hold; while all are due, or few; and while new ones come. Each
/// with clients of its own: what mail at capacity leaves undone in one would be due at once in the
/// next, and a session that is held for ten minutes in all ends.
fn in_phases(case: Case) -> Vec<Case> {
    if case.held < LARGE {
        return vec![case];
    }
    let few = Doing::Guessing {
        share: FEW,
        churn: 0.0,
        lookers: 0,
    };
    let new = Doing::Guessing {
        share: 1.0,
        churn: NEW,
        lookers: 0,
    };
    let waiting = (LONGEST, vec![Doing::Waiting]);
    let phases = match case.kind {
        Kind::Tarpit => vec![
            waiting,
            (case.hold, vec![ON]),
            (case.hold, vec![few]),
            (case.hold, vec![new]),
        ],
        _ => vec![waiting, (case.hold, vec![new])],
    };
    phases
        .into_iter()
        .map(|(hold, phases)| Case {
            hold,
            phases,
            ..case.clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        wish: Wish,
    }

    fn planned(line: &[&str]) -> Vec<Case> {
        let line = ["pit"].iter().chain(line);
        let setting = Setting {
            tarpit: "tarpit".into(),
            window: Duration::from_secs(10),
            windows: 5,
            rate: 10_000.0,
        };
        all(&Line::parse_from(line).wish, &setting)
    }

    #[test]
    fn other_servers_are_measured_unless_they_are_left_out() {
        let rivals = |line: &[&str]| {
            let cases = planned(line).into_iter();
            let rivals = cases.filter(|case| case.kind.is_rival());
            rivals.map(|case| case.held).collect::<Vec<_>>()
        };
        let kinds = Kind::RIVALS.len();
        assert_eq!(rivals(&[]).len(), PEER_SIZES.len() * kinds);
        assert!(rivals(&[]).is_sorted());
        assert!(rivals(&["--no-peers"]).is_empty());
        assert!(rivals(&["--only", "held"]).is_empty());
        assert_eq!(rivals(&["--only", "peers", "--quick"]), [1000; 6]);
        assert_eq!(rivals(&["--held", "50,1000000"]), [50; 6]);
        assert_eq!(rivals(&["--pit", "haraka"]), PEER_SIZES);
    }
}
