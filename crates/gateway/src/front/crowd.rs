//! Does one source bring over half of all sessions? Then it is a proxy of one's own, more often than
//! not, and the pit would make all of its clients wait for each of them.
//!
//! A majority is found with one candidate and two counts (Boyer and Moore's vote): a candidate that
//! is outvoted is replaced, so a source with over half of the votes is the candidate at the end. Its
//! sessions are counted anew in the window that follows, and only then it is named. A count for
//! each source was rejected: it would grow with every address of a spread attack.

use std::sync::{Mutex, PoisonError};

use tarpit_core::Source;

use crate::config::Config;

/// Sessions in a window. Fewer say nothing: at night one mailing list is the majority.
const WINDOW: u32 = 200;

/// The vote.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    vote: Mutex<Vote>,
}

#[derive(Debug, Default)]
struct Vote {
    sessions: u32,
    candidate: Option<Source>,
    lead: u32,
    /// The last window's candidate, and its sessions in this one.
    suspect: Option<(Source, u32)>,
    /// It was named already: once is enough until another comes up.
    named: Option<Source>,
}

impl Crowd {
    /// Counts a session. `known`: a proxy speaks for the client, or its network is exempt, so that
    /// somebody has thought about it.
    pub(crate) fn note(&self, source: Source, known: bool, config: &Config) {
        let found = {
            let mut vote = self.vote.lock().unwrap_or_else(PoisonError::into_inner);
            vote.cast((!known).then_some(source))
        };
        if let Some((source, sessions)) = found {
            let scope = config
                .listeners
                .iter()
                .any(|listener| listener.policy.enforces());
            tracing::warn!(
                target: "tarpit::listen",
                %source,
                sessions,
                of = WINDOW,
                looks_like = if is_own_side(source) { "a proxy or filter of your own" } else { "one large sender" },
                enforced = scope,
                "more than half of all sessions come from one source: if it is a proxy, load balancer or filter of your \
                 own, name it in proxy_protocol or xclient of the listener, or all its clients wait for each of them"
            );
        }
    }
}

impl Vote {
    /// `None`: a session of somebody who can't be the one. Who was found, at the end of a window.
    fn cast(&mut self, source: Option<Source>) -> Option<(Source, u32)> {
        self.sessions += 1;
        match (source, self.candidate) {
            (Some(source), Some(candidate)) if source == candidate => self.lead += 1,
            (Some(source), _) if self.lead == 0 => (self.candidate, self.lead) = (Some(source), 1),
            _ => self.lead = self.lead.saturating_sub(1),
        }
        if let (Some(source), Some((suspect, count))) = (source, &mut self.suspect)
            && source == *suspect
        {
            *count += 1;
        }
        if self.sessions < WINDOW {
            return None;
        }
        let judged = self.suspect.filter(|(_, count)| count * 2 > WINDOW);
        let found = judged.filter(|(source, _)| self.named != Some(*source));
        *self = Self {
            suspect: self
                .candidate
                .filter(|_| self.lead > 0)
                .map(|source| (source, 0)),
            named: judged.map(|(source, _)| source).or(self.named),
            ..Self::default()
        };
        found
    }
}

/// Loopback, private, link-local and shared addresses: nobody on the Internet has one.
fn is_own_side(source: Source) -> bool {
    match source {
        Source::V4(net, _) => {
            let address = std::net::Ipv4Addr::from(net);
            let is_shared = net & 0xffc0_0000 == 0x6440_0000; // RFC 6598
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        Source::V6(net, _) => {
            let address = std::net::Ipv6Addr::from(net);
            address.is_loopback()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || net == 0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tarpit_core::Prefixes;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap(), Prefixes::default())
    }

    /// Windows in which every `every`-th session is of one source, the others each of another.
    fn windows(count: u32, every: u32, known: bool) -> Vec<(Source, u32)> {
        let mut vote = Vote::default();
        let mut found = Vec::new();
        for number in 0..count * WINDOW {
            let one = number % every == 0;
            let source = if one {
                (!known).then(|| source("10.0.0.1"))
            } else {
                Some(Source::V4(0xc000_0200 + number, 32))
            };
            found.extend(vote.cast(source));
        }
        found
    }

    #[test]
    fn a_majority_is_named_once_and_nobody_else_is() {
        let found = windows(4, 1, false);
        assert_eq!(found, [(source("10.0.0.1"), WINDOW)]);
        assert_eq!(windows(4, 2, false), [], "half is not more than half");
        assert_eq!(windows(4, 3, false), []);
        assert_eq!(windows(4, 1, true), [], "a proxy that is known");
    }

    #[test]
    fn two_of_three_are_a_majority() {
        let mut vote = Vote::default();
        let mut found = Vec::new();
        for number in 0..2 * WINDOW {
            let other = Source::V4(0xc000_0200 + number, 32);
            let voter = if number % 3 == 0 {
                other
            } else {
                source("10.0.0.1")
            };
            found.extend(vote.cast(Some(voter)));
        }
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, source("10.0.0.1"));
    }

    #[test]
    fn our_own_side() {
        for (text, own) in [
            ("10.1.2.3", true),
            ("127.0.0.1", true),
            ("192.168.1.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("192.0.2.1", false),
            ("fd00::1", true),
            ("::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_own_side(source(text)), own, "{text}");
        }
    }
}
