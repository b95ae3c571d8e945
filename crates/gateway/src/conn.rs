//! A client's connection between two activities: what stays when the buffers are gone.

pub(crate) mod frozen;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, ready};

use tarpit_core::record::SessionEnd;
use tarpit_core::{Paced, Session, Tick};
use tokio::time::Instant;

use crate::buffers::{Buffer, For};
use crate::front::Via;
use crate::link::Link;
use crate::live::Live;
use crate::places::Place;
use crate::relay::Inflow;
use crate::stream::Stream;
use crate::tls::{TlsFailure, TlsInfo};
use crate::upstream::ClientIdentity;

/// One client. A held one is this, its session and nothing else; in the pit, `S` is nothing, since
/// the socket is kept beside it.
#[derive(Debug)]
pub(crate) struct Conn<S = Stream> {
    pub(crate) stream: S,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) session: Session,
    /// Bytes that were read and not consumed yet: pipelined commands. At most `held_unread_max`,
    /// or one line of an AUTH exchange.
    pub(crate) unread: Vec<u8>,
    /// What came of the TLS handshake, if there was one.
    pub(crate) tls: Option<Box<Result<TlsInfo, TlsFailure>>>,
    pub(crate) link: Link,
    /// The configuration that was in force when the client came; it stays for the session.
    pub(crate) live: Arc<Live>,
    /// Which of its listeners.
    pub(crate) listener: usize,
    pub(crate) opened: Tick,
    /// When the upstream last answered: an idle session keeps its connection for the grace time
    /// from here.
    pub(crate) answered: Instant,
    /// When the first recipient of the transaction that was accepted was asked for, for the figures.
    pub(crate) begun: Option<Instant>,
    /// Which of the exemptions covers the client.
    pub(crate) exempt: Option<usize>,
    /// It came although all places of its source were taken (modes off and observe).
    pub(crate) over_source_limit: bool,
    /// The client shut down its sending side; what is due is still tried.
    pub(crate) half_closed: bool,
    /// How the message that comes in chunks is coming in, between two of them.
    pub(crate) inflow: Option<Inflow>,
    /// It said something.
    pub(crate) spoke: bool,
    /// It is a trusted proxy's own connection, to see whether we are well.
    pub(crate) is_check: bool,
    /// The listener that it came through is gone: it hears the end of its session, and nothing else.
    pub(crate) is_orphan: bool,
    pub(crate) place: Place,
    /// The proxy that it came through.
    pub(crate) via: Option<Box<Via>>,
}

impl<S> Conn<S> {
    /// Who the client is, as the upstream is to be told.
    pub(crate) fn who(&self) -> ClientIdentity {
        let (helo, esmtp) = self.session.helo();
        ClientIdentity {
            address: self.peer,
            local: self.local,
            helo: helo.map(Into::into),
            esmtp,
            secured: self.session.is_secured(),
            name: self.session.record().client_name.clone(),
        }
    }

    /// The upstream was found to relay for us after this session was let in.
    pub(crate) fn is_relayed(&self) -> bool {
        let listener = &self.live.config.listeners[self.listener];
        self.live.mail(self.listener).relays() && !listener.is_private()
    }

    /// When an idle or held session has to let go of its upstream connection.
    pub(crate) fn grace_end(&self) -> Instant {
        self.answered + self.live.grace(self.listener)
    }

    /// The same with another stream, and the stream so far.
    pub(crate) fn with_stream<T>(self, stream: T) -> (Conn<T>, S) {
        let Self {
            stream: before,
            peer,
            local,
            session,
            unread,
            tls,
            link,
            live,
            listener,
            opened,
            answered,
            begun,
            exempt,
            over_source_limit,
            half_closed,
            inflow,
            spoke,
            is_check,
            is_orphan,
            place,
            via,
        } = self;
        let conn = Conn {
            stream,
            peer,
            local,
            session,
            unread,
            tls,
            link,
            live,
            listener,
            opened,
            answered,
            begun,
            exempt,
            over_source_limit,
            half_closed,
            inflow,
            spoke,
            is_check,
            is_orphan,
            place,
            via,
        };
        (conn, before)
    }

    /// What is said to a held session, piece by piece.
    pub(crate) fn paced(&self) -> Option<Box<Paced>> {
        let paced = self.session.paced();
        paced.filter(Paced::is_in_pieces).map(Box::new)
    }

    /// A held session keeps no more than this; the rest stays in the kernel. Only what came behind
    /// message data can be more: it was read with it.
    pub(crate) fn is_overrun(&self) -> bool {
        self.unread.len() > self.live.config.limits.held_unread_max as usize
    }

    /// The client may have sent more, and not read yet why it is shown out.
    pub(crate) fn is_ended_by_us(&self) -> bool {
        let end = self.session.record().end;
        let is_usual = matches!(end, SessionEnd::Quit | SessionEnd::Refused);
        !is_usual || !self.unread.is_empty()
    }
}

impl Conn {
    /// Waits for bytes of the client, `most` at most; 0 octets if it shut down its sending side.
    /// The buffer is borrowed only when the runtime wants to read: a client that is waited for
    /// costs none.
    pub(crate) async fn read(
        &mut self,
        what: For,
        most: usize,
    ) -> std::io::Result<(Buffer, usize)> {
        poll_fn(|context| {
            let mut buffer = Buffer::borrow(what);
            let most = most.min(buffer.len());
            let count = ready!(self.stream.poll_read(context, &mut buffer[..most]));
            Poll::Ready(count.map(|count| (buffer, count)))
        })
        .await
    }
}
