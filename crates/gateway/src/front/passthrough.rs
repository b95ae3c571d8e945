//! Passthrough: a partner's bytes go to the upstream and back untouched, before any SMTP is spoken.
//! It is the strongest exemption, for partners that use client certificates or extensions that
//! nobody else knows.
//!
//! The upstream greets such a client itself, asks for its certificate itself, and is told who it is
//! where its identity is told before SMTP (PROXY, or the source address). XCLIENT and a trace header
//! would be changes.

use std::sync::Arc;

use tokio::io::copy_bidirectional;

use super::Caller;
use crate::pit::reached;
use crate::shared::{Shared, Stop};
use crate::upstream::{Claim, ClientIdentity};

/// Passes bytes both ways until both sides have ended, or the gateway stops.
pub(super) async fn pass(shared: &Arc<Shared>, mut caller: Caller) {
    let began = shared.clock.now();
    shared.metrics.passthrough_sessions.add(1);
    let result = connect_and_copy(shared, &mut caller).await;
    let seconds = shared.clock.now().since(began).as_secs_f64();
    let listener = &*caller.listener().name;
    match result {
        Ok((sent, received)) => tracing::info!(
            target: "tarpit::passthrough",
            client = %caller.peer, listener, octets_to_upstream = sent, octets_to_client = received, seconds,
            "passed through"
        ),
        Err(why) => tracing::warn!(
            target: "tarpit::passthrough",
            client = %caller.peer, listener, why, seconds,
            "could not be passed through, or was cut off"
        ),
    }
}

async fn connect_and_copy(shared: &Shared, caller: &mut Caller) -> Result<(u64, u64), String> {
    if *shared.stop.borrow() != Stop::No {
        return Err("the gateway stops".to_owned());
    }
    if caller.place.all > caller.live.config.limits.sessions_max {
        shared.metrics.sessions_refused_full.add(1);
        return Err("all places for sessions are taken".to_owned());
    }
    let Some(upstream) = caller.live.mail(caller.listener).upstream() else {
        return Err("the built-in maildir takes no untouched bytes".to_owned());
    };
    let who = ClientIdentity {
        address: caller.peer,
        local: caller.local,
        helo: None,
        esmtp: true,
    };
    // Whoever is listed is known to the administrator.
    let claim = Claim {
        source: caller.place.source,
        known: true,
    };
    let mut raw = upstream
        .connect_raw(&who, claim)
        .await
        .map_err(|trouble| format!("the upstream can't be connected: {}", trouble.as_str()))?;
    let mut stop = shared.stop.subscribe();
    tokio::select! {
        copied = copy_bidirectional(&mut caller.tcp, raw.tcp()) => {
            copied.map_err(|error| format!("cut off: {error}"))
        }
        () = reached(&mut stop, Stop::Now) => Err("the time to drain is over".to_owned()),
    }
}
