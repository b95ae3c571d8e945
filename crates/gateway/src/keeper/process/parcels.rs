//! Parcels as they come over the line and go back, and as they are kept between: their reply and
//! record in one piece of memory, squeezed.

use std::os::fd::OwnedFd;

use tarpit_core::Paced;

use crate::keeper::message::{Flags, Freight, Unreadable};
use crate::keeper::squeeze::Sample;
use crate::keeper::tail::{Body, Tail};
use crate::pit::parcel::{Parcel, Waits};

/// A parcel for the line.
pub(super) fn freight_of(parcel: &Parcel, sample: Option<&Sample>) -> Result<Freight, Unreadable> {
    let sample = sample.ok_or(Unreadable::Broken("sample"))?;
    let (tail, octets) = Tail::unpack_all(&parcel.record, sample)?;
    let Body { record, reply } = octets.body();
    let mut paced = reply.to_vec();
    if let Some(text) = &parcel.paced {
        text.encode(&mut paced);
    }
    Ok(Freight {
        source: tail.source,
        until: parcel.until,
        since: parcel.since,
        said: parcel.said,
        patience: tail.patience,
        ticket: tail.ticket,
        veil: tail.veil,
        flags: Flags {
            listens: tail.listens,
            half_closed: parcel.state.half_closed,
            small_window: parcel.state.small_window,
            prompt: tail.prompt,
        },
        paced: paced.into(),
        record: record.into(),
    })
}

/// Whether TLS is spoken on its socket, so that nothing may be written there.
pub(super) fn is_veiled(parcel: &Parcel) -> bool {
    // One that can't be read is left alone.
    Tail::unpack(&parcel.record).map_or(true, |tail| tail.veil.is_some())
}

/// A parcel from the line. A reply that is said at once, when the parcel is due, stays as it came;
/// one that is said in pieces is at hand. One in a form that is not known here is not said, nor any
/// over TLS: the parcel goes back when it is due.
pub(super) fn parcel_of(freight: &Freight, socket: OwnedFd, sample: &Sample) -> Parcel {
    let tail = Tail {
        source: freight.source,
        patience: freight.patience,
        ticket: freight.ticket,
        veil: freight.veil,
        prompt: freight.flags.prompt,
        listens: freight.flags.listens,
    };
    let paced = Paced::decode(&freight.paced).ok().map(|(paced, _)| paced);
    let paced = paced.filter(|_| freight.veil.is_none());
    let is_whole = |paced: &Paced| !paced.is_in_pieces() && paced.until() == freight.until;
    let reply = if paced.as_ref().is_some_and(is_whole) {
        &*freight.paced
    } else {
        &[]
    };
    let body = Body {
        record: &freight.record,
        reply,
    };
    let paced = paced.filter(|paced| !is_whole(paced));
    Parcel {
        socket: socket.into(),
        until: freight.until,
        since: freight.since,
        paced: paced.map(Box::new),
        said: freight.said,
        unread_pages: 0,
        state: Waits::of(freight),
        record: tail.pack(body, sample),
        veil: None,
    }
}

/// What others look like if `freight` is what they look like.
pub(super) fn sample_of(freight: &Freight) -> Sample {
    let body = Body {
        record: &freight.record,
        reply: &freight.paced,
    };
    Sample::new(&body.concat())
}
