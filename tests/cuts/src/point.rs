//! One cut: where in which dialogue, on which leg, what is done there. Its text repeats it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, bail};

/// Which gateway, and what stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum World {
    /// The upstream is told who each client is (PROXY), so its connections can be cut from their
    /// first octet on; none is used twice.
    Told,
    /// Connections to the upstream are used again.
    Pooled,
    /// Wrong recipients are held for longer than the grace time: what stands at the upstream is let
    /// go and said again.
    Held,
    /// The gateway is killed, before a server that keeps a journal.
    Killed,
    /// The gateway is killed, with its own maildir.
    Maildir,
    /// The client cuts, or the gateway is killed, before a real Postfix.
    Postfix,
    /// As [`World::Told`], over STARTTLS on both legs. Octets are counted as they are before TLS,
    /// and the cut comes under it, without its farewell.
    Secured,
}

/// The dialogues that are cut. Each is written in `script.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialogue {
    /// Step by step, one recipient.
    Plain,
    /// MAIL, RCPT and DATA in one write; the message, the dot and QUIT in another.
    Pipelined,
    /// Two messages in one session, the second's commands behind the first one's dot.
    Two,
    /// One of three recipients doesn't exist, one is refused for now.
    Mixed,
    /// A message full of lines that look like an end.
    Dots,
    /// A transaction that is given up by RSET before another.
    Reset,
    /// The client idles for longer than the grace time before DATA.
    Idle,
    /// The client idles in the middle of the message.
    Drip,
    /// A message of many packets.
    Big,
    /// A message in chunks (BDAT), the last of them empty.
    Chunks,
    /// All of it in one write: MAIL, RCPT, the chunks and QUIT.
    ChunksPipelined,
    /// Chunks before an upstream that had announced them and takes none: they become DATA.
    Converted,
}

/// Whose octets are counted: what a peer has sent or heard when the cut comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// Octets that the client sent.
    ClientSent,
    /// Octets that the client read.
    ClientHeard,
    /// Octets that the upstream read, on its connection of this number.
    UpstreamHeard(u8),
    /// Octets that the upstream sent, on its connection of this number.
    UpstreamSaid(u8),
}

/// What is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Nothing: the dialogue must succeed.
    Nothing,
    /// Closes (FIN, or what the system makes of unread octets).
    Close,
    /// Resets the connection.
    Reset,
    /// Closes the sending side only, and goes on reading.
    HalfClose,
    /// Stops for longer than the grace time, then goes on.
    Stall,
    /// Stops for longer than the grace time, then closes.
    StallClose,
    /// Stops there until the gateway was killed.
    Kill,
    /// The upstream says this in place of its reply; the position counts replies, not octets.
    Say(u16),
    /// The upstream says this in the middle of the message, and doesn't take it.
    Early(u16),
}

/// One cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// Where it happens.
    pub world: World,
    /// In which dialogue.
    pub dialogue: Dialogue,
    /// On which leg.
    pub leg: Leg,
    /// What.
    pub action: Action,
    /// After so many octets (or, for [`Action::Say`], replies).
    pub at: u32,
    /// What is left open: how the octets are cut into packets, and whether the upstream fails once
    /// or for as long as it is tried.
    pub seed: u32,
}

const WORLDS: [(World, &str); 7] = [
    (World::Told, "told"),
    (World::Pooled, "pooled"),
    (World::Held, "held"),
    (World::Killed, "killed"),
    (World::Maildir, "maildir"),
    (World::Postfix, "postfix"),
    (World::Secured, "secured"),
];

const DIALOGUES: [(Dialogue, &str); 12] = [
    (Dialogue::Plain, "plain"),
    (Dialogue::Pipelined, "pipelined"),
    (Dialogue::Two, "two"),
    (Dialogue::Mixed, "mixed"),
    (Dialogue::Dots, "dots"),
    (Dialogue::Reset, "rset"),
    (Dialogue::Idle, "idle"),
    (Dialogue::Drip, "drip"),
    (Dialogue::Big, "big"),
    (Dialogue::Chunks, "chunks"),
    (Dialogue::ChunksPipelined, "chunks-pipelined"),
    (Dialogue::Converted, "converted"),
];

const ACTIONS: [(Action, &str); 7] = [
    (Action::Nothing, "nothing"),
    (Action::Close, "close"),
    (Action::Reset, "reset"),
    (Action::HalfClose, "half-close"),
    (Action::Stall, "stall"),
    (Action::StallClose, "stall-close"),
    (Action::Kill, "kill"),
];

impl World {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Told,
        Self::Pooled,
        Self::Held,
        Self::Killed,
        Self::Maildir,
        Self::Postfix,
        Self::Secured,
    ];
}

impl Dialogue {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Plain,
        Self::Pipelined,
        Self::Two,
        Self::Mixed,
        Self::Dots,
        Self::Reset,
        Self::Idle,
        Self::Drip,
        Self::Big,
        Self::Chunks,
        Self::ChunksPipelined,
        Self::Converted,
    ];
}

impl Leg {
    /// Whether it is the upstream that cuts.
    #[must_use]
    pub const fn is_upstream(self) -> bool {
        matches!(self, Self::UpstreamHeard(_) | Self::UpstreamSaid(_))
    }

    /// Its name, without the number of a connection.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientSent => "client-sent",
            Self::ClientHeard => "client-heard",
            Self::UpstreamHeard(_) => "upstream-heard",
            Self::UpstreamSaid(_) => "upstream-said",
        }
    }
}

fn name_of<T: PartialEq>(names: &[(T, &'static str)], value: &T) -> &'static str {
    let found = names.iter().find(|(one, _)| one == value);
    found.map_or("?", |(_, name)| name)
}

fn find<T: Copy>(names: &[(T, &'static str)], what: &str, text: &str) -> Result<T, Error> {
    let found = names.iter().find(|(_, name)| *name == text);
    found.map(|(value, _)| *value).with_context(|| {
        let names: Vec<_> = names.iter().map(|(_, name)| *name).collect();
        format!("no {what}: {text:?}; there are {}", names.join(", "))
    })
}

impl fmt::Display for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(name_of(&WORLDS, self))
    }
}

impl fmt::Display for Dialogue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(name_of(&DIALOGUES, self))
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpstreamHeard(number) | Self::UpstreamSaid(number) => {
                write!(out, "{}.{number}", self.name())
            }
            Self::ClientSent | Self::ClientHeard => out.write_str(self.name()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Say(code) => write!(out, "say-{code}"),
            Self::Early(code) => write!(out, "early-{code}"),
            other => out.write_str(name_of(&ACTIONS, other)),
        }
    }
}

/// `told:plain/upstream-said.0/reset@137#5`.
impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            world,
            dialogue,
            leg,
            action,
            at,
            seed,
        } = self;
        write!(out, "{world}:{dialogue}/{leg}/{action}@{at}#{seed}")
    }
}

impl FromStr for Leg {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, number) = text.split_once('.').unwrap_or((text, "0"));
        let number = number.parse().context("a connection's number")?;
        Ok(match name {
            "client-sent" => Self::ClientSent,
            "client-heard" => Self::ClientHeard,
            "upstream-heard" => Self::UpstreamHeard(number),
            "upstream-said" => Self::UpstreamSaid(number),
            other => bail!("no leg: {other:?}"),
        })
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(code) = text.strip_prefix("say-") {
            return Ok(Self::Say(code.parse()?));
        }
        if let Some(code) = text.strip_prefix("early-") {
            return Ok(Self::Early(code.parse()?));
        }
        find(&ACTIONS, "action", text)
    }
}

impl FromStr for Point {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = "a point looks like told:plain/upstream-said.0/reset@137#5";
        let (world, rest) = text.split_once(':').context(form)?;
        let (dialogue, rest) = rest.split_once('/').context(form)?;
        let (leg, rest) = rest.split_once('/').context(form)?;
        let (action, rest) = rest.split_once('@').context(form)?;
        let (at, seed) = rest.split_once('#').context(form)?;
        Ok(Self {
            world: find(&WORLDS, "world", world)?,
            dialogue: find(&DIALOGUES, "dialogue", dialogue)?,
            leg: leg.parse()?,
            action: action.parse()?,
            at: at.parse().context(form)?,
            seed: seed.parse().context(form)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_its_text() {
        for text in [
            "told:plain/upstream-said.0/reset@137#5",
            "held:mixed/client-heard/half-close@0#4294967295",
            "pooled:drip/upstream-heard.3/early-250@12#0",
        ] {
            let point: Point = text.parse().unwrap();
            assert_eq!(point.to_string(), text);
        }
        for text in ["", "told:plain", "told:plane/client-sent/close@1#1"] {
            assert!(text.parse::<Point>().is_err(), "{text}");
        }
    }
}
