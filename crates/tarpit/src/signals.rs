//! The signals that tell the process to end, or to change.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, as service managers send it, and SIGINT, as a terminal does.
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind, name| signal(kind).with_context(|| format!("can't listen for {name}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
        })
    }

    /// The next of either.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What SIGHUP and SIGUSR2 ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// SIGHUP: the configuration again; the program too, if it is another one now.
    Reload,
    /// SIGUSR2: a successor, whatever the program is.
    Upgrade,
}

/// SIGHUP and SIGUSR2. Those that come while one is followed count as one.
pub(crate) struct ChangeSignals {
    hangup: Signal,
    upgrade: Signal,
}

impl ChangeSignals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind, name| signal(kind).with_context(|| format!("can't listen for {name}"));
        Ok(Self {
            hangup: listen(SignalKind::hangup(), "SIGHUP")?,
            upgrade: listen(SignalKind::user_defined2(), "SIGUSR2")?,
        })
    }

    /// The next of either.
    pub(crate) async fn next(&mut self) -> Change {
        tokio::select! {
            _ = self.hangup.recv() => Change::Reload,
            _ = self.upgrade.recv() => Change::Upgrade,
        }
    }
}
