//! A connection of which only the bytes pass through here: for partners whose listener says
//! `passthrough`. It counts among the upstream's connections like any other, and the upstream is
//! told who the client is where that is told before SMTP.

use std::time::Duration;

use tarpit_core::Trouble;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Upstream;
use super::dial::{OwnAddress, dial};
use super::identity::{ClientIdentity, Told, proxy_header};
use super::stock::{Claim, Permit, Slot, Wish};

/// How long a partner waits for its turn; as any session.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// A connection to the upstream on which nothing was said but who the client is.
#[derive(Debug)]
pub(crate) struct RawConnection {
    tcp: TcpStream,
    _near_end: Option<OwnAddress>,
    _permit: Permit,
}

impl RawConnection {
    /// The socket.
    pub(crate) const fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }
}

impl Upstream {
    /// Connects on behalf of a client whose bytes are passed on untouched; to the next server if
    /// one is away.
    ///
    /// # Errors
    /// No place was free in time, or the upstream can't be reached or told.
    pub(crate) async fn connect_raw(
        &self,
        who: &ClientIdentity,
        claim: Claim,
    ) -> Result<RawConnection, Trouble> {
        let mut wish = Wish::default();
        let mut failed = None;
        loop {
            let slot = timeout(TURN_LIMIT, self.stock.take(claim, wish.clone())).await;
            let permit = match slot {
                Ok(Some(Slot::Vacant { permit, closing })) => {
                    if let Some(closing) = closing {
                        closing.wire.hang_up();
                    }
                    permit
                }
                Ok(Some(Slot::Nowhere)) => return Err(failed.unwrap_or(Trouble::Unreachable)),
                // None was wished for that is idle.
                Ok(Some(Slot::Idle(_)) | None) | Err(_) => {
                    return Err(failed.unwrap_or(Trouble::Capacity));
                }
            };
            wish.tried.insert(permit.server());
            match self.open_raw(who, permit).await {
                Ok(connection) => return Ok(connection),
                Err(trouble) => failed = Some(trouble),
            }
        }
    }

    async fn open_raw(
        &self,
        who: &ClientIdentity,
        permit: Permit,
    ) -> Result<RawConnection, Trouble> {
        let server = permit.server();
        let told = Told::of(self.config.identity, who);
        let source = told.source();
        let route = self.route(server);
        let dialled = dial(route.server.address, source, route.connect_limit, route.own).await;
        let (mut tcp, near_end) = dialled.map_err(|failed| {
            if source.is_none() {
                self.mark(server, failed.trouble);
            }
            failed.trouble
        })?;
        if let Told::Proxy(version, who) = &told {
            let header = proxy_header(*version, who);
            tcp.write_all(&header).await.map_err(|_| Trouble::Closed)?;
        }
        Ok(RawConnection {
            tcp,
            _near_end: near_end,
            _permit: permit,
        })
    }
}
