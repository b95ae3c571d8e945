//! A connection as octets: what the pit, a keeper and a successor keep of it.
//!
//! It is read by this program alone, but perhaps by another version of it: so it begins with the
//! version of its form, and whoever can't read it says so and ends the session with 421.
//!
//! What is not kept: the configuration under which the client came. Whoever wakes goes on under the
//! one that is in force, since the process that wakes it may be another one. And the upstream's
//! refusal of MAIL that the line to the upstream remembers, since the session remembers it too.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tarpit_core::octets::{Fault, Reader, Unreadable, put_number, put_octets};
use tarpit_core::record::HoldReason;
use tarpit_core::{NotAtRest, Session, Tick};
use tokio::time::Instant;

use super::Conn;
use crate::front::{self, Via};
use crate::shared::Shared;
use crate::upstream::Placed;

/// The form of the octets.
const VERSION: u8 = 1;

/// Names of listeners have 32 octets, TLS of a proxy in words is cut at 200.
const NAME_MAX: usize = 255;

/// More than the largest `held_unread_max`.
const UNREAD_MAX: usize = 64 * 1024;

/// Bits of the second octet.
mod flag {
    pub(super) const OVER_SOURCE_LIMIT: u8 = 1;
    pub(super) const HALF_CLOSED: u8 = 2;
    pub(super) const SPOKE: u8 = 4;
    pub(super) const IS_CHECK: u8 = 8;
    pub(super) const VIA: u8 = 16;
    pub(super) const VIA_TLS: u8 = 32;
    pub(super) const PLACED: u8 = 64;
}

impl<S> Conn<S> {
    /// Writes down what is needed to go on later. The session must be at rest, and the line to the
    /// upstream let go of.
    pub(crate) fn freeze(&mut self, into: &mut Vec<u8>) -> Result<(), NotAtRest> {
        if let Some(upstream) = self.link.asked() {
            self.session.note_upstream(&upstream);
        }
        let placed = self.link.placed();
        let via = self.via.as_deref();
        let via_tls = via.and_then(|via| via.tls.as_deref());
        let mut flags = 0;
        for (is_set, bit) in [
            (self.over_source_limit, flag::OVER_SOURCE_LIMIT),
            (self.half_closed, flag::HALF_CLOSED),
            (self.spoke, flag::SPOKE),
            (self.is_check, flag::IS_CHECK),
            (via.is_some(), flag::VIA),
            (via_tls.is_some(), flag::VIA_TLS),
            (placed.is_some(), flag::PLACED),
        ] {
            flags |= if is_set { bit } else { 0 };
        }
        into.extend_from_slice(&[VERSION, flags]);
        put_number(into, self.opened.as_millis());
        put_address(into, self.peer);
        put_address(into, self.local);
        let listener = &self.live.config.listeners[self.listener];
        put_octets(into, listener.name.as_bytes());
        if let Some(via) = via {
            put_address(into, via.proxy);
        }
        if let Some(tls) = via_tls {
            put_octets(into, tls.as_bytes());
        }
        if let Some(placed) = placed {
            put_number(into, placed.serial.into());
            into.push(placed.replays);
            into.push(placed.server.map_or(0, |at| at.saturating_add(1)));
        }
        put_octets(into, &self.unread);
        self.session.freeze(into)
    }
}

/// What was written down, read again.
struct Thawed<'a> {
    flags: u8,
    opened: Tick,
    peer: SocketAddr,
    local: SocketAddr,
    listener: &'a str,
    via: Option<Box<Via>>,
    placed: Option<Placed>,
    unread: &'a [u8],
    session: Session,
}

impl<'a> Thawed<'a> {
    fn read(record: &'a [u8]) -> Result<Self, Unreadable> {
        let mut from = Reader::new(record);
        from.version(VERSION, "form of the connection")?;
        let flags = from.octet("flags")?;
        let has = |bit| flags & bit != 0;
        let opened = Tick::from_millis(from.number("moment of the opening")?);
        let peer = take_address(&mut from, "client")?;
        let local = take_address(&mut from, "local address")?;
        let listener = from.text(NAME_MAX, "listener")?;
        let via = has(flag::VIA)
            .then(|| take_address(&mut from, "proxy"))
            .transpose()?;
        let via_tls = has(flag::VIA_TLS)
            .then(|| from.text(NAME_MAX, "proxy's TLS"))
            .transpose()?;
        let via = via.map(|proxy| {
            Box::new(Via {
                proxy,
                tls: via_tls.map(Into::into),
            })
        });
        let placed = has(flag::PLACED)
            .then(|| take_placed(&mut from))
            .transpose()?;
        let unread = from.octets(UNREAD_MAX, "unread octets")?;
        let (session, _) = Session::thaw(from.rest())?;
        Ok(Self {
            flags,
            opened,
            peer,
            local,
            listener,
            via,
            placed,
            unread,
            session,
        })
    }
}

/// What a session is held for that was written down, and since when; `None` if it is not held, or
/// was not written by this version. It stays where it is, and is counted as before.
pub(crate) fn held_for(record: &[u8]) -> Option<(HoldReason, Tick)> {
    Thawed::read(record).ok()?.session.held_for()
}

impl Conn<()> {
    /// Makes a connection of what was written down. Its socket is kept by somebody else.
    ///
    /// # Errors
    /// It was not written by this version.
    pub(crate) fn thaw(record: &[u8], shared: &Arc<Shared>) -> Result<Self, Unreadable> {
        let Thawed {
            flags,
            opened,
            peer,
            local,
            listener: name,
            via,
            placed,
            unread,
            session,
        } = Thawed::read(record)?;
        let has = |bit| flags & bit != 0;
        let found = shared.live_of(name);
        let is_orphan = found.is_none();
        let (live, listener) = found.unwrap_or_else(|| (shared.live.load_full(), 0));
        let mut link = live.mail(listener).link();
        if let Some(placed) = placed {
            link.restore(placed);
        }
        let conn = Self {
            stream: (),
            exempt: session
                .is_exempt()
                .then(|| front::exemption(&live, peer.ip()))
                .flatten(),
            place: shared.places.of_held(session.source()),
            peer,
            local,
            session,
            unread: unread.to_vec(),
            tls: None,
            link,
            live,
            listener,
            opened,
            answered: Instant::now(),
            begun: None,
            over_source_limit: has(flag::OVER_SOURCE_LIMIT),
            half_closed: has(flag::HALF_CLOSED),
            inflow: None,
            spoke: has(flag::SPOKE),
            is_check: has(flag::IS_CHECK),
            is_orphan,
            via,
        };
        #[cfg(test)]
        crate::scene::meet_bug_in_a_record(&conn);
        Ok(conn)
    }
}

fn take_placed(from: &mut Reader<'_>) -> Result<Placed, Unreadable> {
    Ok(Placed {
        serial: from.short("transaction")?,
        replays: from.octet("replays")?,
        server: from.octet("server")?.checked_sub(1),
    })
}

fn put_address(into: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            into.push(4);
            into.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            into.push(6);
            into.extend_from_slice(&ip.octets());
        }
    }
    into.extend_from_slice(&address.port().to_be_bytes());
}

fn take_address(from: &mut Reader<'_>, field: &'static str) -> Result<SocketAddr, Unreadable> {
    let ip: IpAddr = match from.octet(field)? {
        4 => from.array::<4>(field)?.into(),
        6 => from.array::<16>(field)?.into(),
        other => {
            return Err(from.fault(
                field,
                Fault::Unknown {
                    found: other.into(),
                },
            ));
        }
    };
    Ok(SocketAddr::new(ip, u16::from_be_bytes(from.array(field)?)))
}
