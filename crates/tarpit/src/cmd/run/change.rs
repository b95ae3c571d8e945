//! Reloads, upgrades and what commands ask for, one after the other, in a task of their own: one may wait for the
//! upstream, and a signal to end must not wait for that.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tarpit_admin::control::{self, Order};
use tarpit_gateway::Handle;
use tarpit_gateway::handover::{self, FrontSocket, HandOverError, Handed, Request, Steps};
use tarpit_gateway::runtime::Runtime;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::reload::{Why, reload};
use super::window::Window;
use crate::config::Loaded;
use crate::control::Desk;
use crate::notify::Manager;
use crate::signals::{Change, ChangeSignals};
use crate::successor::Program;

const NOT_UPGRADED: &str = "not upgraded: the old process goes on, see the log";

/// What a change needs.
pub(super) struct Changes {
    pub(super) handle: Handle,
    pub(super) window: Arc<Mutex<Window>>,
    pub(super) manager: Arc<Manager>,
    pub(super) program: Program,
    /// The configuration in force.
    pub(super) loaded: Arc<Loaded>,
    /// What was set by command.
    pub(super) desk: Desk,
    /// What commands ask for.
    pub(super) orders: mpsc::Receiver<Order>,
}

impl Changes {
    /// Does what signals and `tarpit upgrade` ask for, until a successor serves.
    pub(super) async fn attend(mut self, mut signals: ChangeSignals) -> Handed {
        let mut socket = self.front_socket();
        loop {
            let (change, request) = tokio::select! {
                change = signals.next() => (change, None),
                request = next(socket.as_mut()) => (Change::Upgrade, Some(request)),
                Some(order) = self.orders.recv() => {
                    self.follow(order).await;
                    continue;
                }
                () = self.desk.look_due() => {
                    self.desk.look(&self.loaded, &self.handle).await;
                    continue;
                }
            };
            if change == Change::Reload && !self.program.is_replaced() {
                // What came of it is in the log.
                let _ = self.reload().await;
            } else if let Some(handed) = self.upgrade(change, request).await {
                self.desk.leave(&self.handle);
                return handed;
            }
        }
    }

    /// Mail is more important than a socket for changes: without, there are signals.
    fn front_socket(&self) -> Option<FrontSocket> {
        let runtime = match Runtime::open(self.loaded.runtime_directory()) {
            Ok(runtime) => runtime,
            Err(error) => {
                warn!(target: "tarpit::run", %error, "`tarpit upgrade` will not find this process");
                return None;
            }
        };
        if runtime.is_fresh() {
            info!(target: "tarpit::run", directory = %runtime.path().display(), "no usual runtime directory can be used, this one was made");
        }
        FrontSocket::open(&runtime, &self.loaded.file)
            .inspect_err(|error| {
                let directory = runtime.path().display();
                warn!(target: "tarpit::run", %error, %directory, "`tarpit upgrade` will not find this process");
            })
            .ok()
    }

    /// Sessions that come during a reload make one more.
    async fn reload(&mut self) -> Result<(), Why> {
        self.manager.reloading();
        let reloaded = reload(&self.handle, &self.loaded, &mut self.desk, &self.window).await;
        let (outcome, came) = match reloaded {
            Ok(new) => {
                self.loaded = Arc::new(new);
                ("reloaded", Ok(()))
            }
            Err(why) => {
                self.handle.note_reload_failed();
                let outcome = "not reloaded: the old configuration stays in force, see the log";
                (outcome, Err(why))
            }
        };
        self.manager.reloaded(outcome);
        came
    }

    /// Does what a command asks for. Whoever asked may be gone; it is done all the same.
    async fn follow(&mut self, order: Order) {
        let Order { what, user, answer } = order;
        info!(target: "tarpit::control", user, ?what, "a command asks for a change");
        let outcome = match what {
            control::Change::Reload => match self.reload().await {
                Ok(()) => {
                    let text = "the configuration was read again and is in force".to_owned();
                    Ok(self.desk.done(text, None))
                }
                Err(why) => Err(why.told()),
            },
            what => self.desk.change(what, &self.loaded, &self.handle).await,
        };
        let _ = answer.send(outcome);
    }

    /// Starts a successor, and gives it everything.
    async fn upgrade(&self, change: Change, request: Option<Request>) -> Option<Handed> {
        if change == Change::Reload {
            info!(target: "tarpit::upgrade", "the program was replaced: SIGHUP is an upgrade");
            self.manager.reloading();
        }
        let outcome = self.succeed().await;
        let answer = match &outcome {
            Ok((_, process)) => Ok(*process),
            Err(failure) => {
                let failure = format!("{failure:#}");
                for line in failure.lines() {
                    error!(target: "tarpit::upgrade", reason = line, "not upgraded: this process goes on");
                }
                if change == Change::Reload {
                    self.manager.reloaded(NOT_UPGRADED);
                }
                Err(failure)
            }
        };
        if let Some(request) = request {
            request.answer(answer).await;
        }
        outcome.ok().map(|(handed, _)| handed)
    }

    async fn succeed(&self) -> anyhow::Result<(Handed, u32)> {
        let (ours, theirs) = handover::pair().context("can't make a line to a successor")?;
        let (program, config) = (self.program.clone(), self.loaded.file.clone());
        // It reads a file of many megabytes.
        let started = tokio::task::spawn_blocking(move || program.start(&config, theirs));
        let successor = started.await??;
        let process = successor.process();
        info!(target: "tarpit::upgrade", process, "successor started");
        let steps = Steps {
            serves: || successor.note_serving(),
            make_main: || self.manager.hand_over_to(process),
        };
        match self.handle.hand_over(ours, steps).await {
            Ok(handed) => {
                successor.keep();
                Ok((handed, process))
            }
            Err(failure) => {
                let is_ending = matches!(failure, HandOverError::Ended);
                let ended = tokio::task::spawn_blocking(move || successor.end(is_ending)).await?;
                let failure = anyhow::Error::new(failure);
                Err(match ended {
                    Some(status) => failure.context(format!("the successor ended ({status})")),
                    None => failure,
                })
            }
        }
    }
}

async fn next(socket: Option<&mut FrontSocket>) -> Request {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}
