//! What the service manager gets to hear: `sd_notify(3)`, for `Type=notify-reload`.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is said, and nothing else changes. We are
//! *ready* when every listener of the configuration is bound, not when the process is up: the
//! unit's `ExecStartPost=` may send the mail of the whole machine to us then. Where a listener
//! stays shut, since the upstream would relay for us, the start is not finished and the manager
//! says so.
//!
//! A watchdog fed from a timer was rejected: it shows that a timer runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tarpit_gateway::{Gateway, Handle};
use tracing::warn;

/// How often the listeners are looked at until all are bound. Nobody wakes us for that; a quarter
/// of a second is nothing beside a start.
const DOORS_EVERY: Duration = Duration::from_millis(250);

/// How often the status line is renewed: often enough for who looks, too seldom to cost.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// While we drain, the manager is asked for this much more time, again every [`STATUS_EVERY`]: a
/// session that waits for the reply to end-of-data may wait for half an hour, and is not to be
/// killed at `TimeoutStopSec=`.
const STOP_EXTENSION: Duration = Duration::from_secs(30);

/// The line to the service manager.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    is_ready: AtomicBool,
    is_deaf: AtomicBool,
    /// We took over: the manager may think that the predecessor is the main process.
    is_successor: bool,
    /// A successor is the main process: the manager's unit is no longer ours to speak for.
    is_succeeded: AtomicBool,
}

impl Manager {
    /// `is_successor`: for a process that takes over from another.
    pub(crate) fn new(is_successor: bool) -> Self {
        Self {
            is_successor,
            ..Self::default()
        }
    }

    /// Says that we are ready once all `doors` listeners are bound, then keeps the status line
    /// current. Never ends.
    pub(crate) async fn attend(&self, gateway: &Gateway, doors: usize) {
        let handle = gateway.handle();
        let mut last = String::new();
        loop {
            let open = gateway.addresses();
            if open.len() >= doors && !self.is_ready.swap(true, Ordering::AcqRel) {
                self.ready();
            }
            let is_ready = self.is_ready.load(Ordering::Acquire);
            let status = if is_ready {
                format!("serving; {} sessions", handle.sessions())
            } else {
                format!(
                    "not ready: {} of {doors} listeners open, see the log",
                    open.len()
                )
            };
            if status != last {
                self.say(&[NotifyState::Status(&status)]);
                last = status;
            }
            let pause = if is_ready { STATUS_EVERY } else { DOORS_EVERY };
            tokio::time::sleep(pause).await;
        }
    }

    /// A predecessor that runs under systemd has named us before this; where it could not, we do.
    fn ready(&self) {
        if self.is_successor {
            let main = NotifyState::MainPid(std::process::id());
            self.say(&[main, NotifyState::Ready]);
        } else {
            self.say(&[NotifyState::Ready]);
        }
    }

    /// A successor serves, with this process id. Said by us, since the manager believes the main
    /// process alone, unless the unit has `NotifyAccess=all`.
    pub(crate) fn hand_over_to(&self, process: u32) {
        self.say(&[NotifyState::MainPid(process)]);
        self.is_succeeded.store(true, Ordering::Release);
    }

    /// A reload begins. Nothing before we are ready: the manager would take its end for our start.
    pub(crate) fn reloading(&self) {
        if !self.is_ready.load(Ordering::Acquire) {
            return;
        }
        // sd_notify(3): without the time, systemd can't tell this reload from an older one, and
        // waits until its limit.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now]),
            Err(error) => self.failed(&error),
        }
    }

    /// A reload is over, whatever came of it.
    pub(crate) fn reloaded(&self, outcome: &str) {
        if self.is_ready.load(Ordering::Acquire) {
            self.say(&[NotifyState::Ready, NotifyState::Status(outcome)]);
        }
    }

    /// We begin to drain.
    pub(crate) fn stopping(&self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// While we drain: asks for time as long as it takes. Never ends.
    pub(crate) async fn drain(&self, handle: &Handle) {
        loop {
            let status = format!("draining; {} sessions left", handle.sessions());
            let extension = u32::try_from(STOP_EXTENSION.as_micros()).unwrap_or(u32::MAX);
            let extension = NotifyState::ExtendTimeoutUsec(extension);
            if self.is_succeeded.load(Ordering::Acquire) {
                // The status line is the successor's. The time counts if the manager stops the unit.
                self.say(&[extension]);
            } else {
                self.say(&[NotifyState::Status(&status), extension]);
            }
            tokio::time::sleep(STATUS_EVERY).await;
        }
    }

    fn say(&self, words: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(words) {
            self.failed(&error);
        }
    }

    /// Mail is more important than a status line: said once, and no reason to end.
    fn failed(&self, error: &std::io::Error) {
        if !self.is_deaf.swap(true, Ordering::AcqRel) {
            warn!(target: "tarpit::run", %error, "can't tell the service manager how we are");
        }
    }
}
