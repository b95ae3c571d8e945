//! What clients are offered: the upstream's capabilities, cut down to what holds on the whole way.

use super::{Capabilities, FutureRelease, Limits};
use crate::names::{Mechanisms, XclientAttribute, XclientAttributes};

/// What the gateway's side of a session adds to, and takes from, the upstream's capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// This session may be upgraded to TLS by STARTTLS.
    pub starttls: bool,
    /// AUTH may be used now (RFC 4954 §4: not over a plain connection unless so configured).
    pub auth: bool,
    /// The upstream leg is verified TLS, as RFC 8689 §4.2.1 wants it.
    pub require_tls: bool,
    /// The largest message that the gateway takes, in octets; 0 for no limit.
    pub size_max: u64,
    /// The most recipients that the gateway takes in a transaction; 0 for no limit.
    pub recipients_max: u32,
    /// The client is trusted to say XCLIENT.
    pub xclient: bool,
    /// The session is encrypted.
    pub secured: bool,
}

impl Offer {
    /// The attributes of XCLIENT that the gateway acts on.
    #[must_use]
    pub fn xclient_attributes() -> XclientAttributes {
        use XclientAttribute::{Addr, DestAddr, DestPort, Helo, Name, Port, Proto};
        [Addr, Port, Helo, Proto, Name, DestAddr, DestPort]
            .into_iter()
            .collect()
    }
}

impl Capabilities {
    /// What the gateway announces where the upstream announces `self`.
    ///
    /// An extension with commands or parameters of its own is announced only if the upstream has it, since a parameter
    /// is never dropped silently. LIMITS has none, and is announced for our own limits too. What is unknown is left out.
    #[must_use]
    pub fn restricted(&self, offer: &Offer) -> Self {
        let recipients_max = (offer.recipients_max > 0).then_some(offer.recipients_max);
        Self {
            pipelining: self.pipelining,
            size: self.size.map(|size| smaller_size(size, offer.size_max)),
            limits: Limits {
                mail_max: self.limits.mail_max,
                rcpt_max: smaller(self.limits.rcpt_max, recipients_max),
                // It counts over the session (RFC 9422 §4.3), which isn't one with the upstream's: nobody here holds it.
                rcpt_domain_max: None,
            },
            // RFC 3207 §4.2: not offered again on a secured session.
            starttls: offer.starttls && !offer.secured,
            auth: if offer.auth {
                self.auth
            } else {
                Mechanisms::new()
            },
            enhanced_status_codes: self.enhanced_status_codes,
            eight_bit_mime: self.eight_bit_mime,
            dsn: self.dsn,
            // RFC 6531 §3.1: only beside 8BITMIME.
            smtp_utf8: self.smtp_utf8 && self.eight_bit_mime,
            chunking: self.chunking,
            // RFC 3030 §3: only beside CHUNKING.
            binary_mime: self.binary_mime && self.chunking,
            deliver_by: self.deliver_by,
            // RFC 8689 §2: only on a secured session.
            require_tls: self.require_tls && offer.require_tls && offer.secured,
            mt_priority: self.mt_priority.clone(),
            future_release: self.future_release.clone(),
            xclient: if offer.xclient {
                Offer::xclient_attributes()
            } else {
                XclientAttributes::new()
            },
            others: Vec::new(),
        }
    }

    /// What both of two servers announce, so that either can take a transaction: the smaller limits, the mechanisms that
    /// both have.
    #[must_use]
    pub fn common(a: &Self, b: &Self) -> Self {
        let both = |field: fn(&Self) -> bool| field(a) && field(b);
        Self {
            pipelining: both(|set| set.pipelining),
            size: a.size.zip(b.size).map(|(a, b)| smaller_size(a, b)),
            limits: Limits {
                mail_max: smaller(a.limits.mail_max, b.limits.mail_max),
                rcpt_max: smaller(a.limits.rcpt_max, b.limits.rcpt_max),
                rcpt_domain_max: smaller(a.limits.rcpt_domain_max, b.limits.rcpt_domain_max),
            },
            starttls: both(|set| set.starttls),
            auth: a.auth.common(b.auth),
            enhanced_status_codes: both(|set| set.enhanced_status_codes),
            eight_bit_mime: both(|set| set.eight_bit_mime),
            dsn: both(|set| set.dsn),
            smtp_utf8: both(|set| set.smtp_utf8),
            chunking: both(|set| set.chunking),
            binary_mime: both(|set| set.binary_mime),
            // A least time: the longer one holds for both.
            deliver_by: a.deliver_by.zip(b.deliver_by).map(|(a, b)| a.max(b)),
            require_tls: both(|set| set.require_tls),
            // Two profiles give one number two meanings (RFC 6710 §9.1).
            mt_priority: a
                .mt_priority
                .clone()
                .filter(|profile| b.mt_priority.as_ref() == Some(profile)),
            future_release: a
                .future_release
                .as_ref()
                .zip(b.future_release.as_ref())
                .and_then(|(a, b)| nearer(a, b)),
            xclient: a.xclient.common(b.xclient),
            others: a
                .others
                .iter()
                .filter(|keyword| b.others.contains(keyword))
                .cloned()
                .collect(),
        }
    }
}

/// The smaller limit, where 0 is none.
fn smaller_size(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, limit) | (limit, 0) => limit,
        _ => a.min(b),
    }
}

/// The smaller limit of those that are stated.
fn smaller(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}

/// The limits that both hold. Two times that can't be compared as they are written give none.
fn nearer(a: &FutureRelease, b: &FutureRelease) -> Option<FutureRelease> {
    let in_utc = |time: &str| time.len() == "2026-01-31T23:59:59Z".len() && time.ends_with('Z');
    let until = if a.until_max == b.until_max {
        &a.until_max
    } else if in_utc(&a.until_max) && in_utc(&b.until_max) {
        (&a.until_max).min(&b.until_max)
    } else {
        return None;
    };
    Some(FutureRelease {
        interval_max: a.interval_max.min(b.interval_max),
        until_max: until.clone(),
    })
}
