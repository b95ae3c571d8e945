//! `tarpit advise`: what each second of delay would buy and cost, on recorded sessions.
//!
//! It tries delays from 0 to 60 s with both scopes, in `enforce`, and shows the curve. Whether
//! clients would wait is not for a replay to say; what is known of it, from holds that were real,
//! stands below: how many are still there after so many seconds.

mod survival;

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tarpit_core::policy::{Mode, Scope};
use tarpit_core::replay::{self as core, Outcome, Settings};

use super::replay::{outcome, print_json, remarks};
use super::report::{number, seconds};
use super::{BAD_CONFIG, out};
use crate::cli::Advise;
use crate::config;
use crate::records::read::Progress;
use crate::records::sessions::{self, Sessions};
use survival::Survival;

/// Seconds that are tried.
const DELAYS: [u64; 13] = [0, 1, 2, 3, 5, 8, 10, 15, 20, 30, 40, 50, 60];

/// The longest `hold_max` that the configuration takes.
const HOLD_MAX: Duration = Duration::from_secs(75);

/// A wanted source that waits for longer than this in all is somebody's complaint.
const BEARABLE: Duration = Duration::from_secs(10);

/// A delay with a scope, and what comes of it.
struct Try {
    scope: Scope,
    delay: Duration,
    outcome: Outcome,
}

/// Tries.
pub(crate) fn run(args: &Advise) -> anyhow::Result<ExitCode> {
    let loaded = match args.config.as_deref().map(config::load).transpose() {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let config = match loaded {
        Some(loaded) => loaded.gateway,
        None => config::defaults()?,
    };
    let mut sessions = sessions::read(&args.records)?;
    let (settings, _) = sessions.set(&config);
    let tries = try_all(&sessions, &settings);
    let survivals = survival::all(&sessions);
    if args.json {
        let all = json!({
            "tries": tries.iter().map(told).collect::<Vec<_>>(),
            "advice": best(&tries).map(told),
            "survival": survivals.iter().map(Survival::to_json).collect::<Vec<_>>(),
        });
        print_json(all, &sessions)?;
    } else {
        out::print(print(&tries, &survivals, &sessions))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All delays with both scopes. Each is a replay of its own, so they go side by side.
fn try_all(sessions: &Sessions, settings: &Settings) -> Vec<Try> {
    let scopes = [Scope::Session, Scope::Source];
    let wanted: Vec<(Scope, Duration)> = scopes
        .into_iter()
        .flat_map(|scope| DELAYS.map(|delay| (scope, Duration::from_secs(delay))))
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new((
        Vec::new(),
        Progress::over(wanted.len() as u64, sessions.traces.len() > 20_000),
    ));
    let work = || {
        while let Some((scope, delay)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let settings = with(settings, *scope, *delay);
            let hasher = RandomState::new();
            let effects = core::run(
                &sessions.traces,
                &sessions.natures,
                &settings,
                hasher,
                &mut (),
            );
            let one = Try {
                scope: *scope,
                delay: *delay,
                outcome: effects.outcome(&sessions.natures),
            };
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.0.push(one);
            done.1.advance(1);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(wanted.len()) {
            scope.spawn(work);
        }
    });
    let (mut tries, progress) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    progress.end();
    tries.sort_by_key(|one| (one.scope == Scope::Source, one.delay));
    tries
}

fn with(settings: &Settings, scope: Scope, delay: Duration) -> Settings {
    let mut settings = settings.clone();
    for listener in &mut settings.listeners {
        let policy = &mut listener.policy;
        policy.mode = Mode::Enforce;
        policy.scope = scope;
        policy.delay = delay;
        policy.hold_max = policy.hold_max.max(delay).min(HOLD_MAX);
    }
    settings
}

/// The fewest names learnt, then the most time stolen, where no wanted source is deferred and they
/// wait for [`BEARABLE`] or less on average; of equals the shortest delay.
fn best(tries: &[Try]) -> Option<&Try> {
    let harmless = tries.iter().filter(|one| {
        let outcome = &one.outcome;
        let sources = u32::try_from(outcome.harmed).unwrap_or(u32::MAX);
        outcome.wanted_deferred == 0 && outcome.harm <= BEARABLE.saturating_mul(sources)
    });
    harmless.min_by_key(|one| {
        let outcome = &one.outcome;
        (
            outcome.names_learnt,
            outcome.guesses_answered,
            std::cmp::Reverse(outcome.stolen),
            one.delay,
        )
    })
}

fn told(one: &Try) -> Value {
    let mut told = outcome(&one.outcome);
    told["scope"] = word(one.scope).into();
    told["delay_seconds"] = one.delay.as_secs().into();
    told
}

const fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::Session => "session",
        Scope::Source => "source",
    }
}

fn print(tries: &[Try], survivals: &[Survival], sessions: &Sessions) -> String {
    let mut out = String::new();
    for scope in [Scope::Session, Scope::Source] {
        let _ = writeln!(out, "scope = \"{}\"", word(scope));
        let _ = writeln!(
            out,
            "  {:>5} {:>9} {:>10} {:>10} {:>10} {:>7} {:>8}  each second more buys, and costs",
            "delay", "names", "guesses", "stolen", "harm", "harmed", "deferred"
        );
        let mut before: Option<&Try> = None;
        for one in tries.iter().filter(|one| one.scope == scope) {
            let it = &one.outcome;
            let _ = writeln!(
                out,
                "  {:>5} {:>9} {:>10} {:>10} {:>10} {:>7} {:>8}  {}",
                format!("{} s", one.delay.as_secs()),
                number(it.names_learnt),
                number(it.guesses_answered),
                seconds(it.stolen),
                seconds(it.harm),
                number(it.harmed),
                number(it.wanted_deferred),
                before.map_or_else(String::new, |before| step(before, one))
            );
            before = Some(one);
        }
        out.push('\n');
    }
    match best(tries) {
        Some(one) => {
            let _ = writeln!(
                out,
                "Of these, delay = \"{}s\" with scope = \"{}\" teaches the least of those that defer no wanted source and\n\
                 let those that they hold wait for {} s each at most, on average.",
                one.delay.as_secs(),
                word(one.scope),
                BEARABLE.as_secs()
            );
        }
        None => out.push_str(
            "Each of these hurts wanted sources: `tarpit report` names them, exempt them first.\n",
        ),
    }
    out.push_str("Clients are taken to wait, but for those that hung up in the records.\n");
    for survival in survivals {
        out.push_str(&survival.to_text());
    }
    if survivals.is_empty() {
        out.push_str("\nNo hold was real yet, so nothing is known of who would hang up.\n");
    }
    out.push_str(&remarks(sessions));
    out
}

/// What one second more makes, between two delays.
fn step(before: &Try, after: &Try) -> String {
    let span = (after.delay - before.delay).as_secs_f64();
    let each = |of: &dyn Fn(&Outcome) -> f64| (of(&after.outcome) - of(&before.outcome)) / span;
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let names = each(&|one| one.names_learnt as f64);
    let stolen = each(&|one| one.stolen.as_secs_f64());
    let harm = each(&|one| one.harm.as_secs_f64());
    format!("{names:+.1} names, {stolen:+.0} s stolen; {harm:+.1} s harm")
}
