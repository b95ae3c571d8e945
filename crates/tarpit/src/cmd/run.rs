//! `tarpit run`: serve in the foreground until SIGTERM or SIGINT.
//!
//! The first of these signals drains, the second ends the process at once. SIGHUP reads the file
//! again and puts it in force whole or not at all: with a mistake in it, or a change that needs a
//! restart, the old configuration stays. Reloads run in a task of their own, one after the other,
//! since one may wait for the upstream, and a signal to end must not wait for that.
//!
//! A service manager that listens is told of all this (`notify.rs`).

mod window;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tarpit_gateway::clock::unix_now;
use tarpit_gateway::{Gateway, Handle, LiveError, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{BAD_CONFIG, UNAVAILABLE, block_on};
use crate::cli::Run;
use crate::config::{self, Loaded};
use crate::log;
use crate::notify::Manager;
use crate::signals::EndSignals;
use window::{Window, lock};

/// Nothing that Tarpit does needs root: a port below 1024 and foreign source addresses take one
/// capability each.
const ROOT: &str = "running as root without need: a hole in this process would be a hole in the machine. Run it as \
     a user of its own with CAP_NET_BIND_SERVICE, as the unit tarpit.service does: User=tarpit, \
     AmbientCapabilities=CAP_NET_BIND_SERVICE; without systemd: setpriv --reuid=tarpit --regid=tarpit \
     --clear-groups --inh-caps=+net_bind_service --ambient-caps=+net_bind_service tarpit run ...; or listen on a \
     port above 1023";

/// Serves.
pub(crate) fn run(args: &Run) -> anyhow::Result<ExitCode> {
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    log::start(loaded.log, log::USUAL)?;
    block_on(serve(loaded))
}

async fn serve(loaded: Loaded) -> anyhow::Result<ExitCode> {
    config::system::raise_descriptors();
    // Before anything else, so that no signal meets its default action once we have begun.
    let mut end = EndSignals::new()?;
    let hangups = signal(SignalKind::hangup()).context("can't listen for SIGHUP")?;
    let version = env!("CARGO_PKG_VERSION");
    info!(target: "tarpit::run", version, config = %loaded.file.display(), "starting");
    say_warnings(&loaded);
    if config::system::is_root() {
        warn!(target: "tarpit::run", "{ROOT}");
    }
    let doors = loaded.gateway.listeners.len();
    let manager = Arc::new(Manager::default());
    let started = tokio::select! {
        started = Gateway::start(loaded.gateway.clone()) => started,
        () = end.next() => return Ok(ExitCode::SUCCESS),
    };
    let gateway = match started {
        Ok(gateway) => gateway,
        Err(error) => {
            error!(target: "tarpit::run", %error, "can't start");
            return Ok(exit_code(&error));
        }
    };
    let window = match Window::open(&gateway.handle(), loaded.admin) {
        Ok(window) => window,
        Err(error) => {
            error!(target: "tarpit::run", %error, "can't start");
            return Ok(ExitCode::from(UNAVAILABLE));
        }
    };
    // It stays open while the gateway drains, to say so.
    let window = Arc::new(Mutex::new(window));
    let reloads = tokio::spawn(reload_at(
        hangups,
        gateway.handle(),
        loaded,
        Arc::clone(&manager),
        Arc::clone(&window),
    ));
    tokio::select! {
        () = end.next() => {}
        () = manager.attend(&gateway, doors) => {}
    }
    reloads.abort();
    let handle = gateway.handle();
    manager.stopping();
    handle.drain();
    tokio::select! {
        () = gateway.wait() => Ok(ExitCode::SUCCESS),
        // Never ends by itself.
        () = manager.drain(&handle) => Ok(ExitCode::FAILURE),
        () = end.next() => {
            let sessions = handle.sessions();
            warn!(target: "tarpit::run", sessions, "told to end again: not waiting for sessions that still run");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn exit_code(error: &StartError) -> ExitCode {
    match error {
        StartError::Live(LiveError::Recipients(_) | LiveError::Certificate(_)) => {
            ExitCode::from(BAD_CONFIG)
        }
        StartError::Pit(_)
        | StartError::Live(LiveError::Maildir { .. })
        | StartError::Bind { .. }
        | StartError::Relays { .. } => ExitCode::from(UNAVAILABLE),
    }
}

/// Reloads at each SIGHUP. Those that come during a reload make one more.
async fn reload_at(
    mut hangups: Signal,
    handle: Handle,
    loaded: Loaded,
    manager: Arc<Manager>,
    window: Arc<Mutex<Window>>,
) {
    let mut loaded = Arc::new(loaded);
    while hangups.recv().await.is_some() {
        manager.reloading();
        let outcome = match reload(&handle, &loaded, &window).await {
            Some(new) => {
                loaded = Arc::new(new);
                "reloaded"
            }
            None => {
                handle.note_reload_failed();
                "not reloaded: the old configuration stays in force, see the log"
            }
        };
        manager.reloaded(outcome);
    }
}

/// The new configuration, if it is in force now.
async fn reload(handle: &Handle, old: &Arc<Loaded>, window: &Mutex<Window>) -> Option<Loaded> {
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

fn say_warnings(loaded: &Loaded) {
    for warning in config::warnings::warnings(loaded, unix_now()) {
        warn!(target: "tarpit::config", warning, "configuration");
    }
    if let Some(warning) = config::warnings::about_descriptors(loaded) {
        warn!(target: "tarpit::config", warning, "configuration");
    }
}
