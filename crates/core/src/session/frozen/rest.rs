//! What a session waits for.

use tarpit_smtp::Mechanism;

use super::super::Session;
use super::super::auth::is_base64;
use super::super::state::{After, Due, Holding, Pending, State, Waiting};
use super::numbers::Numbered as _;
use super::said;
use crate::Tick;
use crate::answer::Finding;
use crate::octets::{Fault, Reader, Unreadable, put_moment, put_number, put_octets, put_span};
use crate::policy::{Offence, REPLY_MAX, Way};
use crate::record::{HoldReason, SessionEnd};
use tarpit_smtp::limits::AUTH_LINE_MAX;

/// The first octet: which state it is, and bits for what it consists of.
const COMMAND: u8 = 0;
const HOLDING: u8 = 1;
const WAITING: u8 = 2;
const STATE: u8 = 0b11;
/// The reply is the upstream's; or the command is AUTH.
const OTHER: u8 = 0b100;
/// The session ends with the reply; or the recipients file does not hold the recipient; or AUTH has
/// an initial response.
const MORE: u8 = 0b1000;
/// The reply is said in pieces: how, how often and how much of it follows.
const PIECES: u8 = 0b1_0000;

pub(super) fn put(into: &mut Vec<u8>, session: &Session) {
    match &session.state {
        State::Holding(holding) => put_holding(into, session, holding),
        State::Waiting(waiting) => put_waiting(into, session, waiting),
        // Everything else is no rest, see `Session::is_at_rest`.
        _ => into.push(COMMAND),
    }
}

pub(super) fn take(from: &mut Reader<'_>, session: &mut Session) -> Result<(), Unreadable> {
    let start = *from;
    let kind = from.octet("state")?;
    session.state = match (kind & STATE, kind & !(STATE | OTHER | MORE | PIECES)) {
        (COMMAND, 0) if kind == COMMAND => State::Command,
        (HOLDING, 0) => State::Holding(Box::new(take_holding(from, kind, session)?)),
        (WAITING, 0) if kind & PIECES == 0 => {
            State::Waiting(Box::new(take_waiting(from, kind, session)?))
        }
        _ => {
            let found = kind.into();
            return Err(start.fault("state", Fault::Unknown { found }));
        }
    };
    Ok(())
}

const fn bit(bit: u8, is_set: bool) -> u8 {
    if is_set { bit } else { 0 }
}

fn put_holding(into: &mut Vec<u8>, session: &Session, holding: &Holding) {
    let is_upstreams = matches!(holding.due, Due::Upstream(_));
    let closes = matches!(holding.after, After::Close(_));
    let in_pieces = holding.way != Way::Silent;
    into.push(HOLDING | bit(OTHER, is_upstreams) | bit(MORE, closes) | bit(PIECES, in_pieces));
    match &holding.due {
        Due::Own(finding) => into.push(finding.number()),
        Due::Upstream(reply) => said::put_reply(into, reply, session.quoted()),
    }
    if let After::Close(end) = holding.after {
        into.push(end.number());
    }
    into.push(holding.offence.number());
    put_moment(into, session.began, holding.since);
    put_moment(into, holding.since, holding.until);
    put_moment(into, holding.until, holding.free_at);
    if in_pieces {
        into.push(holding.way.number());
        put_number(into, holding.pace.into());
        put_number(into, holding.said.into());
    }
}

fn take_holding(from: &mut Reader<'_>, kind: u8, session: &Session) -> Result<Holding, Unreadable> {
    let due = if kind & OTHER == 0 {
        Due::Own(Finding::read(from)?)
    } else {
        Due::Upstream(said::take_reply(from, session.quoted())?)
    };
    let after = if kind & MORE == 0 {
        After::Next
    } else {
        After::Close(SessionEnd::read(from)?)
    };
    let offence = Offence::read(from)?;
    let since = from.moment(session.began, "start of the hold")?;
    let until = take_until(from, session, since)?;
    let free_at = from.moment(until, "end of the account's debt")?;
    let (way, pace, said) = if kind & PIECES == 0 {
        (Way::Silent, 0, 0)
    } else {
        let way = Way::read(from)?;
        (
            way,
            from.short("time between two pieces")?,
            from.short("octets said")?,
        )
    };
    Ok(Holding {
        due,
        after,
        offence,
        since,
        until,
        free_at,
        way,
        pace,
        said,
    })
}

fn put_waiting(into: &mut Vec<u8>, session: &Session, waiting: &Waiting) {
    let (is_auth, more) = match &waiting.command {
        Pending::Rcpt { unlisted, .. } => (false, *unlisted),
        Pending::Auth { initial, .. } => (true, initial.is_some()),
    };
    into.push(WAITING | bit(OTHER, is_auth) | bit(MORE, more));
    match &waiting.command {
        Pending::Rcpt { recipient, .. } => said::put_recipient(into, recipient),
        Pending::Auth { mechanism, initial } => {
            into.push(mechanism.number());
            if let Some(initial) = initial {
                put_octets(into, initial.as_bytes());
            }
        }
    }
    put_reason(into, waiting.reason);
    put_moment(into, session.began, waiting.since);
    put_moment(into, waiting.since, waiting.until);
    put_span(into, waiting.owed);
}

fn take_waiting(from: &mut Reader<'_>, kind: u8, session: &Session) -> Result<Waiting, Unreadable> {
    let has_more = kind & MORE != 0;
    let command = if kind & OTHER == 0 {
        Pending::Rcpt {
            recipient: Box::new(said::take_recipient(from)?),
            unlisted: has_more,
        }
    } else {
        Pending::Auth {
            mechanism: Mechanism::read(from)?,
            initial: has_more.then(|| take_initial(from)).transpose()?,
        }
    };
    let reason = take_reason(from)?;
    let since = from.moment(session.began, "start of the wait")?;
    Ok(Waiting {
        command,
        reason,
        since,
        until: take_until(from, session, since)?,
        owed: from.span("debt at the start of the wait")?,
    })
}

/// Nobody waits for longer than a client does, see `Session::hold_end` and `Session::wait`: who was
/// kept elsewhere neither.
fn take_until(from: &mut Reader<'_>, session: &Session, since: Tick) -> Result<Tick, Unreadable> {
    const FIELD: &str = "end of the hold";
    let start = *from;
    let until = from.moment(since, FIELD)?;
    let latest = session.began + REPLY_MAX;
    if until > latest {
        let (found, max) = (until.as_millis(), latest.as_millis());
        return Err(start.fault(FIELD, Fault::TooLarge { found, max }));
    }
    Ok(until)
}

fn take_initial(from: &mut Reader<'_>) -> Result<Box<str>, Unreadable> {
    let start = *from;
    let text = from.text(AUTH_LINE_MAX, "initial response")?;
    if !text.is_empty() && is_base64(text.as_bytes()) {
        Ok(text.into())
    } else {
        Err(start.fault("initial response", Fault::Text))
    }
}

/// A wait is for room or for a debt, never for one offence.
fn put_reason(into: &mut Vec<u8>, reason: HoldReason) {
    into.push((reason == HoldReason::Debt).into());
}

fn take_reason(from: &mut Reader<'_>) -> Result<HoldReason, Unreadable> {
    Ok(if said::take_bool(from, "reason of the wait")? {
        HoldReason::Debt
    } else {
        HoldReason::Room
    })
}
