//! The desk: what was set by command, in one place, and what follows from it for the gateway.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use tarpit_admin::api::{self, Done, NewExemption, Refusal, Rule, SetMode};
use tarpit_admin::control::{Change, Refused};
use tarpit_core::policy::Mode;
use tarpit_gateway::config::{Config, Exemption};
use tarpit_gateway::{Adjustment, Handle};
use tokio::sync::watch;
use toml::de::DeValue;
use tracing::{error, info, warn};

use super::kept::{Kept, KeptMode};
use super::seen::modes;
use super::trial::{Outcome, Trial};
use crate::config::{self, Findings, Loaded};

/// The longest trial, and the longest patience in one: a week.
const TRIAL_MAX: u64 = 7 * 86_400;

/// Patience in a trial that names none.
const TRIP_USUAL: u64 = 30;

/// Exemptions made by command, at most: each new session looks through all of them.
const EXEMPTIONS_MAX: usize = 1000;

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
            verdict: None,
            rule: watch::Sender::default(),
        };
        if let Some(kept) = mode.filter(|kept| kept.configured == configured) {
            let mode = kept.mode.as_str();
            desk.mode = Some((kept.mode, configured)).filter(|_| kept.mode != configured);
            if kept.trial {
                // Said once.
                let _ = desk.set(Some(kept.mode), loaded);
                warn!(target: "tarpit::control", mode, "a trial was cut short by the end of the process");
            } else {
                info!(target: "tarpit::control", mode, configured = configured.as_str(), "the mode is as it was set by command");
            }
        }
        Ok(desk)
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
            info!(target: "tarpit::control", mode = new.mode().as_str(), "the configuration has another mode than before: it holds, and not the one that was set by command");
            if let Err(error) = self.kept.keep_mode(None) {
                warn!(target: "tarpit::control", %error, "the mode that was set by command can't be taken away");
            }
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

    /// Resolves when the trial is to be looked at; never without one.
    pub(crate) async fn look_due(&self) {
        match self.trial {
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
            None => std::future::pending().await,
        }
    }

    /// Looks at the trial, and ends it if it is to end.
    pub(crate) async fn look(&mut self, loaded: &Loaded, handle: &Handle) {
        let Some((trial, began)) = &self.trial else {
            return;
        };
        if let Some(outcome) = trial.judge(began.elapsed(), &handle.harm()) {
            self.end_trial(outcome, Mode::Observe, handle);
            self.set(Some(Mode::Observe), loaded);
            self.put_in_force(loaded, handle).await;
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

    /// Sets the mode, and keeps it; what the configuration says needs no file.
    fn set(&mut self, mode: Option<Mode>, loaded: &Loaded) -> Option<String> {
        let configured = loaded.mode();
        let mode = mode.filter(|mode| *mode != configured);
        self.mode = mode.map(|mode| (mode, configured));
        let kept = mode.map(|mode| KeptMode {
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

    /// Does what was asked for, but for reloads.
    pub(crate) async fn change(
        &mut self,
        what: Change,
        loaded: &Loaded,
        handle: &Handle,
    ) -> Result<Done, Refused> {
        let (text, warning) = match what {
            Change::Mode(mode) => self.change_mode(mode, loaded, handle)?,
            Change::Confirm => {
                if self.trial.is_none() {
                    return Err(conflict("no trial runs"));
                }
                self.end_trial(Outcome::Confirmed, Mode::Enforce, handle);
                let warning = self.set(Some(Mode::Enforce), loaded);
                ("the mode stays enforce".to_owned(), warning)
            }
            Change::Exempt(new) => (self.exempt(&new, handle)?, None),
            Change::Unexempt(network) => (self.unexempt(&network, loaded)?, None),
            Change::Reload => return Err(conflict("a reload is no change of the desk's")),
        };
        self.put_in_force(loaded, handle).await;
        info!(target: "tarpit::control", outcome = text, "changed by command");
        Ok(self.done(text, warning))
    }

    /// What is told of a change that was made.
    pub(crate) fn done(&self, text: String, warning: Option<String>) -> Done {
        Done {
            text,
            warnings: warning.into_iter().collect(),
            rule: self.rule.borrow().clone(),
        }
    }

    fn change_mode(
        &mut self,
        asked: SetMode,
        loaded: &Loaded,
        handle: &Handle,
    ) -> Result<(String, Option<String>), Refused> {
        let SetMode {
            mode,
            for_seconds,
            trip_seconds,
        } = asked;
        let found = Mode::ALL.into_iter().find(|one| one.as_str() == mode);
        if found.is_none() && mode != "configured" {
            return Err(wrong(format!(
                "found {mode:?}; allowed: off, observe, enforce, or configured"
            )));
        }
        if let Some(length) = for_seconds {
            if found != Some(Mode::Enforce) {
                return Err(wrong("only enforce is tried for a while"));
            }
            return self.begin_trial(length, trip_seconds, loaded, handle);
        }
        if trip_seconds.is_some() {
            return Err(wrong(
                "trip_seconds belong to a trial, which has for_seconds",
            ));
        }
        let now = found.unwrap_or_else(|| loaded.mode());
        self.end_trial(Outcome::BrokenOff, now, handle);
        let warning = self.set(found, loaded);
        let set_by = if self.mode.is_some() {
            "by command"
        } else {
            "as the configuration says"
        };
        Ok((format!("the mode is {}, {set_by}", now.as_str()), warning))
    }

    fn begin_trial(
        &mut self,
        length: u64,
        trip: Option<u64>,
        loaded: &Loaded,
        handle: &Handle,
    ) -> Result<(String, Option<String>), Refused> {
        let trip = trip.unwrap_or(TRIP_USUAL);
        if !(1..=TRIAL_MAX).contains(&length) || trip > TRIAL_MAX {
            return Err(wrong(format!(
                "a trial lasts 1 s to {TRIAL_MAX} s, and so does its patience"
            )));
        }
        self.end_trial(Outcome::BrokenOff, Mode::Enforce, handle);
        let configured = loaded.mode();
        // Whatever ends the process, it comes back in observe.
        let kept = self.kept.keep_mode(Some(KeptMode {
            mode: Mode::Observe,
            configured,
            trial: true,
        }));
        let warning = match kept {
            Ok(()) => None,
            Err(error) if configured == Mode::Enforce => {
                let why = format!("a restart would not come back in observe: {error}");
                return Err(failed(why));
            }
            Err(error) => Some(format!("a restart will not know of the trial: {error}")),
        };
        self.mode = Some((Mode::Observe, configured)).filter(|_| configured != Mode::Observe);
        let (now, harm) = (handle.unix_now(), handle.harm());
        let spans = [length, trip].map(Duration::from_secs);
        let trial = Trial::new(now, spans[0], spans[1], &harm);
        self.trial = Some((trial, Instant::now()));
        let text = format!(
            "the mode is enforce for {length} s; it goes back to observe then, or when sources whose mail was accepted \
             have waited {trip} s in all, or when one of them hangs up in a hold"
        );
        Ok((text, warning))
    }

    fn exempt(&mut self, new: &NewExemption, handle: &Handle) -> Result<String, Refused> {
        let network = network(&new.network)?;
        let reason = config::sentence(&DeValue::String(new.reason.as_str().into()));
        let reason = reason.map_err(|refused| {
            wrong(format!(
                "reason: found {}; allowed: 1 to 200 characters of text",
                refused.found
            ))
        })?;
        if new.until.is_some_and(|until| until <= handle.unix_now()) {
            return Err(wrong("its end has passed already"));
        }
        let mut list = self.exempt.clone();
        list.retain(|one| one.network != network);
        if list.len() >= EXEMPTIONS_MAX {
            return Err(conflict(format!(
                "there are {EXEMPTIONS_MAX} exemptions by command; take some away, or write networks into the configuration"
            )));
        }
        list.push(Exemption {
            network,
            reason,
            until: new.until,
        });
        self.keep_exempt(list)?;
        Ok(format!(
            "{network} is exempt: its sessions from now on never wait"
        ))
    }

    fn unexempt(&mut self, text: &str, loaded: &Loaded) -> Result<String, Refused> {
        let network = network(text)?;
        let mut list = self.exempt.clone();
        list.retain(|one| one.network != network);
        let is_configured = loaded
            .gateway
            .exempt
            .iter()
            .any(|one| one.network == network);
        if list.len() == self.exempt.len() {
            return Err(conflict(if is_configured {
                format!("{network} is exempt by the configuration; take it away there")
            } else {
                format!("{network} is not exempt; `tarpit exempt list` shows what is")
            }));
        }
        self.keep_exempt(list)?;
        Ok(if is_configured {
            format!("{network} is exempt by the configuration alone now")
        } else {
            format!("{network} is exempt no more")
        })
    }

    fn keep_exempt(&mut self, list: Vec<Exemption>) -> Result<(), Refused> {
        // Of somebody who edits the file, nothing is lost.
        if let Err(findings) = self.kept.exemptions() {
            return Err(Refused::Failed(Refusal {
                error: "the file of the exemptions is broken; nothing has changed".to_owned(),
                findings: findings.lines().collect(),
            }));
        }
        self.kept
            .keep_exemptions(&list)
            .map_err(|error| failed(format!("nothing has changed: {error}")))?;
        self.exempt = list;
        Ok(())
    }
}

/// What a reload changes at the desk.
pub(crate) struct Reloaded {
    exempt: Vec<Exemption>,
    mode: Option<(Mode, Mode)>,
    trial_stays: bool,
    /// For the gateway.
    pub(crate) config: Config,
}

fn network(text: &str) -> Result<IpNet, Refused> {
    config::network(&DeValue::String(text.into())).map_err(|refused| {
        let hint = refused.hint.map(|hint| format!(" ({hint})"));
        wrong(format!(
            "found {}{}; allowed: an IP address or a network, such as 203.0.113.0/24",
            refused.found,
            hint.unwrap_or_default()
        ))
    })
}

fn refusal(error: impl Into<String>) -> Refusal {
    Refusal {
        error: error.into(),
        findings: Vec::new(),
    }
}

fn wrong(error: impl Into<String>) -> Refused {
    Refused::Wrong(refusal(error))
}

fn conflict(error: impl Into<String>) -> Refused {
    Refused::Conflict(refusal(error))
}

fn failed(error: impl Into<String>) -> Refused {
    Refused::Failed(refusal(error))
}
