//! `[tarpit]`, and what a listener has of its own.

use std::time::Duration;

use tarpit_core::policy::{Mode, Policy, Scope};

use super::super::effective::Origin;
use super::super::read;
use super::super::reader::{Reader, View};

/// `[tarpit]`, read.
pub(super) struct Pit {
    mode: Mode,
    delay: Duration,
    scope: Scope,
    hold_max: Duration,
}

/// Bounds from `[limits]` that are the policy's.
#[derive(Clone, Copy)]
pub(super) struct SessionBounds {
    /// Recipients of one transaction.
    pub(super) recipients_max: u32,
    /// 5yz replies in one session.
    pub(super) errors_max: u32,
}

/// Reads `[tarpit]`.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Pit> {
    let view = reader.single("tarpit");
    let mode = reader.text(&view, "mode").map(|word| mode(&word));
    let delay = reader.time(&view, "delay");
    let scope = reader.text(&view, "scope");
    let hold_max = reader.time(&view, "hold_max");
    let scope = match scope?.as_ref() {
        "source" => Scope::Source,
        _ => Scope::Session,
    };
    let pit = Pit {
        mode: mode?,
        delay: delay?,
        scope,
        hold_max: hold_max?,
    };
    pit.refuse_long_delay(reader, &view, "delay", pit.delay);
    Some(pit)
}

fn mode(word: &str) -> Mode {
    match word {
        "off" => Mode::Off,
        "enforce" => Mode::Enforce,
        _ => Mode::Observe,
    }
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off",
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

impl Pit {
    /// The policy of a listener: what it has of its own, else what `[tarpit]` says.
    pub(super) fn policy_for<'t>(
        &self,
        reader: &mut Reader<'t>,
        view: &View<'t>,
        bounds: SessionBounds,
    ) -> Option<Policy> {
        let own_mode = reader.text(view, "tarpit.mode").map(|word| mode(&word));
        let own_delay = reader.time(view, "tarpit.delay");
        if let Some(delay) = own_delay {
            self.refuse_long_delay(reader, view, "tarpit.delay", delay);
        }
        let inherited = [
            (
                "tarpit.mode",
                own_mode
                    .is_none()
                    .then(|| read::quote(mode_word(self.mode))),
            ),
            (
                "tarpit.delay",
                own_delay
                    .is_none()
                    .then(|| read::quote(&read::show_time(self.delay))),
            ),
        ];
        for (key, value) in inherited {
            if let (Some(option), Some(value)) = (view.section().option(key), value) {
                reader.hold(view, option, value, Origin::Elsewhere("from [tarpit]"));
            }
        }
        Some(Policy {
            mode: own_mode.unwrap_or(self.mode),
            scope: self.scope,
            delay: own_delay.unwrap_or(self.delay),
            hold_max: self.hold_max,
            recipients_max: bounds.recipients_max,
            errors_max: bounds.errors_max,
        })
    }

    /// A price that no hold can pay would refuse every offender for good.
    fn refuse_long_delay<'t>(
        &self,
        reader: &mut Reader<'t>,
        view: &View<'t>,
        key: &str,
        delay: Duration,
    ) {
        if self.scope == Scope::Source && delay > self.hold_max {
            let text = format!(
                "found {}, longer than hold_max = {}; allowed with scope = \"source\": up to hold_max",
                read::show_time(delay),
                read::show_time(self.hold_max)
            );
            reader.clash(view, key, text);
        }
    }
}
