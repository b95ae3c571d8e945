//! `tarpit replay`: recorded sessions once more, under other settings, through the machine that
//! serves. What is assumed of clients stands in `core/src/replay.rs`.

use std::collections::hash_map::RandomState;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tarpit_core::Tick;
use tarpit_core::replay::{self as core, Outcome, Watch};

use super::report::{number, seconds};
use super::{BAD_CONFIG, out};
use crate::cli::Replay;
use crate::config;
use crate::records::read::Progress;
use crate::records::sessions::{self, Sessions};

/// Runs them and compares.
pub(crate) fn run(args: &Replay) -> anyhow::Result<ExitCode> {
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let mut sessions = sessions::read(&args.records)?;
    let (settings, missing) = sessions.set(&loaded.gateway);
    for name in missing {
        eprintln!(
            "listener {name:?} is not in {}: its sessions run as on the first one",
            args.config.display()
        );
    }
    let mut bar = Bar::over(sessions.traces.len() as u64);
    let hasher = RandomState::new();
    let effects = core::run(
        &sessions.traces,
        &sessions.natures,
        &settings,
        hasher,
        &mut bar,
    );
    bar.0.end();
    let before = sessions.recorded.outcome(&sessions.natures);
    let after = effects.outcome(&sessions.natures);
    if args.json {
        let both = json!({
            "recorded": outcome(&before),
            "replayed": outcome(&after),
            "recorded_is_an_estimate": sessions.observed > 0,
        });
        print_json(both, &sessions)?;
    } else {
        out::print(table(&before, &after, &sessions))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar that moves with each session that ends.
pub(super) struct Bar(pub(super) Progress);

/// So many sessions take a second.
const LONG_FROM: u64 = 50_000;

impl Bar {
    pub(super) fn over(sessions: u64) -> Self {
        Self(Progress::over(sessions, sessions >= LONG_FROM))
    }
}

impl Watch for Bar {
    fn ended(&mut self, _: Tick, _: usize, _: Duration) {
        self.0.advance(1);
    }
}

/// For programs; spans are seconds.
pub(super) fn outcome(outcome: &Outcome) -> Value {
    json!({
        "sessions": outcome.sessions,
        "harm": {
            "sources_held": outcome.harmed,
            "seconds": outcome.harm.as_secs_f64(),
            "sources_deferred": outcome.wanted_deferred,
        },
        "messages_accepted": outcome.messages,
        "names_learnt": outcome.names_learnt,
        "guesses_answered": outcome.guesses_answered,
        "guesses_unseen": outcome.guesses_unseen,
        "stolen_seconds": outcome.stolen.as_secs_f64(),
        "other_sources_deferred": outcome.others_deferred,
        "holds": outcome.holds,
        "holds_hung_up": outcome.hung_up,
        "turned_away": outcome.turned_away,
    })
}

fn table(before: &Outcome, after: &Outcome, sessions: &Sessions) -> String {
    let mut out = format!("{:38} {:>14} {:>14}\n", "", "recorded", "replayed");
    let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
        out.push_str(&format!("{name:38} {:>14} {:>14}\n", of(before), of(after)));
    };
    row("sessions", &|one| number(one.sessions));
    row("HARM: wanted sources that waited", &|one| {
        number(one.harmed)
    });
    row("  for", &|one| seconds(one.harm));
    row("  wanted sources deferred", &|one| {
        number(one.wanted_deferred)
    });
    row("messages accepted", &|one| number(one.messages));
    row("names learnt", &|one| number(one.names_learnt));
    row("guesses answered", &|one| number(one.guesses_answered));
    row("guesses not answered (450, 454)", &|one| {
        number(one.guesses_unseen)
    });
    row("seconds stolen", &|one| seconds(one.stolen));
    row("other sources deferred", &|one| number(one.others_deferred));
    row("holds", &|one| number(one.holds));
    row("  ended by the client", &|one| number(one.hung_up));
    row("sessions turned away at the door", &|one| {
        number(one.turned_away)
    });
    if sessions.observed > 0 {
        out.push_str("\nSome of what was recorded is what would have been (observe): an estimate, and a lower bound.\n");
    }
    out.push_str(&remarks(sessions));
    out
}

/// The figures, and what makes them less sure.
pub(super) fn print_json(mut figures: Value, sessions: &Sessions) -> anyhow::Result<()> {
    figures["sessions_cut"] = sessions.cut.into();
    figures["lines_unreadable"] = sessions.unreadable.into();
    out::print(serde_json::to_string_pretty(&figures)? + "\n")?;
    Ok(())
}

/// What makes the figures less sure.
pub(super) fn remarks(sessions: &Sessions) -> String {
    let mut out = String::new();
    if sessions.cut > 0 {
        out.push_str(&format!(
            "\n{} sessions are not whole: their acts were cut off, or lost, or come from before the first file.\n",
            number(sessions.cut)
        ));
    }
    if sessions.unreadable > 0 {
        out.push_str(&format!(
            "\n{} lines could not be read.\n",
            number(sessions.unreadable)
        ));
    }
    out
}
