//! From accept to the first word: who the client is, and which way its bytes go.
//!
//! A client may come through a proxy of the administrator's own. Then the proxy says who it is, and
//! the session is its: its source is charged, its network exempt, its address told to the upstream.
//! Whoever is not trusted to say so is refused, never believed.
//!
//! What it promises: nothing is read from the socket but the PROXY header, so that TLS or SMTP
//! finds its first octet untouched; and a connection has its place among the sessions from the
//! moment of accept, whatever it is going to be.

mod crowd;
mod header;
mod passthrough;
mod proxy_header;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use tarpit_core::{Admission, Input, Introduction, Session, Source};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::clock::unix_now;
use crate::config::{Limits, Listener, ListenerTls};
use crate::conn::Conn;
use crate::drive::{self, Start};
use crate::history;
use crate::live::Live;
use crate::log;
use crate::places::Place;
use crate::shared::{Shared, Stop};
use crate::stream::Stream;

pub(crate) use crowd::Crowd;
pub(crate) use proxy_header::looks_like_header;

/// Somebody who connected, before it is known what for.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) tcp: TcpStream,
    /// Who it is, as far as known.
    pub(crate) peer: SocketAddr,
    /// Where it connected to.
    pub(crate) local: SocketAddr,
    pub(crate) live: Arc<Live>,
    /// Which of the listeners.
    pub(crate) listener: usize,
    pub(crate) place: Place,
    pub(crate) via: Option<Box<Via>>,
    /// A trusted proxy's own connection, to see whether we are well.
    pub(crate) is_check: bool,
}

/// The proxy that a client came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Via {
    /// The proxy's own address.
    pub(crate) proxy: SocketAddr,
    /// TLS between the client and the proxy, in words: `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub(crate) tls: Option<Box<str>>,
}

impl Caller {
    pub(crate) fn listener(&self) -> &Listener {
        &self.live.config.listeners[self.listener]
    }

    /// Puts the client that a trusted proxy speaks for in the place of the proxy.
    fn stands_for(&mut self, peer: SocketAddr, local: SocketAddr) {
        self.peer = peer;
        self.local = local;
        let source = Source::of(peer.ip(), self.live.config.prefixes);
        self.place.move_to(source);
    }
}

/// Serves whoever connected, to the end.
pub(crate) async fn serve(shared: &Arc<Shared>, mut caller: Caller) {
    let is_ours = caller.live.is_ours(caller.peer);
    if is_ours {
        shared.metrics.loops_refused.add(1);
        tracing::error!(
            target: "tarpit::listen",
            listener = %caller.listener().name,
            peer = %caller.peer,
            "this gateway has connected to itself: the way to the upstream leads back here"
        );
        let (conn, _) = seat(shared, caller);
        run(shared, conn, Admission::Ourselves).await;
        return;
    }
    if is_listed(&caller.listener().proxy_protocol, caller.peer.ip()) {
        let heard = Box::pin(proxy_header::hear(&mut caller)).await;
        if let Err(error) = heard {
            shared.metrics.proxy_headers_refused.add(1);
            tracing::warn!(
                target: "tarpit::listen",
                listener = %caller.listener().name,
                proxy = %caller.peer,
                %error,
                "a proxy that is trusted sent no good PROXY header"
            );
            return;
        }
    }
    if is_listed(&caller.listener().passthrough, caller.peer.ip()) {
        Box::pin(passthrough::pass(shared, caller)).await;
        return;
    }
    let (conn, admission) = seat(shared, caller);
    run(shared, conn, admission).await;
}

/// Makes a session of a caller.
fn seat(shared: &Shared, caller: Caller) -> (Box<Conn>, Admission) {
    let Caller {
        tcp,
        peer,
        local,
        live,
        listener,
        place,
        via,
        is_check,
    } = caller;
    let source = place.source;
    let exempt = exemption(&live, peer.ip());
    let is_go_between = is_check || speaks_for_others(&live.config.listeners[listener], peer, &via);
    let is_known = via.is_some() || exempt.is_some() || is_go_between;
    shared.crowd.note(source, is_known, &live.config);
    // A filter that has yet to say who its client is, is not the source.
    let is_unbounded = exempt.is_some() || is_go_between;
    let admission = admission(shared, &live, listener, &place, is_unbounded);
    let limit = live.config.limits.sessions_per_source_max;
    let conn = Box::new(Conn {
        session: Session::new(shared.next_id(), source, exempt.is_some()),
        link: live.mail(listener).link(),
        opened: shared.clock.now(),
        answered: Instant::now(),
        begun: None,
        exempt,
        over_source_limit: place.of_source > limit && !is_unbounded,
        unread: Vec::new(),
        half_closed: false,
        inflow: None,
        spoke: false,
        is_check,
        is_orphan: false,
        place,
        stream: Stream::plain(tcp),
        tls: None,
        via,
        peer,
        local,
        live,
        listener,
    });
    (conn, admission)
}

/// Whether this is a filter or proxy that is trusted to say by XCLIENT who its client is.
fn speaks_for_others(listener: &Listener, peer: SocketAddr, via: &Option<Box<Via>>) -> bool {
    via.is_none() && is_listed(&listener.xclient, peer.ip())
}

/// A trusted client said by XCLIENT who its own client is: the session is that one's from now on.
pub(crate) fn introduce<S>(
    shared: &Shared,
    conn: &mut Conn<S>,
    who: &Introduction,
) -> Input<'static> {
    let proxy = conn.peer;
    if let Some(address) = who.address {
        conn.peer.set_ip(address);
        // Whatever port was known was the proxy's.
        conn.peer.set_port(0);
    }
    if let Some(port) = who.port {
        conn.peer.set_port(port);
    }
    if let Some(address) = who.local_address {
        conn.local.set_ip(address);
    }
    if let Some(port) = who.local_port {
        conn.local.set_port(port);
    }
    conn.via
        .get_or_insert_with(|| Box::new(Via { proxy, tls: None }));
    let source = Source::of(conn.peer.ip(), conn.live.config.prefixes);
    conn.place.move_to(source);
    conn.exempt = exemption(&conn.live, conn.peer.ip());
    let exempt = conn.exempt.is_some();
    let limit = conn.live.config.limits.sessions_per_source_max;
    conn.over_source_limit = conn.place.of_source > limit && !exempt;
    let admission = admission(shared, &conn.live, conn.listener, &conn.place, exempt);
    Input::Identified {
        source,
        exempt,
        admission,
    }
}

/// One session, from its greeting.
async fn run(shared: &Arc<Shared>, mut conn: Box<Conn>, admission: Admission) {
    let first = open(shared, &mut conn, admission).await;
    go_on(shared, conn, Start::Input(first)).await;
}

/// One session until its end, or until it goes to the pit. A panic in it is a bug of ours: it ends
/// this session and is counted; it never ends the process.
pub(crate) async fn go_on(shared: &Arc<Shared>, conn: Box<Conn>, start: Start) {
    let id = conn.session.id();
    let guard = PanicGuard { shared, id };
    if let Some(mut conn) = drive::serve(shared, conn, start).await {
        finish(shared, &mut conn);
    }
    drop(guard);
}

/// A session is over: its record is written.
pub(crate) fn finish<S>(shared: &Shared, conn: &mut Conn<S>) {
    if let Some(upstream) = conn.link.asked() {
        conn.session.note_upstream(&upstream);
    }
    let now = shared.clock.now();
    log::session(conn, now, &shared.metrics);
    history::note_session(shared, conn, now);
}

/// What comes before the greeting: TLS, where it is spoken from the first octet.
async fn open(shared: &Shared, conn: &mut Conn, admission: Admission) -> drive::First {
    let listener = &conn.live.config.listeners[conn.listener];
    // A handshake costs more than all that follows: where there is no place, in all or for this
    // source, there is none. The client sees a 421 that is no TLS, and comes again. And who we are
    // ourselves waits for a greeting in plain.
    let has_place = !matches!(
        admission,
        Admission::Full | Admission::SourceFull | Admission::Ourselves
    );
    if listener.tls == ListenerTls::Implicit && has_place {
        if !drive::secure(shared, conn).await {
            return Input::Gone;
        }
        conn.session.note_secured();
    }
    Input::Opened(admission)
}

struct PanicGuard<'a> {
    shared: &'a Shared,
    id: tarpit_core::SessionId,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.metrics.panics.add(1);
            tracing::error!(target: "tarpit::session", session = %format_args!("tp-{}", self.id), "a bug ended this session");
        }
    }
}

/// Whether an address is in one of these networks.
pub(crate) fn is_listed(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Which exemption covers the client.
pub(crate) fn exemption(live: &Live, client: IpAddr) -> Option<usize> {
    let now = unix_now();
    live.config
        .exempt
        .iter()
        .position(|exemption| exemption.covers(client, now))
}

/// Known senders have places beyond those of all, as many as there may be connections to upstreams:
/// sessions that only sit there take no mail's place.
fn has_reserved_place(shared: &Shared, live: &Live, place: &Place) -> bool {
    let limit = u64::from(live.config.limits.sessions_max) + live.descriptors.share();
    u64::from(place.active) <= limit && shared.ledger.is_known(shared.clock.now(), place.source)
}

/// Whether there is a place outside the pit for a session with this one.
fn has_place(shared: &Shared, live: &Live, place: &Place) -> bool {
    place.active <= live.config.limits.sessions_max || has_reserved_place(shared, live, place)
}

/// A session comes out of the pit: it is counted as one outside it from now on, if there is a place
/// for it there as for one that has just come. Else the pit would be a way round that bound: each
/// session comes when places are free, waits where it is not counted, and at last all leave at once.
pub(crate) fn leave_pit<S>(shared: &Shared, conn: &mut Conn<S>) -> bool {
    conn.place.leave_pit();
    let has_place = has_place(shared, &conn.live, &conn.place);
    if !has_place {
        conn.place.enter_pit();
    }
    has_place
}

/// Whether there is a place. Capacity is always 421; the bound by source is applied in `enforce`
/// only, and never to exempt networks and to who speaks for others (`unbounded`).
fn admission(
    shared: &Shared,
    live: &Live,
    listener: usize,
    place: &Place,
    unbounded: bool,
) -> Admission {
    let is_private = live.config.listeners[listener].is_private();
    let Limits {
        sessions_per_source_max,
        ..
    } = live.config.limits;
    let metrics = &shared.metrics;
    if *shared.stop.borrow() >= Stop::Draining {
        metrics.sessions_refused_unavailable.add(1);
        return Admission::Draining;
    }
    if !has_place(shared, live, place) {
        metrics.sessions_refused_full.add(1);
        return Admission::Full;
    }
    if place.of_source > sessions_per_source_max && !unbounded {
        if live.config.listeners[listener].policy.enforces() {
            metrics.sessions_refused_source.add(1);
            return Admission::SourceFull;
        }
        metrics.sessions_over_source_limit.add(1);
    }
    let mail = live.mail(listener);
    if mail.capabilities().is_none() || !mail.serves(is_private) {
        metrics.sessions_refused_unavailable.add(1);
        return Admission::Unavailable;
    }
    Admission::Open
}
