//! Where a session's connection comes from: the one at hand, the stock, or a new one; to the next
//! server as long as one is away.

use std::sync::Arc;
use std::time::Duration;

use tarpit_core::{Envelope, Trouble};
use tokio::time::timeout;

use super::{Origin, UpstreamLink};
use crate::upstream::connection::{Auth, Connection, Failure, Standing};
use crate::upstream::identity::{ClientIdentity, Told};
use crate::upstream::opening::Opening;
use crate::upstream::server::ServerSet;
use crate::upstream::stock::{Claim, Permit, Slot, Wish};

/// How long a session waits for its turn to get a connection. Longer, and the client had better
/// come back: it will be told that the upstream is busy.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// How long a server may take to be there while another one could be asked. Servers that greet
/// strangers late on purpose (postscreen, a greeting delay) take 6 to 20 seconds.
const OPENING_LIMIT: Duration = Duration::from_secs(30);

impl UpstreamLink {
    /// Makes sure that there is a connection that was told who the client is. Whether it is new.
    pub(super) async fn connect(
        &mut self,
        who: &ClientIdentity,
        claim: Claim,
        envelope: Option<&Envelope>,
        origin: Origin,
    ) -> Result<bool, Failure> {
        let told = Told::of(self.upstream.config.identity, who);
        if let Some(connection) = &mut self.connection {
            let is_sound = connection.wire.is_quiet() && connection.standing != Standing::Data;
            if connection.is_pinned() {
                let is_usable = is_sound && connection.auth == Auth::Done;
                return if is_usable {
                    Ok(false)
                } else {
                    Err(Trouble::AuthLost.into())
                };
            }
            let has_room = connection.takes_mail()
                || envelope.is_some_and(|envelope| connection.holds(envelope));
            if is_sound && connection.told == told && has_room {
                return Ok(false);
            }
            if is_sound {
                self.let_go();
            }
            self.connection = None;
        }
        let wish = Wish {
            told: (origin == Origin::Anywhere).then(|| told.clone()),
            tried: ServerSet::default(),
            // What a server has accepted, it will accept again.
            preferred: self.server.filter(|_| self.is_promised(envelope)),
        };
        self.find(told, claim, wish).await
    }

    /// A connection from the stock, or a new one: to the next server as long as one is away.
    async fn find(&mut self, told: Told, claim: Claim, mut wish: Wish) -> Result<bool, Failure> {
        let stock = Arc::clone(&self.upstream.stock);
        let mut failed = None;
        let mut refused = ServerSet::default();
        loop {
            self.queued = true;
            let slot = timeout(TURN_LIMIT, stock.take(claim, wish.clone())).await;
            self.queued = false;
            match slot {
                Ok(Some(Slot::Idle(mut connection))) => {
                    if connection.wire.is_quiet() {
                        self.hold(connection);
                        return Ok(false);
                    }
                }
                Ok(Some(Slot::Vacant { permit, closing })) => {
                    if let Some(closing) = closing {
                        closing.wire.hang_up();
                    }
                    wish.tried.insert(permit.server());
                    match self
                        .open(permit, told.clone(), stock.has_other(wish.tried))
                        .await
                    {
                        Ok(connection) => {
                            self.hold(connection);
                            return Ok(true);
                        }
                        // Its reply is about the client, who would hear the same elsewhere.
                        Err((Failure::Service(reply), true)) => {
                            return Err(Failure::Service(reply));
                        }
                        // It is about us. A client is refused for good only if all say so.
                        Err((Failure::Service(reply), false)) => {
                            self.upstream.note_refused(self.server());
                            self.server().into_iter().for_each(|at| refused.insert(at));
                            failed = failed.or(Some(Failure::Service(reply)));
                        }
                        Err((failure, _)) => failed = Some(failure),
                    }
                }
                Ok(Some(Slot::Nowhere)) => {
                    let all = ServerSet::first(self.upstream.servers.len());
                    let unreachable = Failure::Broken(Trouble::Unreachable);
                    return Err(match failed {
                        Some(failure) if refused == all => failure,
                        failed => short_of_all(failed, unreachable),
                    });
                }
                Ok(None) | Err(_) => {
                    return Err(short_of_all(failed, Failure::Unfit(Trouble::Capacity)));
                }
            }
        }
    }

    /// A new connection. `has_other`: another server could be asked instead. With a failure comes
    /// whether the server had heard of the client by then.
    async fn open(
        &mut self,
        permit: Permit,
        told: Told,
        has_other: bool,
    ) -> Result<Box<Connection>, (Failure, bool)> {
        let at = permit.server();
        self.server = u8::try_from(at).ok();
        let mut opening = Opening::start();
        let opened = Connection::open(self.upstream.route(at), told, &mut opening);
        let opened = if has_other {
            timeout(OPENING_LIMIT, opened)
                .await
                .unwrap_or_else(|_| Err(Trouble::TimedOut.into()))
        } else {
            opened.await
        };
        match opened {
            Ok(mut connection) => {
                connection.permit = Some(permit);
                Ok(Box::new(connection))
            }
            Err(failure) => {
                // What a client may have brought about is for the probe to judge.
                if let Failure::Broken(trouble) = &failure
                    && !opening.is_told
                {
                    self.upstream.mark(at, *trouble);
                }
                Err((failure, opening.is_told))
            }
        }
    }

    fn hold(&mut self, connection: Box<Connection>) {
        let server = connection.permit.as_ref().map(Permit::server);
        self.server = server.and_then(|at| u8::try_from(at).ok());
        self.connection = Some(connection);
    }

    /// The name of the upstream, if it was asked; where it has several servers, the last one's
    /// address too: `pool 192.0.2.5:25`.
    pub(crate) fn asked(&self) -> Option<String> {
        let server = self.upstream.servers.get(self.server()?)?;
        let name = &self.upstream.config.name;
        Some(if self.upstream.servers.len() == 1 {
            name.to_string()
        } else {
            format!("{name} {}", server.address)
        })
    }

    pub(super) fn server(&self) -> Option<usize> {
        self.server.map(usize::from)
    }
}

/// Why there is no connection although not all servers have refused: then the client comes back.
fn short_of_all(failed: Option<Failure>, otherwise: Failure) -> Failure {
    match failed {
        None | Some(Failure::Service(_)) => otherwise,
        Some(failure) => failure,
    }
}
