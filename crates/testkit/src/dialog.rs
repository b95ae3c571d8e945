//! Golden dialogues: conversations with time in them, written down in files that people can read.
//!
//! `tests/dialogs/README.md` describes the format. A dialogue is a list of [`Step`]s under a few
//! [`Settings`]; whoever plays it decides what time is.

mod parse;
mod settings;
mod text;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tarpit_core::record::SessionRecord;
use tarpit_core::{Admission, Trouble};
use tarpit_smtp::Reply;

pub use settings::{HELD_UNREAD_MAX, Settings};

/// One file.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// The file's name without its ending.
    pub name: String,
    /// What it is set under.
    pub settings: Settings,
    /// Why only the machine can be shown this, if so.
    pub core_only: Option<String>,
    /// What happens.
    pub steps: Vec<Placed>,
}

/// A step and its place in the file.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Counted from 1.
    pub line: usize,
    /// The step.
    pub step: Step,
}

/// One thing that happens, or that must be so.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client connects; it becomes the current session.
    Open {
        /// Its address.
        from: IpAddr,
        /// Whether there is a place for it.
        admission: Admission,
    },
    /// Another session becomes the current one. Counted from 1.
    Session(usize),
    /// The client sends this in one packet.
    Send(Vec<u8>),
    /// The gateway has said this line, without CRLF.
    Say(Vec<u8>),
    /// The gateway has said these octets, and the line is not over.
    SayPart(Vec<u8>),
    /// The upstream was asked exactly this, and answers if an outcome is given.
    Ask {
        /// `RCPT a@b`, `DATA`, `AUTH PLAIN [initial]`, `LINE base64`, or `.` for end-of-data.
        question: String,
        /// Its answer, if it comes at once.
        outcome: Option<Outcome>,
    },
    /// The upstream answers what it was asked before.
    Answer(Outcome),
    /// What the upstream was told of the transaction: the MAIL line.
    Mail(String),
    /// What happens in the middle of message data.
    Data(DataFate),
    /// No session has said anything that was not claimed.
    Nothing,
    /// Time passes; nothing is said before its end.
    Wait(Duration),
    /// A record of a hold.
    Hold(HoldLine),
    /// Fields of the session's record.
    Record(Vec<(String, String)>),
    /// The last message in the session's record.
    Message(MessageLine),
    /// The gateway has closed the session, and why.
    Closed(String),
    /// The client resets the connection.
    HangUp,
    /// The client shuts down its sending side.
    HalfClose,
    /// The client's TLS handshake succeeds, or fails.
    Tls(bool),
    /// The gateway drains.
    Drain,
    /// The gateway sheds the session.
    Shed,
    /// The time to drain is over.
    DrainOver,
}

/// What the upstream does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It replies to what was asked.
    Reply(Reply),
    /// It refused MAIL before.
    SenderRefused(Reply),
    /// It refused in its greeting.
    ServiceRefused(Reply),
    /// There is no reply.
    Trouble(Trouble),
}

/// What can happen in the middle of message data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataFate {
    /// The upstream refuses before its end.
    Refused(Reply),
    /// The upstream is lost before its end.
    Lost(Trouble),
    /// The client is too slow.
    TooSlow,
}

/// `hold REASON CODE owed TIME held TIME END [WAY]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldLine {
    /// Why.
    pub reason: String,
    /// The code of the reply that waited; `None` if a command waited.
    pub code: Option<u16>,
    /// Debt when it began.
    pub owed: Duration,
    /// How long.
    pub held: Duration,
    /// How it ended.
    pub end: String,
    /// How the reply was held.
    pub way: String,
}

/// `message upstream|gateway REPLY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLine {
    /// Whose reply it is.
    pub from_upstream: bool,
    /// As the log prints it.
    pub reply: String,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Which file.
    pub name: String,
    /// Counted from 1; 0 for the whole file.
    pub line: usize,
    /// What was found and what is allowed.
    pub what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.dialog:{}: {}", self.name, self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

impl Dialog {
    /// Reads the text of one file.
    ///
    /// # Errors
    /// [`ParseError`] for the first line that is no step.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseError> {
        parse::parse(name, text)
    }
}

/// All dialogues of a folder and the folders in it, by name. The name of one in a folder has the
/// folder's name before it: `auth/cancel`.
///
/// # Errors
/// A text that names the file and what is wrong with it.
pub fn read_folder(folder: &Path) -> Result<Vec<Dialog>, String> {
    let mut dialogs = Vec::new();
    read_into(folder, "", &mut dialogs)?;
    dialogs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(dialogs)
}

fn read_into(folder: &Path, prefix: &str, dialogs: &mut Vec<Dialog>) -> Result<(), String> {
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let name = format!("{prefix}{stem}");
        if path.is_dir() {
            read_into(&path, &format!("{name}/"), dialogs)?;
        } else if path.extension().is_some_and(|ending| ending == "dialog") {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            dialogs.push(Dialog::parse(&name, &text).map_err(|error| error.to_string())?);
        }
    }
    Ok(())
}

/// A field of a session's record by the name that dialogues give it.
#[must_use]
pub fn session_field(record: &SessionRecord, field: &str) -> Option<String> {
    let count = match field {
        "accepted" => record.accepted,
        "refused" => record.refused,
        "deferred" => record.deferred,
        "unseen" => record.unseen,
        "would_refuse" => record.would_refuse,
        "failed_auth" => record.failed_auth,
        "errors" => record.errors,
        "messages" => record.messages_count,
        "messages_accepted" => record.messages_accepted,
        "messages_aborted" => record.messages_aborted,
        "holds" => record.holds,
        "held" => return Some(text::show_time(record.held)),
        "helo" => return Some(record.helo.as_deref().unwrap_or("-").to_owned()),
        "authenticated" => return Some(yes_no(record.authenticated)),
        "exempt" => return Some(yes_no(record.exempt)),
        "secured" => return Some(yes_no(record.secured)),
        "introduced" => return Some(yes_no(record.introduced)),
        "client_name" => return Some(record.client_name.as_deref().unwrap_or("-").to_owned()),
        "untrusted_xclient" => record.untrusted_xclient,
        _ => return None,
    };
    Some(count.to_string())
}

fn yes_no(fact: bool) -> String {
    if fact {
        "yes".to_owned()
    } else {
        "no".to_owned()
    }
}
