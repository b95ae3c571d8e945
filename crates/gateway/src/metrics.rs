//! Every number that the gateway counts, in one place.
//!
//! Counters only go up. Who shows them takes a [`Snapshot`]; each thing is counted once: what a
//! session's record holds is counted where the record is written, so that both agree, and what has
//! no record is counted where it happens.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The live counters.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Snapshot {
            /// Every counter with its name, in the order of this file.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }

        impl Metrics {
            /// Reads all counters, one after the other.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.get(),)+ }
            }
        }
    };
}

metrics! {
    /// Connections accepted.
    sessions_opened,
    /// Sessions that ended.
    sessions_closed,
    /// Sessions refused with 421: no upstream, or draining.
    sessions_refused_unavailable,
    /// Sessions refused with 421: all places taken.
    sessions_refused_full,
    /// Sessions refused with 421: all places of their source taken.
    sessions_refused_source,
    /// Sessions over the bound of their source that were served all the same (mode off, observe).
    sessions_over_source_limit,
    /// Sessions ended for too many errors or too long holds.
    sessions_ended_by_limit,
    /// Sessions with more errors than `errors_max` that were served all the same (off, observe).
    sessions_over_error_limit,
    /// Holds that ended.
    holds,
    /// Milliseconds of those holds.
    held_millis,
    /// Holds that would have been (mode observe).
    holds_observed,
    /// Milliseconds of those.
    observed_millis,
    /// Holds in which the client left.
    holds_hung_up,
    /// RCPTs that got 2yz.
    recipients_accepted,
    /// RCPTs refused for good.
    recipients_refused,
    /// RCPTs refused for now.
    recipients_deferred,
    /// Of these, over the bound of one transaction.
    recipients_over_limit,
    /// RCPTs that enforce would have refused by the filter.
    recipients_would_refuse,
    /// Questions to the upstream that found no free connection.
    upstream_busy,
    /// Questions to the upstream that got no reply for another reason.
    upstream_trouble,
    /// RCPTs and AUTHs that got 450 or 454 unseen.
    unseen,
    /// AUTHs that failed.
    auth_failed,
    /// Messages that reached end-of-data or were aborted.
    messages,
    /// Messages that the upstream accepted.
    messages_accepted,
    /// Messages that the client broke off.
    messages_aborted,
    /// Sessions that ended because the client was too slow.
    sessions_timed_out,
    /// Connections of this gateway to itself, refused with 554.
    loops_refused,
    /// PROXY headers that were refused: from networks that are not trusted, or malformed.
    proxy_headers_refused,
    /// Connections passed through to the upstream untouched.
    passthrough_sessions,
    /// TLS handshakes with clients that succeeded.
    tls_handshakes,
    /// Of these, those that resumed an earlier session.
    tls_resumed,
    /// TLS handshakes with clients that failed.
    tls_handshakes_failed,
    /// Accepts that failed for want of descriptors or memory.
    accept_errors,
    /// Sessions that ended by a bug of ours.
    panics,
}

/// A count that many threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Reads.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
