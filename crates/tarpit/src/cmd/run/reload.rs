//! The configuration file again, whole or not at all.

use std::sync::{Arc, Mutex};

use tarpit_gateway::Handle;
use tracing::{error, info};

use super::say_warnings;
use super::window::{Window, lock};
use crate::config::{self, Loaded};

/// The new configuration, if it is in force now.
pub(super) async fn reload(
    handle: &Handle,
    old: &Arc<Loaded>,
    window: &Mutex<Window>,
) -> Option<Loaded> {
    let file = old.file.clone();
    info!(target: "tarpit::reload", config = %file.display(), "reading the configuration again");
    // It reads files and looks up names.
    let new = match tokio::task::spawn_blocking(move || config::load(&file)).await {
        Ok(Ok(new)) => new,
        Ok(Err(findings)) => {
            for finding in findings.lines() {
                error!(target: "tarpit::reload", finding, "bad configuration");
            }
            error!(target: "tarpit::reload", "not reloaded: the old configuration stays in force");
            return None;
        }
        Err(failure) => {
            error!(target: "tarpit::reload", %failure, "not reloaded: the old configuration stays in force");
            return None;
        }
    };
    let restart_needed = config::restart_needed(&old.effective, &new.effective);
    if !restart_needed.is_empty() {
        for change in restart_needed {
            error!(target: "tarpit::reload", change, "needs a restart");
        }
        error!(target: "tarpit::reload", "not reloaded: the old configuration stays in force");
        return None;
    }
    let moved = match lock(window).moved(handle, new.admin) {
        Ok(moved) => moved,
        Err(error) => {
            error!(target: "tarpit::reload", %error, "not reloaded: the old configuration stays in force");
            return None;
        }
    };
    match handle.reload(new.gateway.clone()).await {
        Ok(()) => {
            if let Some(moved) = moved {
                *lock(window) = moved;
            }
            say_warnings(&new);
            Some(new)
        }
        Err(error) => {
            error!(target: "tarpit::reload", %error, "not reloaded: the old configuration stays in force");
            None
        }
    }
}
