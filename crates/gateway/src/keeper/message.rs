//! What the front and its keepers say to each other: a versioned form of octets.
//!
//! One message is one packet of a SOCK_SEQPACKET socket; the sockets of its parcels come beside it,
//! in the same order. The other end runs under the same user, but perhaps from another version of
//! the program, and perhaps with a hole in it: so a message is read as hostile octets are. Nothing
//! here panics, allocates more than the packet holds, or takes what it does not understand.
//!
//! A form with names in it (JSON, say) was rejected: a parcel has a hundred octets, and names would
//! double them.

mod octets;

pub(crate) use octets::{Reader, put_number, put_source};
use octets::{put_list, put_octets};
use tarpit_core::budget::Load;
use tarpit_core::{Source, Tick};

use crate::pit::shed::Among;

/// The form of the octets. Another one is refused, and its parcels end with 421.
pub(crate) const VERSION: u8 = 2;

/// Octets of a message at most: far below the send buffer of a socket (net.core.wmem_default, 208
/// KiB), so that several are under way at once, and enough for 253 parcels of the usual size.
pub(crate) const MESSAGE_MAX: usize = 64 * 1024;

/// Sockets beside one message at most: the kernel's own bound (SCM_MAX_FD, unix(7)).
pub(crate) const SOCKETS_MAX: usize = 253;

/// Octets that a message has beside its parcels at most: version, kind, number of parcels.
const HEAD_MAX: usize = 8;

/// Tickets in one recall at most; each takes ten octets at most.
pub(crate) const TICKETS_MAX: usize = 4096;

/// Sources in one list at most; each takes 18 octets at most.
pub(crate) const SOURCES_MAX: usize = 2048;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Front to keeper, first of all.
    Hello {
        /// What the keeper says to clients that nobody can serve any more.
        farewell: Box<[u8]>,
    },
    /// Either way: how many sockets were taken so far, and how many may be sent in all. The latest
    /// one counts.
    Credit(Credit),
    /// Front to keeper: keep these. A socket for each.
    Park(Vec<Freight>),
    /// Keeper to front: here they are again. A socket for each.
    Back(Vec<(Why, Freight)>),
    /// Keeper to front: their clients are gone, and so are their sockets.
    Gone(Vec<Freight>),
    /// Keeper to a front that is new: whose sessions it holds. One entry for each session.
    Holds(Vec<Source>),
    /// Front to keeper: those that wait with these tickets may have room now.
    Recall(Vec<u64>),
    /// Keeper to front: what its sessions take now.
    Load {
        load: Load,
        /// How often it was asked to shed some, all that was done included.
        sheds: u64,
    },
    /// Front to keeper: give back the least useful of these, until so many sessions are gone, or so many
    /// pages of their unread input.
    Shed(Among, u64),
    /// Front to keeper: give everything back.
    Drain,
    /// Front to keeper: give back those over TLS, whose keys would not outlast a parting.
    Unveil,
    /// Front to keeper: another front comes; send nothing more.
    Release,
    /// Keeper to front: this was the last one.
    Released,
}

/// Counts over the life of one link. They only grow, so a message that repeats them does no harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    /// Sockets that were taken out of the link: they are in flight no more.
    pub(crate) taken: u64,
    /// Sockets that may be sent, those that were sent already included.
    pub(crate) allowed: u64,
}

/// Why a parcel comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its client spoke, or has nothing more to say.
    Input,
    /// Its time has come, and there is nothing that a keeper could do.
    Due,
    /// It was recalled.
    Recalled,
    /// Everything goes back.
    Drain,
    /// There is too much of its kind: it is to be let go.
    Shed,
}

/// A parcel without its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Freight {
    /// Whose session it is.
    pub(crate) source: Source,
    /// When something is to be done about it.
    pub(crate) until: Tick,
    /// When it came to wait, in seconds of the clock.
    pub(crate) since: u32,
    /// Octets of `paced` that are said.
    pub(crate) said: u32,
    /// How long the client may be silent once the reply is said, in seconds.
    pub(crate) patience: u32,
    /// It waits for room in the ledger, and this is its number there.
    pub(crate) ticket: Option<u64>,
    /// TLS is spoken on the socket, and the front has the keys under this number. Nobody else may
    /// write there.
    pub(crate) veil: Option<u64>,
    pub(crate) flags: Flags,
    /// What is said until then, in the form of `tarpit_core::paced`. Empty: nothing.
    pub(crate) paced: Box<[u8]>,
    /// The frozen session. A keeper does not look into it.
    pub(crate) record: Box<[u8]>,
}

/// What is known of a parcel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// It is idle: it goes back when the client speaks.
    pub(crate) listens: bool,
    /// The client shut down its sending side.
    pub(crate) half_closed: bool,
    /// The socket's receive buffer was made as small as it gets.
    pub(crate) small_window: bool,
    /// There are commands in its record: it goes back as soon as its reply is said.
    pub(crate) prompt: bool,
}

/// Why a message can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is of another version.
    #[error("the message has the form {0}, allowed is {VERSION}")]
    Version(u8),
    /// There is no such message.
    #[error("found a message of the kind {0}, allowed are 1 to {SHED}")]
    Kind(u8),
    /// It ends early, or holds what can't be.
    #[error("the message is broken at its {0}")]
    Broken(&'static str),
}

const HELLO: u8 = 1;
const CREDIT: u8 = 2;
const PARK: u8 = 3;
const BACK: u8 = 4;
const GONE: u8 = 5;
const HOLDS: u8 = 6;
const RECALL: u8 = 7;
const DRAIN: u8 = 8;
const RELEASE: u8 = 9;
const RELEASED: u8 = 10;
const UNVEIL: u8 = 11;
const LOAD: u8 = 12;
const SHED: u8 = 13;

/// Bits of a parcel's first octet.
mod flag {
    pub(super) const LISTENS: u8 = 1;
    pub(super) const HALF_CLOSED: u8 = 2;
    pub(super) const SMALL_WINDOW: u8 = 4;
    pub(super) const PROMPT: u8 = 8;
    pub(super) const TICKET: u8 = 16;
    pub(super) const VEIL: u8 = 32;
    pub(super) const ALL: u8 = 63;
}

impl Message {
    /// Its octets.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Hello { farewell } => {
                out.push(HELLO);
                put_octets(farewell, &mut out);
            }
            Self::Credit(credit) => {
                out.push(CREDIT);
                put_number(credit.taken, &mut out);
                put_number(credit.allowed, &mut out);
            }
            Self::Park(parcels) => {
                out.push(PARK);
                put_list(parcels, &mut out, Freight::encode);
            }
            Self::Back(parcels) => {
                out.push(BACK);
                put_list(parcels, &mut out, |(why, freight), out| {
                    out.push(why.code());
                    freight.encode(out);
                });
            }
            Self::Gone(parcels) => {
                out.push(GONE);
                put_list(parcels, &mut out, Freight::encode);
            }
            Self::Holds(sources) => {
                out.push(HOLDS);
                put_list(sources, &mut out, |source, out| put_source(*source, out));
            }
            Self::Recall(tickets) => {
                out.push(RECALL);
                put_list(tickets, &mut out, |ticket, out| put_number(*ticket, out));
            }
            Self::Load { load, sheds } => {
                out.push(LOAD);
                put_number(load.sessions, &mut out);
                put_number(load.octets, &mut out);
                put_number(load.unread, &mut out);
                put_number(*sheds, &mut out);
            }
            Self::Shed(among, count) => {
                out.extend_from_slice(&[SHED, among.code()]);
                put_number(*count, &mut out);
            }
            Self::Drain => out.push(DRAIN),
            Self::Unveil => out.push(UNVEIL),
            Self::Release => out.push(RELEASE),
            Self::Released => out.push(RELEASED),
        }
        out
    }

    /// Reads a whole packet.
    ///
    /// # Errors
    /// It is of another version, ends early, goes on behind its end, or says what can't be.
    pub(crate) fn decode(packet: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader(packet);
        let version = reader.octet("version")?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let message = match reader.octet("kind")? {
            HELLO => Self::Hello {
                farewell: reader.octets("farewell")?.into(),
            },
            CREDIT => Self::Credit(Credit {
                taken: reader.number("sockets taken")?,
                allowed: reader.number("sockets allowed")?,
            }),
            PARK => Self::Park(reader.list("parcels", SOCKETS_MAX, Freight::decode)?),
            BACK => Self::Back(reader.list("parcels", SOCKETS_MAX, |reader| {
                let why = Why::of_code(reader.octet("reason")?);
                let why = why.ok_or(Unreadable::Broken("reason"))?;
                Ok((why, Freight::decode(reader)?))
            })?),
            GONE => Self::Gone(reader.list("parcels", SOCKETS_MAX, Freight::decode)?),
            HOLDS => Self::Holds(reader.list("sources", SOURCES_MAX, Reader::source)?),
            RECALL => {
                Self::Recall(reader.list("tickets", TICKETS_MAX, |reader| reader.number("ticket"))?)
            }
            LOAD => Self::Load {
                load: Load {
                    sessions: reader.number("sessions")?,
                    octets: reader.number("memory")?,
                    unread: reader.number("unread input")?,
                },
                sheds: reader.number("sheds")?,
            },
            SHED => {
                let among = Among::of_code(reader.octet("kind")?);
                let among = among.ok_or(Unreadable::Broken("kind"))?;
                Self::Shed(among, reader.number("count")?)
            }
            DRAIN => Self::Drain,
            UNVEIL => Self::Unveil,
            RELEASE => Self::Release,
            RELEASED => Self::Released,
            kind => return Err(Unreadable::Kind(kind)),
        };
        match reader.0 {
            [] => Ok(message),
            _ => Err(Unreadable::Broken("end")),
        }
    }

    /// How many sockets come beside it.
    pub(crate) const fn sockets(&self) -> usize {
        match self {
            Self::Park(parcels) => parcels.len(),
            Self::Back(parcels) => parcels.len(),
            _ => 0,
        }
    }
}

impl Why {
    const fn code(self) -> u8 {
        match self {
            Self::Input => 0,
            Self::Due => 1,
            Self::Recalled => 2,
            Self::Drain => 3,
            Self::Shed => 4,
        }
    }

    const fn of_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Input,
            1 => Self::Due,
            2 => Self::Recalled,
            3 => Self::Drain,
            4 => Self::Shed,
            _ => return None,
        })
    }
}

impl Freight {
    /// Octets that it takes in a message, no less than it really does.
    pub(crate) fn size(&self) -> usize {
        // A reason, flags, a source, six numbers of ten octets and two lengths at most.
        const REST: usize = 1 + 1 + 18 + 6 * 10 + 2 * 4;
        REST + self.paced.len() + self.record.len()
    }

    /// Whether a reply to it was begun, and perhaps not ended.
    pub(crate) const fn is_amid(&self) -> bool {
        self.said > 0 && !self.flags.listens
    }

    /// Whether it fits into a message at all.
    pub(crate) fn fits(&self) -> bool {
        self.size() + HEAD_MAX <= MESSAGE_MAX
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        for (is_set, bit) in [
            (self.flags.listens, flag::LISTENS),
            (self.flags.half_closed, flag::HALF_CLOSED),
            (self.flags.small_window, flag::SMALL_WINDOW),
            (self.flags.prompt, flag::PROMPT),
            (self.ticket.is_some(), flag::TICKET),
            (self.veil.is_some(), flag::VEIL),
        ] {
            flags |= if is_set { bit } else { 0 };
        }
        out.push(flags);
        put_source(self.source, out);
        put_number(self.until.as_millis(), out);
        put_number(self.since.into(), out);
        put_number(self.said.into(), out);
        put_number(self.patience.into(), out);
        for number in [self.ticket, self.veil].into_iter().flatten() {
            put_number(number, out);
        }
        put_octets(&self.paced, out);
        put_octets(&self.record, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let flags = reader.octet("flags")?;
        if flags & !flag::ALL != 0 {
            return Err(Unreadable::Broken("flags"));
        }
        let has = |bit| flags & bit != 0;
        Ok(Self {
            source: reader.source()?,
            until: Tick::from_millis(reader.number("deadline")?),
            since: reader.small("beginning")?,
            said: reader.small("octets said")?,
            patience: reader.small("patience")?,
            ticket: has(flag::TICKET)
                .then(|| reader.number("ticket"))
                .transpose()?,
            veil: has(flag::VEIL).then(|| reader.number("veil")).transpose()?,
            flags: Flags {
                listens: has(flag::LISTENS),
                half_closed: has(flag::HALF_CLOSED),
                small_window: has(flag::SMALL_WINDOW),
                prompt: has(flag::PROMPT),
            },
            paced: reader.octets("reply")?.into(),
            record: reader.octets("record")?.into(),
        })
    }
}

/// Takes from the head of `waiting` what fits into one message with `sockets_max` sockets: how many.
pub(crate) fn fitting<'a>(waiting: impl Iterator<Item = &'a Freight>, sockets_max: usize) -> usize {
    let mut octets = HEAD_MAX;
    waiting
        .take(sockets_max.min(SOCKETS_MAX))
        .take_while(|freight| {
            octets += freight.size();
            octets <= MESSAGE_MAX
        })
        .count()
}

#[cfg(test)]
pub(crate) mod tests;
