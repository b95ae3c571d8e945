//! The configuration file again, whole or not at all.

use std::sync::{Arc, Mutex};

use tarpit_admin::api::Refusal;
use tarpit_admin::control::Refused;
use tarpit_gateway::Handle;
use tracing::{error, info};

use super::say_warnings;
use super::window::{Window, lock};
use crate::config::{self, Findings, Loaded};
use crate::control::Desk;

/// Why the old configuration stays in force.
#[derive(Debug)]
pub(super) enum Why {
    /// A file is wrong: one line each.
    Findings(Vec<String>),
    /// A change needs a restart: one line each.
    Restart(Vec<String>),
    /// What it names can't be had. That is no fault of the file.
    Unavailable(String),
}

impl Why {
    fn of(error: &dyn std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }

    fn log(&self) {
        match self {
            Self::Findings(list) => {
                for finding in list {
                    error!(target: "tarpit::reload", finding, "bad configuration");
                }
            }
            Self::Restart(list) => {
                for change in list {
                    error!(target: "tarpit::reload", change, "needs a restart");
                }
            }
            Self::Unavailable(error) => {
                error!(target: "tarpit::reload", error, "not reloaded: the old configuration stays in force");
                return;
            }
        }
        error!(target: "tarpit::reload", "not reloaded: the old configuration stays in force");
    }

    /// For whoever asked.
    pub(super) fn told(self) -> Refused {
        let refusal = |findings| Refusal {
            error: "not reloaded: the old configuration stays in force".to_owned(),
            findings,
        };
        match self {
            Self::Findings(list) => Refused::Wrong(refusal(list)),
            Self::Restart(list) => {
                let told = |change| format!("needs a restart: {change}");
                Refused::Wrong(refusal(list.into_iter().map(told).collect()))
            }
            Self::Unavailable(error) => Refused::Failed(refusal(vec![error])),
        }
    }
}

/// The new configuration, which is in force now.
///
/// # Errors
///
/// Why it is not; that was logged.
pub(super) async fn reload(
    handle: &Handle,
    old: &Arc<Loaded>,
    desk: &mut Desk,
    window: &Mutex<Window>,
) -> Result<Loaded, Why> {
    info!(target: "tarpit::reload", config = %old.file.display(), "reading the configuration again");
    let outcome = put_in_force(handle, old, desk, window).await;
    if let Err(why) = &outcome {
        why.log();
    }
    outcome
}

async fn put_in_force(
    handle: &Handle,
    old: &Arc<Loaded>,
    desk: &mut Desk,
    window: &Mutex<Window>,
) -> Result<Loaded, Why> {
    let findings = |findings: Findings| Why::Findings(findings.lines().collect());
    let file = old.file.clone();
    // It reads files and looks up names, for as long as that takes.
    let read = tokio::task::spawn_blocking(move || config::load(&file));
    let read = desk.look_during(read, old, handle).await;
    let new = read.map_err(|failure| Why::of(&failure))?;
    let new = new.map_err(findings)?;
    let restart_needed = config::restart_needed(&old.effective, &new.effective);
    if !restart_needed.is_empty() {
        return Err(Why::Restart(restart_needed));
    }
    let reloaded = desk.for_reload(&new).map_err(findings)?;
    let moved = lock(window).moved(handle, &new.admin);
    let moved = moved.map_err(|error| Why::of(&error))?;
    let outcome = handle.reload(reloaded.config.clone()).await;
    outcome.map_err(|error| Why::of(&error))?;
    match moved {
        Some(moved) => *lock(window) = moved,
        None => lock(window).keep(new.admin.clone()),
    }
    desk.reloaded(reloaded, &new, handle);
    say_warnings(&desk.seen(&new));
    Ok(new)
}
