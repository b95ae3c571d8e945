//! `tarpit run`: serve in the foreground until SIGTERM or SIGINT.
//!
//! The first of these signals drains, the second ends the process at once. SIGHUP reads the file
//! again and puts it in force whole or not at all: with a mistake in it, or a change that needs a
//! restart, the old configuration stays. If the program itself was replaced meanwhile, SIGHUP is an
//! upgrade, as SIGUSR2 and `tarpit upgrade` are: a successor takes over ([`change`]), and this
//! process lets its sessions end.
//!
//! A service manager that listens is told of all this (`notify.rs`).

mod change;
mod reload;
mod window;

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tarpit_admin::Control;
use tarpit_admin::control::{ORDERS_MAX, Office, Order};
use tarpit_gateway::clock::unix_now;
use tarpit_gateway::config::Config;
use tarpit_gateway::handover::{self, Estate, Handed};
use tarpit_gateway::{Gateway, LiveError, StartError};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{BAD_CONFIG, UNAVAILABLE, block_on, keeper};
use crate::cli::Run;
use crate::config::{self, Loaded};
use crate::control::Desk;
use crate::log;
use crate::notify::Manager;
use crate::records::Records;
use crate::signals::{ChangeSignals, EndSignals};
use crate::successor::{self, Program};
use change::Changes;
use window::{Window, absolute, lock, open_control};

/// Nothing that Tarpit does needs root: a port below 1024 and foreign source addresses take one
/// capability each.
const ROOT: &str = "running as root without need: a hole in this process would be a hole in the machine. Run it as \
     a user of its own with CAP_NET_BIND_SERVICE, as the unit tarpit.service does: User=tarpit, \
     AmbientCapabilities=CAP_NET_BIND_SERVICE; without systemd: setpriv --reuid=tarpit --regid=tarpit \
     --clear-groups --inh-caps=+net_bind_service --ambient-caps=+net_bind_service tarpit run ...; or listen on a \
     port above 1023";

/// Serves.
pub(crate) fn run(args: &Run) -> anyhow::Result<ExitCode> {
    let line = args.successor.then(successor::take_line).transpose()?;
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            refuse(line, &findings.to_string())?;
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let (records, failure) = match open_records(&loaded) {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("tarpit: can't start: {error}");
            refuse(line, &error)?;
            return Ok(ExitCode::from(UNAVAILABLE));
        }
    };
    log::start(loaded.log, log::USUAL, records.as_ref())?;
    if let Some(failure) = failure {
        warn!(target: "tarpit::records", failure, "no records are kept");
    }
    let desk = match Desk::open(&loaded) {
        Ok(desk) => desk,
        Err(findings) => {
            for finding in findings.lines() {
                error!(target: "tarpit::run", finding, "can't start");
            }
            refuse(line, &findings.to_string())?;
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let dropped = records.as_ref().map(Records::dropped);
    block_on(serve(loaded, desk, dropped, line))
}

/// The records, if any are kept, or else why not.
///
/// # Errors
///
/// A place that the administrator named must be had; the service's own is nice to have.
fn open_records(loaded: &Loaded) -> Result<(Option<Records>, Option<String>), String> {
    let Some(settings) = loaded.records.settings.clone() else {
        return Ok((None, None));
    };
    let (file, is_said) = (settings.file.clone(), settings.is_said);
    match Records::open(settings) {
        Ok(records) => Ok((Some(records), None)),
        Err(error) => {
            let error = format!("records.file: {}: {error}", file.display());
            if is_said {
                Err(error)
            } else {
                Ok((None, Some(error)))
            }
        }
    }
}

/// Tells the predecessor that there is no successor.
fn refuse(line: Option<OwnedFd>, reason: &str) -> anyhow::Result<()> {
    let Some(line) = line else {
        return Ok(());
    };
    block_on(async {
        handover::refuse(line, reason).await;
        Ok(())
    })
}

async fn serve(
    loaded: Loaded,
    desk: Desk,
    records_dropped: Option<Arc<AtomicU64>>,
    line: Option<OwnedFd>,
) -> anyhow::Result<ExitCode> {
    config::system::raise_descriptors();
    // Before anything else, so that no signal meets its default action once we have begun.
    let mut end = EndSignals::new()?;
    let signals = ChangeSignals::new()?;
    let program = Program::own()?;
    let version = env!("CARGO_PKG_VERSION");
    info!(target: "tarpit::run", version, config = %loaded.file.display(), successor = line.is_some(), "starting");
    say_warnings(&desk.seen(&loaded));
    if config::system::is_root() {
        warn!(target: "tarpit::run", "{ROOT}");
    }
    let doors = loaded.gateway.listeners.len();
    let takes_over = line.is_some();
    let manager = Arc::new(Manager::new(takes_over));
    let started = tokio::select! {
        started = start(desk.config(&loaded), line) => started,
        () = end.next() => return Ok(ExitCode::SUCCESS),
    };
    let (gateway, is_known) = match started {
        Ok(started) => started,
        Err(code) => return Ok(code),
    };
    if let Some(dropped) = records_dropped {
        gateway.handle().show_dropped_records(dropped);
    }
    keeper::start(&gateway.handle(), &loaded);
    let (orders, order_queue) = mpsc::channel(ORDERS_MAX);
    let windows = open_windows(&gateway, &desk, orders, &loaded, takes_over);
    let (window, control) = match windows {
        Ok(windows) => windows,
        Err(error) => {
            error!(target: "tarpit::run", %error, "can't start");
            return Ok(ExitCode::from(UNAVAILABLE));
        }
    };
    // It stays open while the gateway drains, to say so.
    let window = Arc::new(Mutex::new(window));
    let changes = Changes {
        handle: gateway.handle(),
        window: Arc::clone(&window),
        manager: Arc::clone(&manager),
        program,
        loaded: Arc::new(loaded),
        desk,
        orders: order_queue,
    };
    let mut changes = tokio::spawn(changes.attend(signals));
    tokio::select! {
        () = end.next() => {}
        () = attend(&manager, &gateway, doors, is_known) => {}
        handed = &mut changes => {
            // The successor's figures are what counts now, and it waits for the address.
            lock(&window).close();
            drop(control);
            return Ok(leave(&gateway, handed?, &manager, &mut end).await);
        }
    }
    // Waited for: a successor that is about to take over is ended with it.
    changes.abort();
    let handed = changes.await.ok();
    if handed.is_none() {
        manager.stopping();
    }
    gateway.handle().drain();
    let code = drain(&gateway, &manager, &mut end).await;
    if let Some(handed) = handed {
        handed.finish().await;
    }
    Ok(code)
}

/// The admin listener, and the control socket if it can be had.
fn open_windows(
    gateway: &Gateway,
    desk: &Desk,
    orders: mpsc::Sender<Order>,
    loaded: &Loaded,
    takes_over: bool,
) -> anyhow::Result<(Window, Option<Control>)> {
    let handle = gateway.handle();
    desk.show(loaded, &handle);
    let window = Window::open(&handle, loaded.admin.clone(), takes_over)?;
    let office = Office {
        handle,
        orders,
        rule: desk.rule(),
        config: absolute(&loaded.file),
        version: env!("CARGO_PKG_VERSION"),
    };
    let control = open_control(office, loaded, takes_over)?;
    Ok((window, control))
}

/// Keeps the service manager informed, once it knows us.
async fn attend(manager: &Manager, gateway: &Gateway, doors: usize, is_known: Known) {
    if let Some(is_known) = is_known {
        // An error: the predecessor ended before it could tell; then we do it.
        let _ = is_known.await;
    }
    manager.attend(gateway, doors).await;
}

/// Resolves when a predecessor has told the service manager which process is the main one now.
type Known = Option<oneshot::Receiver<()>>;

/// Starts, in the place of a predecessor if there is a line to one. The exit code if that can't be.
async fn start(config: Config, line: Option<OwnedFd>) -> Result<(Gateway, Known), ExitCode> {
    let failed =
        |error: &dyn std::fmt::Display| error!(target: "tarpit::run", %error, "can't start");
    let Some(line) = line else {
        return match Gateway::start(config).await {
            Ok(gateway) => Ok((gateway, None)),
            Err(error) => {
                failed(&error);
                Err(exit_code(&error))
            }
        };
    };
    let mut estate = Estate::receive(line).await.map_err(|error| {
        failed(&error);
        ExitCode::from(UNAVAILABLE)
    })?;
    match Gateway::succeed(config, &mut estate).await {
        Ok(gateway) => {
            let rest = gateway.handle();
            let (known, is_known) = oneshot::channel();
            tokio::spawn(async move { rest.attend(estate, known).await });
            Ok((gateway, Some(is_known)))
        }
        Err(error) => {
            failed(&error);
            estate.refuse(&error.to_string()).await;
            Err(exit_code(&error))
        }
    }
}

/// A successor serves: what is left here ends.
async fn leave(
    gateway: &Gateway,
    handed: Handed,
    manager: &Manager,
    end: &mut EndSignals,
) -> ExitCode {
    // The manager is told to end all processes of the unit: then this is the first of two signals.
    let told = tokio::select! {
        () = gateway.leave() => false,
        () = end.next() => true,
    };
    if told {
        gateway.handle().drain();
    }
    let code = drain(gateway, manager, end).await;
    handed.finish().await;
    code
}

/// Waits for the sessions, until told again to end.
async fn drain(gateway: &Gateway, manager: &Manager, end: &mut EndSignals) -> ExitCode {
    let handle = gateway.handle();
    tokio::select! {
        () = gateway.wait() => ExitCode::SUCCESS,
        // Never ends by itself.
        () = manager.drain(&handle) => ExitCode::FAILURE,
        () = end.next() => {
            let sessions = handle.sessions();
            warn!(target: "tarpit::run", sessions, "told to end again: not waiting for sessions that still run");
            ExitCode::FAILURE
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
        | StartError::Predecessor(_)
        | StartError::Relays { .. } => ExitCode::from(UNAVAILABLE),
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
