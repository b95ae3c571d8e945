//! What a client is offered, and what of it MAIL and RCPT may use: only what this session's EHLO
//! announced (RFC 5321 §4.1.1.11), within the limits that were announced with it.

use tarpit_smtp::{ByMode, Capabilities, Extensions, Hold, MailParams, Offer, ReversePath};

use super::{Env, Session};
use crate::answer::Finding;
use crate::door::Kind;

impl Session {
    /// What EHLO announces to this client now.
    pub(super) fn offer(&self, env: &Env<'_>) -> Capabilities {
        env.capabilities.restricted(&Offer {
            starttls: env.door.starttls && !self.secured,
            auth: self.may_auth(env),
            require_tls: self.secured && env.door.upstream_secure,
            size_max: env.door.size_max,
            recipients_max: env.policy.recipients_max,
            xclient: env.door.xclient,
            secured: self.secured,
        })
    }

    /// Passwords go over TLS, unless the operator decided otherwise.
    pub(super) const fn may_auth(&self, env: &Env<'_>) -> bool {
        self.secured || env.door.auth_plain
    }

    /// RFC 6409 §4.3: a submission server takes mail of those it knows. In every mode, and free:
    /// it is no abuse, but a setting that is missing.
    pub(super) fn needs_auth(&self, env: &Env<'_>) -> bool {
        env.door.kind == Kind::Submission && !self.authenticated
    }

    /// The largest message, in octets: the smaller of ours and the upstream's.
    pub(super) fn size_limit(&self, env: &Env<'_>) -> Option<u64> {
        // RFC 1870 §6.1: 0 states no limit.
        let limits = [env.capabilities.size, Some(env.door.size_max)];
        limits
            .into_iter()
            .flatten()
            .filter(|limit| *limit > 0)
            .min()
    }

    /// Recipients of one transaction: the smaller of ours and the upstream's (RFC 9422 §4.2).
    pub(super) fn recipients_limit(env: &Env<'_>) -> u32 {
        let upstream = env.capabilities.limits.rcpt_max.unwrap_or(u32::MAX);
        env.policy.recipients_max.min(upstream)
    }

    /// Why MAIL can't be taken, if so.
    pub(super) fn mail_refusal(
        &self,
        path: &ReversePath<'_>,
        params: &MailParams<'_>,
        env: &Env<'_>,
    ) -> Option<Finding> {
        if params.require_tls && !self.secured && env.capabilities.require_tls {
            return Some(Finding::RequireTlsNeedsTls);
        }
        if let Some(finding) = self.not_announced(params.uses()) {
            return Some(finding);
        }
        if !path.is_ascii() && !params.smtputf8 {
            return Some(Finding::NonAsciiSender);
        }
        let over = |size| self.size_limit(env).is_some_and(|limit| size > limit);
        if params.size.is_some_and(over) {
            return Some(Finding::TooLarge);
        }
        limits_refusal(params, env.capabilities)
    }

    /// A parameter of an extension that this session's EHLO did not announce; after HELO, any.
    pub(super) fn not_announced(&self, uses: Extensions) -> Option<Finding> {
        (!self.announced.contains_all(uses)).then_some(Finding::UnknownParameter)
    }
}

/// Times within what was announced.
fn limits_refusal(params: &MailParams<'_>, offered: &Capabilities) -> Option<Finding> {
    // RFC 2852 §3: the minimum is for the by-mode R alone; 0 states none.
    if let (Some(by), Some(least)) = (params.by, offered.deliver_by)
        && by.mode == ByMode::Return
        && i64::from(by.seconds) < i64::from(least)
    {
        return Some(Finding::ByTooSoon);
    }
    // RFC 4865 §4.
    let limits = offered.future_release.as_ref()?;
    let too_far = match params.hold? {
        Hold::For(seconds) => seconds > limits.interval_max,
        Hold::Until(time) => is_later(time, &limits.until_max),
    };
    too_far.then_some(Finding::HoldTooLong)
}

/// Whether one time of RFC 3339 is certainly after another. In other forms than the usual one the
/// upstream judges it.
fn is_later(time: &str, most: &str) -> bool {
    let usual = "2026-01-31T23:59:59Z".len();
    let is_usual = |time: &str| time.len() == usual && time.ends_with(['Z', 'z']);
    is_usual(time) && is_usual(most) && time.to_ascii_uppercase() > most.to_ascii_uppercase()
}
