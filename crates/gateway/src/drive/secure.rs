//! The driver's handshakes: STARTTLS, and TLS from the first octet.

use std::time::Duration;

use tarpit_core::{Input, Then};
use tokio::time::{Instant, timeout_at};

use super::Activity;
use crate::conn::Conn;
use crate::metrics::{Stage, State};
use crate::pit::reached;
use crate::shared::{Shared, Stop};
use crate::tls::{TlsFailure, TlsInfo};

impl Activity<'_> {
    /// 220, then the handshake. Whatever came before the client's first TLS record was sent by
    /// nobody knows whom, and is thrown away (RFC 3207 §4.2, CVE-2011-0411): what was read already
    /// here; what still waits in the system is taken for TLS, and fails if it is none.
    pub(super) async fn start_tls(&mut self) -> Then {
        if let Err(why) = self.flush().await {
            return self.unsaid(why);
        }
        self.conn.unread = Vec::new();
        if secure(self.shared, &mut self.conn).await {
            self.handle(Input::Secured)
        } else {
            self.handle(Input::Gone)
        }
    }
}

/// Speaks TLS with the client, within the time for it. `false` if that failed: then nothing can be
/// said to the client any more. What came of it is kept for the session's record.
pub(crate) async fn secure(shared: &Shared, conn: &mut Conn) -> bool {
    let metrics = &shared.metrics;
    let began = Instant::now();
    let shaking_hands = metrics.states.enter(State::Handshake);
    let result = Box::pin(handshake(shared, conn)).await;
    drop(shaking_hands);
    match &result {
        Ok(info) => {
            metrics
                .latency
                .observe(Stage::TlsHandshake, began.elapsed());
            metrics.tls_handshakes.add(1);
            metrics.tls_resumed.add(info.resumed.into());
        }
        Err(_) => metrics.tls_handshakes_failed.add(1),
    }
    let is_secure = result.is_ok();
    conn.tls = Some(Box::new(result));
    is_secure
}

async fn handshake(shared: &Shared, conn: &mut Conn) -> Result<TlsInfo, TlsFailure> {
    let limit = conn.live.config.limits.tls_handshake_timeout;
    let mut stop = shared.stop.subscribe();
    tokio::select! {
        biased;
        () = reached(&mut stop, Stop::Now) => Err(TlsFailure::Stopped),
        result = in_turn(shared, conn, limit) => result,
    }
}

/// Strangers wait for their turn, and their arithmetic is done beside the runtime; known senders and
/// exempt networks are not to wait behind a flood.
async fn in_turn(shared: &Shared, conn: &mut Conn, limit: Duration) -> Result<TlsInfo, TlsFailure> {
    let tls = conn.live.tls.as_ref().ok_or(TlsFailure::NoCertificate)?;
    let source = conn.session.source();
    if conn.exempt.is_some() || shared.ledger.is_known(shared.clock.now(), source) {
        return tls.accept(&mut conn.stream, limit, None).await;
    }
    let until = Instant::now() + limit;
    let stream = &mut conn.stream;
    if timeout_at(until, stream.spoken()).await.is_err() {
        // It still hears the end of a TLS connection.
        let shown_out = tls.accept(stream, Duration::ZERO, None).await;
        return shown_out.map_err(|_| TlsFailure::TimedOut(limit));
    }
    let turn = timeout_at(until, shared.handshakes.turn(source)).await;
    let turn = turn.map_err(|_| TlsFailure::TimedOut(limit))?;
    let turn = turn.ok_or(TlsFailure::Stopped)?;
    let left = until.saturating_duration_since(Instant::now());
    let aside = Some(&shared.handshakes.aside);
    let result = tls.accept(stream, turn.time(left), aside).await;
    result.map_err(|failure| match failure {
        TlsFailure::TimedOut(_) => TlsFailure::TimedOut(turn.time(limit)),
        other => other,
    })
}
