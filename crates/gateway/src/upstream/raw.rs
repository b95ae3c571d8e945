//! A connection of which only the bytes pass through here: for partners whose listener says
//! `passthrough`. It counts among the upstream's connections like any other, and the upstream is
//! told who the client is where that is told before SMTP.

use std::time::Duration;

use tarpit_core::Trouble;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Upstream;
use super::identity::{ClientIdentity, proxy_header};
use super::stock::{Claim, Permit, Slot};
use crate::config::Identity;

/// How long a partner waits for its turn; as any session.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// A connection to the upstream on which nothing was said but who the client is.
#[derive(Debug)]
pub(crate) struct RawConnection {
    tcp: TcpStream,
    _permit: Permit,
}

impl RawConnection {
    /// The socket.
    pub(crate) const fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }
}

impl Upstream {
    /// Connects on behalf of a client whose bytes are passed on untouched.
    ///
    /// # Errors
    /// No place was free in time, or the upstream can't be reached or told.
    pub(crate) async fn connect_raw(
        &self,
        who: &ClientIdentity,
        claim: Claim,
    ) -> Result<RawConnection, Trouble> {
        let slot = timeout(TURN_LIMIT, self.stock.take(claim, None)).await;
        let Ok(Some(Slot::Vacant { permit, closing })) = slot else {
            return Err(Trouble::Capacity);
        };
        if let Some(closing) = closing {
            closing.wire.hang_up();
        }
        let connect = TcpStream::connect(self.config.address());
        let Ok(Ok(mut tcp)) = timeout(self.config.connect_timeout, connect).await else {
            return Err(Trouble::Unreachable);
        };
        tcp.set_nodelay(true).map_err(|_| Trouble::Closed)?;
        if self.config.identity == Identity::ProxyV2 {
            let header = proxy_header(who.address, who.local);
            tcp.write_all(&header).await.map_err(|_| Trouble::Closed)?;
        }
        Ok(RawConnection {
            tcp,
            _permit: permit,
        })
    }
}
