//! What a front says to its successor, and to `tarpit upgrade`: a versioned form of octets.
//!
//! One message is one packet of a SOCK_SEQPACKET socket; sockets come beside it, in the order of the
//! words. The other end runs under the same user, but from another version of the program: so it is
//! read as hostile octets are. Nothing here panics, or allocates more than the packet holds.

use std::net::SocketAddr;

use tarpit_core::Tick;

use crate::keeper::message::{self as keeper, Freight};

/// The form of the octets. A successor of another form says so and ends, and the old front goes on.
const VERSION: u8 = 1;

/// Octets of a message at most: below the send buffer of a socket (net.core.wmem_default, 208 KiB),
/// so that several are under way at once. That of a keeper, with a head and debts before it.
pub(super) const MESSAGE_MAX: usize = keeper::MESSAGE_MAX + 2048;

/// Octets of a piece of the ledger: a message but for its head.
pub(super) const PIECE_MAX: usize = MESSAGE_MAX - 64;

/// Octets of a reason that are told: a configuration may have a hundred mistakes, and the log has all.
const REASON_MAX: usize = 16 * 1024;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Old to new: these are listened on. A socket for each.
    Listeners {
        /// More of them follow.
        more: bool,
        list: Vec<Door>,
    },
    /// Old to new: a piece of the ledger's snapshot.
    Ledger {
        /// It is the last one of this snapshot.
        last: bool,
        piece: Vec<u8>,
    },
    /// Old to new: nobody is accepted here any more.
    Serve,
    /// Old to new: the service manager knows who you are.
    Main,
    /// Old to new: these wait, and are yours. A socket for each.
    Parcels(Vec<Held>),
    /// New to old: they are mine.
    Taken,
    /// New to old: everything is at hand to serve.
    Ready,
    /// New to old: it can't be done.
    Failed(String),
    /// New to old: the ledger's snapshot is read.
    Noted,
    /// New to old: clients are served.
    Serving,
    /// Front to whoever connects to its socket: the configuration file it runs with.
    Front(Vec<u8>),
    /// `tarpit upgrade` to the front: start a successor.
    Upgrade,
    /// Front to `tarpit upgrade`: the successor with this process id serves.
    Upgraded(u32),
}

/// A listener on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) name: Box<str>,
    /// The address in the configuration; port 0 stays 0.
    pub(super) asked: SocketAddr,
}

/// A session that waits, on its way without its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) freight: Freight,
    /// When its source is free of debt, in the order of [`ACCOUNTS`](super::parcels::ACCOUNTS).
    pub(super) free_at: [Tick; 2],
}

/// Why a message can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is of another version.
    #[error("the message has the form {0}, allowed is {VERSION}")]
    Version(u8),
    /// There is no such message.
    #[error("found a message of the kind {0}, allowed are 1 to {TAKEN}")]
    Kind(u8),
    /// It ends early, or holds what can't be.
    #[error("the message is broken at its {0}")]
    Broken(&'static str),
}

const LISTENERS: u8 = 1;
const LEDGER: u8 = 2;
const SERVE: u8 = 3;
const MAIN: u8 = 4;
const READY: u8 = 5;
const FAILED: u8 = 6;
const SERVING: u8 = 7;
const FRONT: u8 = 8;
const UPGRADE: u8 = 9;
const UPGRADED: u8 = 10;
const NOTED: u8 = 11;
const PARCELS: u8 = 12;
const TAKEN: u8 = 13;

impl Message {
    /// How many sockets belong to it.
    pub(super) fn sockets(&self) -> usize {
        match self {
            Self::Listeners { list, .. } => list.len(),
            Self::Parcels(list) => list.len(),
            _ => 0,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut octets = vec![VERSION];
        match self {
            Self::Listeners { more, list } => {
                octets.extend([LISTENERS, u8::from(*more)]);
                for door in list {
                    text(&door.name, &mut octets);
                    text(&door.asked.to_string(), &mut octets);
                }
            }
            Self::Ledger { last, piece } => {
                octets.extend([LEDGER, u8::from(*last)]);
                octets.extend(piece);
            }
            Self::Serve => octets.push(SERVE),
            Self::Main => octets.push(MAIN),
            Self::Ready => octets.push(READY),
            Self::Failed(reason) => {
                octets.push(FAILED);
                let end = reason.floor_char_boundary(REASON_MAX);
                octets.extend(reason.get(..end).unwrap_or_default().bytes());
            }
            Self::Parcels(list) => {
                octets.push(PARCELS);
                put_parcels(list, &mut octets);
            }
            Self::Taken => octets.push(TAKEN),
            Self::Noted => octets.push(NOTED),
            Self::Serving => octets.push(SERVING),
            Self::Front(config) => {
                octets.push(FRONT);
                octets.extend(config);
            }
            Self::Upgrade => octets.push(UPGRADE),
            Self::Upgraded(process) => {
                octets.push(UPGRADED);
                octets.extend(process.to_be_bytes());
            }
        }
        octets
    }

    pub(super) fn decode(octets: &[u8]) -> Result<Self, Unreadable> {
        let (version, rest) = octets.split_first().ok_or(Unreadable::Broken("version"))?;
        if *version != VERSION {
            return Err(Unreadable::Version(*version));
        }
        let (kind, rest) = rest.split_first().ok_or(Unreadable::Broken("kind"))?;
        let bare = |message: Self| {
            let is_bare = rest.is_empty();
            is_bare.then_some(message).ok_or(Unreadable::Broken("end"))
        };
        match *kind {
            LISTENERS => listeners(rest),
            LEDGER => {
                let (last, piece) = flag(rest)?;
                let piece = piece.to_vec();
                Ok(Self::Ledger { last, piece })
            }
            SERVE => bare(Self::Serve),
            MAIN => bare(Self::Main),
            READY => bare(Self::Ready),
            FAILED => Ok(Self::Failed(String::from_utf8_lossy(rest).into_owned())),
            PARCELS => parcels(rest),
            TAKEN => bare(Self::Taken),
            NOTED => bare(Self::Noted),
            SERVING => bare(Self::Serving),
            FRONT => Ok(Self::Front(rest.to_vec())),
            UPGRADE => bare(Self::Upgrade),
            UPGRADED => {
                let process = rest
                    .try_into()
                    .map_err(|_| Unreadable::Broken("process id"))?;
                Ok(Self::Upgraded(u32::from_be_bytes(process)))
            }
            other => Err(Unreadable::Kind(other)),
        }
    }
}

fn listeners(octets: &[u8]) -> Result<Message, Unreadable> {
    let (more, mut rest) = flag(octets)?;
    let mut list = Vec::new();
    while !rest.is_empty() {
        let (name, after) = read_text(rest, "name of a listener")?;
        let (asked, after) = read_text(after, "address of a listener")?;
        let asked = asked
            .parse()
            .map_err(|_| Unreadable::Broken("address of a listener"))?;
        list.push(Door {
            name: name.into(),
            asked,
        });
        rest = after;
    }
    Ok(Message::Listeners { more, list })
}

/// How many in one octet, then the debts in milliseconds, then what a keeper would get.
fn put_parcels(list: &[Held], octets: &mut Vec<u8>) {
    debug_assert!(list.len() <= super::wire::SOCKETS_MAX);
    octets.push(u8::try_from(list.len()).unwrap_or(u8::MAX));
    for free_at in list.iter().flat_map(|held| held.free_at) {
        octets.extend(free_at.as_millis().to_be_bytes());
    }
    let freights = list.iter().map(|held| held.freight.clone()).collect();
    octets.extend(keeper::Message::Park(freights).encode());
}

fn parcels(octets: &[u8]) -> Result<Message, Unreadable> {
    const WHAT: &str = "parcels";
    let broken = Unreadable::Broken(WHAT);
    let (count, mut rest) = octets.split_first().ok_or(broken)?;
    let mut debts = Vec::new();
    for _ in 0..*count {
        let mut debt = || {
            let (millis, after) = rest.split_first_chunk().ok_or(broken)?;
            rest = after;
            Ok(Tick::from_millis(u64::from_be_bytes(*millis)))
        };
        debts.push([debt()?, debt()?]);
    }
    match keeper::Message::decode(rest) {
        Ok(keeper::Message::Park(freights)) if freights.len() == debts.len() => {
            let both = freights.into_iter().zip(debts);
            let list = both.map(|(freight, free_at)| Held { freight, free_at });
            Ok(Message::Parcels(list.collect()))
        }
        _ => Err(broken),
    }
}

fn flag(octets: &[u8]) -> Result<(bool, &[u8]), Unreadable> {
    match octets.split_first() {
        Some((0, rest)) => Ok((false, rest)),
        Some((1, rest)) => Ok((true, rest)),
        _ => Err(Unreadable::Broken("flag")),
    }
}

/// Length in two octets, then the text. A name of a listener has 64 octets at most, an address less.
fn text(text: &str, octets: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    octets.extend(length.to_be_bytes());
    octets.extend(text.bytes().take(length.into()));
}

fn read_text<'a>(octets: &'a [u8], what: &'static str) -> Result<(&'a str, &'a [u8]), Unreadable> {
    let broken = Unreadable::Broken(what);
    let (length, rest) = octets.split_first_chunk().ok_or(broken)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (text, rest) = rest.split_at_checked(length).ok_or(broken)?;
    let text = str::from_utf8(text).map_err(|_| broken)?;
    Ok((text, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Message> {
        let door = |name: &str, asked: &str| Door {
            name: name.into(),
            asked: asked.parse().unwrap(),
        };
        vec![
            Message::Listeners {
                more: true,
                list: vec![
                    door("mx", "127.0.0.1:25"),
                    door("six", "[fe80::1%3]:25"),
                    door("free", "[::]:0"),
                ],
            },
            Message::Ledger {
                last: true,
                piece: vec![7; PIECE_MAX],
            },
            Message::Serve,
            Message::Main,
            Message::Ready,
            Message::Failed("line 3: hostname: found 1".to_owned()),
            Message::Parcels(vec![
                Held {
                    freight: crate::keeper::message::tests::small(),
                    free_at: [Tick::from_millis(70_000), Tick::ZERO],
                };
                3
            ]),
            Message::Taken,
            Message::Noted,
            Message::Serving,
            Message::Front(b"/etc/tarpit/tarpit.toml".to_vec()),
            Message::Upgrade,
            Message::Upgraded(4711),
        ]
    }

    #[test]
    fn what_is_written_can_be_read() {
        for message in all() {
            let octets = message.encode();
            assert!(octets.len() <= MESSAGE_MAX, "{}", octets.len());
            assert_eq!(Message::decode(&octets), Ok(message));
        }
    }

    #[test]
    fn cut_or_changed_octets_are_read_or_refused() {
        for message in all() {
            let mut octets = message.encode();
            octets.truncate(200);
            for end in 0..octets.len() {
                let _ = Message::decode(&octets[..end]);
            }
            for at in 0..octets.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let before = std::mem::replace(&mut octets[at], value);
                    if let Ok(read) = Message::decode(&octets) {
                        assert_eq!(Message::decode(&read.encode()), Ok(read));
                    }
                    octets[at] = before;
                }
            }
        }
    }

    #[test]
    fn refusals_say_what_was_found() {
        assert_eq!(Message::decode(&[2, 3]), Err(Unreadable::Version(2)));
        assert_eq!(Message::decode(&[1, 99]), Err(Unreadable::Kind(99)));
        assert_eq!(
            Message::decode(&[1, SERVE, 0]),
            Err(Unreadable::Broken("end"))
        );
        assert_eq!(Message::decode(&[]), Err(Unreadable::Broken("version")));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "ä".repeat(REASON_MAX);
        let octets = Message::Failed(reason).encode();
        let Ok(Message::Failed(read)) = Message::decode(&octets) else {
            panic!()
        };
        assert_eq!(read, "ä".repeat(REASON_MAX / 2));
    }
}
