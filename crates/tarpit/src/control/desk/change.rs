//! What commands ask for, one by one: the mode, a trial, exemptions.
//!
//! Each is done whole or not at all, and kept before it is said to be done: who hears that finds it so
//! after a restart too, or was warned.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use tarpit_admin::api::{Done, NewExemption, Refusal, SetMode};
use tarpit_admin::control::{Change, Refused};
use tarpit_core::policy::Mode;
use tarpit_gateway::Handle;
use tarpit_gateway::config::Exemption;
use toml::de::DeValue;
use tracing::info;

use super::super::kept::{KeptMode, show_moment};
use super::super::trial::{Outcome, Trial};
use super::{Desk, standing};
use crate::config::{self, Loaded};

/// The longest trial, and the longest patience in one: a week.
const TRIAL_MAX: u64 = 7 * 86_400;

/// Patience in a trial that names none.
const TRIP_USUAL: u64 = 30;

/// Exemptions made by command, at most: each new session looks through all of them.
const EXEMPTIONS_MAX: usize = 1000;

impl Desk {
    /// Does what was asked for, but for reloads.
    pub(crate) async fn change(
        &mut self,
        what: Change,
        loaded: &Loaded,
        handle: &Handle,
    ) -> Result<Done, Refused> {
        let (text, warning) = match what {
            Change::Mode(mode) => self.change_mode(mode, loaded, handle).await?,
            Change::Confirm => {
                // What ends it may have come since the last look; then it is not kept.
                self.look(loaded, handle).await;
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

    async fn change_mode(
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
        // Nobody who is to be let go waits for the disk.
        self.mode = found.and_then(|mode| standing(mode, loaded));
        self.put_in_force(loaded, handle).await;
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
        let configured = loaded.mode();
        // Whatever ends the process, it comes back in observe. Before anything changes: a trial that
        // runs goes on if this one can't be.
        let kept = self.kept.keep_mode(Some(KeptMode {
            mode: Mode::Observe,
            configured,
            trial: true,
        }));
        let warning = match kept {
            Ok(()) => None,
            Err(error) if self.after_a_restart(configured) == Mode::Enforce => {
                return Err(failed(format!(
                    "nothing has changed, since a restart in the trial would not come back in observe: {error}"
                )));
            }
            Err(error) => Some(format!("a restart will not know of the trial: {error}")),
        };
        self.end_trial(Outcome::BrokenOff, Mode::Enforce, handle);
        self.mode = Some((Mode::Observe, configured)).filter(|_| configured != Mode::Observe);
        self.looked = Instant::now();
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

    /// The mode that a process would find which starts now.
    fn after_a_restart(&self, configured: Mode) -> Mode {
        match self.kept.mode() {
            Ok(Some(kept)) if kept.configured == configured => kept.mode,
            Ok(_) => configured,
            Err(_) => configured.min(Mode::Observe),
        }
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
        if new.until.is_some_and(|until| show_moment(until).is_none()) {
            return Err(wrong(
                "until: allowed: seconds since 1970, before the year 10000",
            ));
        }
        let mut list = self.written()?;
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
        let mut list = self.written()?;
        let is_it = |one: &Exemption| one.network == network;
        let is_there = list.iter().chain(&self.exempt).any(is_it);
        list.retain(|one| one.network != network);
        let is_configured = loaded
            .gateway
            .exempt
            .iter()
            .any(|one| one.network == network);
        if !is_there {
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

    /// The exemptions of the file: of somebody who edits it, nothing is lost. What is broken stays as
    /// it is.
    fn written(&self) -> Result<Vec<Exemption>, Refused> {
        self.kept.exemptions().map_err(|findings| {
            Refused::Failed(Refusal {
                error: "the file of the exemptions is broken; nothing has changed".to_owned(),
                findings: findings.lines().collect(),
            })
        })
    }

    fn keep_exempt(&mut self, list: Vec<Exemption>) -> Result<(), Refused> {
        self.kept
            .keep_exemptions(&list)
            .map_err(|error| failed(format!("nothing has changed: {error}")))?;
        self.exempt = list;
        Ok(())
    }
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
