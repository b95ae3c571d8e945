//! The desk: what was set by command, in one place, and what follows from it for the gateway.

mod change;

use std::pin::pin;
use std::time::{Duration, Instant};

use tarpit_admin::api::{self, Rule};
use tarpit_core::policy::Mode;
use tarpit_gateway::config::{Config, Exemption};
use tarpit_gateway::{Adjustment, Handle};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::kept::{Kept, KeptMode};
use super::seen::{makes_a_difference, modes};
use super::trial::{Outcome, Trial};
use crate::config::{Findings, Loaded};

/// How often a trial is looked at: a hold is longer than this.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What was set by command.
#[derive(Debug)]
pub(crate) struct Desk {
    kept: Kept,
    exempt: Vec<Exemption>,
    /// The mode that was set, and what the configuration said then.
    mode: Option<(Mode, Mode)>,
    /// What the configuration says.
    configured: Mode,
    trial: Option<(Trial, Instant)>,
    /// When the trial was looked at.
    looked: Instant,
    verdict: Option<api::Verdict>,
    rule: watch::Sender<Rule>,
}

impl Desk {
    /// What was kept. A mode that can't be read gives the laxer of `observe` and the configuration:
    /// somebody may have turned the pit off.
    ///
    /// # Errors
    ///
    /// The exemptions can't be read: those who are exempt must not be held.
    pub(crate) fn open(loaded: &Loaded) -> Result<Self, Findings> {
        let kept = Kept::of(loaded);
        let exempt = kept.exemptions()?;
        let configured = loaded.mode();
        let mode = match kept.mode() {
            Ok(found) => found,
            Err(error) => {
                let mode = configured.min(Mode::Observe);
                error!(target: "tarpit::control", error, mode = mode.as_str(), "the mode that was set by command can't be read");
                Some(KeptMode {
                    mode,
                    configured,
                    trial: false,
                })
            }
        };
        let mut desk = Self {
            kept,
            exempt,
            mode: None,
            configured,
            trial: None,
            looked: Instant::now(),
            verdict: None,
            rule: watch::Sender::default(),
        };
        match mode {
            Some(kept) if kept.configured == configured => desk.take_up(kept, loaded),
            Some(_) => desk.drop_kept_mode(configured),
            None => {}
        }
        Ok(desk)
    }

    /// A mode that was kept.
    fn take_up(&mut self, kept: KeptMode, loaded: &Loaded) {
        let (mode, configured) = (kept.mode.as_str(), kept.configured.as_str());
        if kept.trial {
            // Said once.
            let _ = self.set(Some(kept.mode), loaded);
            warn!(target: "tarpit::control", mode, "a trial was cut short by the end of the process");
        } else {
            let stands = makes_a_difference(kept.mode, loaded);
            self.mode = stands.then_some((kept.mode, kept.configured));
            info!(target: "tarpit::control", mode, configured, "the mode is as it was set by command");
        }
    }

    /// A mode that was set under another configuration. It must not come back when the file says some
    /// day what it said then.
    fn drop_kept_mode(&self, configured: Mode) {
        info!(target: "tarpit::control", mode = configured.as_str(), "the configuration has another mode than before: it holds, and not the one that was set by command");
        if let Err(error) = self.kept.keep_mode(None) {
            warn!(target: "tarpit::control", %error, "the mode that was set by command can't be taken away");
        }
    }

    /// What holds, for who looks.
    pub(crate) fn rule(&self) -> watch::Receiver<Rule> {
        self.rule.subscribe()
    }

    /// The configuration with what was set by command.
    pub(crate) fn config(&self, loaded: &Loaded) -> Config {
        let Adjustment { modes, exempt } = self.adjustment(loaded);
        let mut config = loaded.gateway.clone();
        for (listener, (_, mode)) in config.listeners.iter_mut().zip(modes) {
            listener.policy.mode = mode;
        }
        config.exempt = exempt;
        config
    }

    /// What was loaded, with the modes and exemptions that hold: for warnings.
    pub(crate) fn seen(&self, loaded: &Loaded) -> Loaded {
        let mut seen = loaded.clone();
        seen.gateway = self.config(loaded);
        seen
    }

    /// What was set by command, and the rest from the configuration.
    fn adjustment(&self, loaded: &Loaded) -> Adjustment {
        let names = loaded.gateway.listeners.iter();
        let names = names.map(|listener| listener.name.clone());
        Adjustment {
            modes: names.zip(modes(loaded, self.mode_now())).collect(),
            exempt: [&*loaded.gateway.exempt, &*self.exempt].concat(),
        }
    }

    fn mode_now(&self) -> Option<Mode> {
        if self.trial.is_some() {
            return Some(Mode::Enforce);
        }
        self.mode.map(|(mode, _)| mode)
    }

    /// A desk for a new configuration: the files are read again, and a mode is dropped if the
    /// configuration says another one than before. Nothing has changed if it is dropped.
    ///
    /// # Errors
    ///
    /// The exemptions can't be read.
    pub(crate) fn for_reload(&self, new: &Loaded) -> Result<Reloaded, Findings> {
        let exempt = self.kept.exemptions()?;
        let configured = new.mode();
        let is_same = |before: Mode| before == configured;
        let mode = self.mode.filter(|(_, before)| is_same(*before));
        let trial_stays = self.configured == configured;
        let config = {
            let desk = Self {
                kept: self.kept.clone(),
                exempt: exempt.clone(),
                mode,
                configured,
                trial: self.trial.clone().filter(|_| trial_stays),
                looked: self.looked,
                verdict: None,
                rule: watch::Sender::default(),
            };
            desk.config(new)
        };
        Ok(Reloaded {
            exempt,
            mode,
            trial_stays,
            config,
        })
    }

    /// The reload is in force.
    pub(crate) fn reloaded(&mut self, reloaded: Reloaded, new: &Loaded, handle: &Handle) {
        self.exempt = reloaded.exempt;
        let was_set = self.mode.is_some() || self.trial.is_some();
        if was_set && self.configured != new.mode() {
            self.drop_kept_mode(new.mode());
        }
        self.mode = reloaded.mode;
        self.configured = new.mode();
        if !reloaded.trial_stays {
            self.end_trial(Outcome::BrokenOff, new.mode(), handle);
        }
        self.show(new, handle);
    }

    /// Publishes what holds.
    pub(crate) fn show(&self, loaded: &Loaded, handle: &Handle) {
        let configured = loaded.mode();
        let mode = self.mode_now().unwrap_or(configured);
        let set_by = match (&self.trial, self.mode) {
            (Some(_), _) => "trial",
            (None, Some(_)) => "command",
            (None, None) => "configuration",
        };
        let trial = self.trial.as_ref();
        let exemptions = self.exempt.iter().map(|one| api::Exemption {
            set_by: "command".to_owned(),
            ..api::Exemption::of(one, handle.unix_now())
        });
        let rule = Rule {
            mode: mode.as_str().to_owned(),
            set_by: set_by.to_owned(),
            configured: configured.as_str().to_owned(),
            trial: trial.map(|(trial, _)| trial.shown(&handle.harm())),
            verdict: self.verdict.clone(),
            exemptions: exemptions.collect(),
        };
        self.rule.send_replace(rule);
        handle.note_trial(trial.is_some());
    }

    /// Resolves when the trial is to be looked at; never without one. However much else is to be done,
    /// that moment comes: it is counted from the last look.
    pub(crate) async fn look_due(&self) {
        match self.trial {
            Some(_) => tokio::time::sleep_until((self.looked + LOOK_EVERY).into()).await,
            None => std::future::pending().await,
        }
    }

    /// Waits for something, and looks at the trial meanwhile. `what` must not change the gateway: what
    /// ends a trial does.
    pub(crate) async fn look_during<T>(
        &mut self,
        what: impl Future<Output = T>,
        loaded: &Loaded,
        handle: &Handle,
    ) -> T {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                () = self.look_due() => self.look(loaded, handle).await,
            }
        }
    }

    /// Looks at the trial, and ends it if it is to end.
    pub(crate) async fn look(&mut self, loaded: &Loaded, handle: &Handle) {
        self.looked = Instant::now();
        let Some((trial, began)) = &self.trial else {
            return;
        };
        if let Some(outcome) = trial.judge(began.elapsed(), &handle.harm()) {
            self.end_trial(outcome, Mode::Observe, handle);
            // Nobody waits for a disk that takes its time: a restart finds nothing stricter already.
            self.mode = standing(Mode::Observe, loaded);
            self.put_in_force(loaded, handle).await;
            self.set(Some(Mode::Observe), loaded);
        } else {
            self.show(loaded, handle);
        }
    }

    /// A successor serves, or the process ends.
    pub(crate) fn leave(&mut self, handle: &Handle) {
        self.end_trial(Outcome::BrokenOff, Mode::Observe, handle);
    }

    fn end_trial(&mut self, outcome: Outcome, mode: Mode, handle: &Handle) {
        let Some((trial, _)) = self.trial.take() else {
            return;
        };
        let verdict = trial.verdict(handle.unix_now(), outcome, mode, &handle.harm());
        let (waited_seconds, hang_ups) = (verdict.waited_seconds, verdict.hang_ups);
        warn!(target: "tarpit::control", outcome = &*verdict.outcome, mode = mode.as_str(), waited_seconds, hang_ups, verdict = &*verdict.text, "trial over");
        self.verdict = Some(verdict);
    }

    /// Sets the mode, and keeps it; what the configuration says everywhere needs no file.
    fn set(&mut self, mode: Option<Mode>, loaded: &Loaded) -> Option<String> {
        self.mode = mode.and_then(|mode| standing(mode, loaded));
        let kept = self.mode.map(|(mode, configured)| KeptMode {
            mode,
            configured,
            trial: false,
        });
        let error = self.kept.keep_mode(kept).err()?;
        warn!(target: "tarpit::control", %error, "the mode can't be kept");
        Some(format!("a restart will not keep the mode: {error}"))
    }

    async fn put_in_force(&self, loaded: &Loaded, handle: &Handle) {
        handle.adjust(self.adjustment(loaded)).await;
        self.show(loaded, handle);
    }
}

/// A mode as it is noted beside what the configuration says, if it is another one.
fn standing(mode: Mode, loaded: &Loaded) -> Option<(Mode, Mode)> {
    makes_a_difference(mode, loaded).then(|| (mode, loaded.mode()))
}

/// What a reload changes at the desk.
pub(crate) struct Reloaded {
    exempt: Vec<Exemption>,
    mode: Option<(Mode, Mode)>,
    trial_stays: bool,
    /// For the gateway.
    pub(crate) config: Config,
}
