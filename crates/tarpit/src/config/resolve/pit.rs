//! `[tarpit]`, and what a listener has of its own.

use std::time::Duration;

use tarpit_core::policy::{Mode, Policy, Scope, Way};

use super::super::effective::Origin;
use super::super::read;
use super::super::reader::{Reader, View};

/// `[tarpit]`, read.
pub(super) struct Pit {
    mode: Mode,
    delay: Duration,
    scope: Scope,
    hold_max: Duration,
    way: Way,
    small_window: bool,
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
    let way = reader.text(&view, "hold").map(|word| way(&word));
    let small_window = reader.flag(&view, "small_window");
    let scope = match scope?.as_ref() {
        "source" => Scope::Source,
        _ => Scope::Session,
    };
    let pit = Pit {
        mode: mode?,
        delay: delay?,
        scope,
        hold_max: hold_max?,
        way: way?,
        small_window: small_window?,
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

fn way(word: &str) -> Way {
    let named = Way::ALL.into_iter().find(|way| way.as_str() == word);
    named.unwrap_or_default()
}

impl Pit {
    /// The policy of a listener, and whether its held sessions get a small window: what it has of
    /// its own, else what `[tarpit]` says.
    pub(super) fn policy_for<'t>(
        &self,
        reader: &mut Reader<'t>,
        view: &View<'t>,
        bounds: SessionBounds,
    ) -> Option<(Policy, bool)> {
        let own_mode = reader.text(view, "tarpit.mode").map(|word| mode(&word));
        let own_delay = reader.time(view, "tarpit.delay");
        if let Some(delay) = own_delay {
            self.refuse_long_delay(reader, view, "tarpit.delay", delay);
        }
        let own_way = reader.text(view, "tarpit.hold").map(|word| way(&word));
        let own_window = reader.flag(view, "tarpit.small_window");
        let mut inherit = |is_own: bool, key: &str, value: String| {
            if let Some(option) = view.section().option(key).filter(|_| !is_own) {
                reader.hold(view, option, value, Origin::Elsewhere("from [tarpit]"));
            }
        };
        let delay = read::quote(&read::show_time(self.delay));
        let window = self.small_window.to_string();
        inherit(
            own_mode.is_some(),
            "tarpit.mode",
            read::quote(mode_word(self.mode)),
        );
        inherit(own_delay.is_some(), "tarpit.delay", delay);
        inherit(
            own_way.is_some(),
            "tarpit.hold",
            read::quote(self.way.as_str()),
        );
        inherit(own_window.is_some(), "tarpit.small_window", window);
        let way = own_way.unwrap_or(self.way);
        let policy = Policy {
            mode: own_mode.unwrap_or(self.mode),
            scope: self.scope,
            delay: own_delay.unwrap_or(self.delay),
            hold_max: self.hold_max,
            recipients_max: bounds.recipients_max,
            errors_max: bounds.errors_max,
            way,
            pace: way.pace(),
        };
        Some((policy, own_window.unwrap_or(self.small_window)))
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
