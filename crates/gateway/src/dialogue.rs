//! What clients and we said, with its times: of a sample of sessions, while somebody looks.
//!
//! What it promises: no message, no password and nothing of an AUTH exchange is in it, and nothing
//! that is no command: of a line whose verb is not known only the length is kept, since a client that
//! was refused AUTH may say its password all the same, and one that was refused DATA its message.
//! For sessions that are not in the sample it costs one look at an atomic number for each command;
//! nothing at all is begun while nobody looks. Addresses are shown as `[log] addresses` says.
//! Places, lines and octets are bounded, so all of it is: [`PLACES`] times [`LINES_MAX`] times
//! [`LINE_MAX`] octets, 4 MiB.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tarpit_core::ledger::Ledger;
use tarpit_core::{Input, Session, SessionId, Source, Tick};
use tarpit_smtp::escape;

use crate::config::Addresses;

/// Sessions that are kept. A power of two, so that a name that is shown is enough to find one.
const PLACES: usize = 256;

/// Lines of one session: a harvester's first thirty guesses.
const LINES_MAX: usize = 64;

/// Octets of a line.
const LINE_MAX: usize = 256;

/// Sessions that are begun in a second: of known senders, and of all others. A flood pushes out
/// nobody whom one could still want to open.
const A_SECOND: u32 = 4;

/// How long a session keeps its place at least.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// How long the sample goes on after somebody looked.
const LOOKED_FOR: Duration = Duration::from_secs(10);

/// Commands with an address in them, and what stands before it. A line of a message may begin with
/// the same word; seldom with both.
const WITH_ADDRESS: &[(&str, &str)] = &[
    ("MAIL", "FROM:"),
    ("RCPT", "TO:"),
    ("VRFY", ""),
    ("EXPN", ""),
];

/// Commands that are shown as they were said; none has a secret in it.
const SHOWN: &[&str] = &["HELO", "EHLO", "BDAT"];

/// Commands that are shown without what stands behind them: it means nothing to us.
const BARE: &[&str] = &["DATA", "RSET", "NOOP", "QUIT", "HELP", "STARTTLS"];

/// Mechanisms of AUTH whose names are shown: those that clients try.
const MECHANISMS: &[&str] = &[
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
    "DIGEST-MD5",
    "NTLM",
    "GSSAPI",
    "EXTERNAL",
    "XOAUTH2",
    "OAUTHBEARER",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
];

/// What was said in a session, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialogue {
    /// Its name.
    pub id: SessionId,
    /// In the order in which they were said.
    pub lines: Vec<DialogueLine>,
    /// More was said than is kept.
    pub cut: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogueLine {
    /// Since the session began.
    pub at: Duration,
    /// Who said it.
    pub speaker: Speaker,
    /// In printable ASCII, without its line end.
    pub text: Box<str>,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The client.
    Client,
    /// We, or the upstream through us.
    Gateway,
    /// Nobody: something happened that is no line.
    Nobody,
}

impl Speaker {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "server",
            Self::Nobody => "note",
        }
    }
}

/// The sample.
#[derive(Debug)]
pub(crate) struct Dialogues {
    /// Milliseconds of the clock until which somebody looks.
    wanted_until: AtomicU64,
    places: Box<[Place]>,
    begun: Mutex<Begun>,
}

#[derive(Debug, Default)]
struct Place {
    /// Whose it is; 0 for nobody's.
    id: AtomicU64,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    began: Tick,
    dialogue: Dialogue,
}

/// How many were begun in this second.
#[derive(Debug, Default)]
struct Begun {
    second: u64,
    known: u32,
    others: u32,
}

/// What came in, before the machine takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    Opened,
    Line(&'a [u8]),
    /// A line of an AUTH exchange.
    Secret,
    Note(&'static str),
    Nothing,
}

impl<'a> Heard<'a> {
    pub(crate) fn of(input: &Input<'a>, session: &Session) -> Self {
        match input {
            Input::Opened(_) => Self::Opened,
            Input::Bytes(_) if session.is_in_auth() => Self::Secret,
            Input::Bytes(octets) => Self::Line(octets),
            Input::DataEnd(_) => Self::Note("message data"),
            Input::Secured => Self::Note("TLS"),
            Input::Gone => Self::Note("the client left"),
            Input::TimedOut => Self::Note("the client said nothing for too long"),
            Input::Shed => Self::Note("let go early: the pit is full"),
            _ => Self::Nothing,
        }
    }
}

impl Default for Dialogues {
    fn default() -> Self {
        Self {
            wanted_until: AtomicU64::new(0),
            places: (0..PLACES).map(|_| Place::default()).collect(),
            begun: Mutex::default(),
        }
    }
}

impl Dialogues {
    /// Somebody looks.
    pub(crate) fn want(&self, now: Tick) {
        let until = (now + LOOKED_FOR).as_millis();
        self.wanted_until.store(until, Ordering::Relaxed);
    }

    /// A session begins, and may get a place.
    pub(crate) fn begin(&self, id: SessionId, source: Source, now: Tick, ledger: &Ledger) {
        if self.wanted_until.load(Ordering::Relaxed) < now.as_millis() {
            return;
        }
        let place = self.place(id);
        let mut kept = lock(&place.kept);
        if kept
            .as_ref()
            .is_some_and(|kept| now.since(kept.began) < KEPT_FOR)
            || !self.may_begin(now, || ledger.is_known(now, source))
        {
            return;
        }
        *kept = Some(Kept {
            began: now,
            dialogue: Dialogue {
                id,
                lines: Vec::new(),
                cut: false,
            },
        });
        place.id.store(id.0, Ordering::Relaxed);
    }

    fn may_begin(&self, now: Tick, is_known: impl FnOnce() -> bool) -> bool {
        let second = now.as_millis() / 1000;
        let mut begun = lock(&self.begun);
        if begun.second != second {
            *begun = Begun {
                second,
                ..Begun::default()
            };
        }
        if begun.others >= A_SECOND && begun.known >= A_SECOND {
            return false;
        }
        let count = if is_known() {
            &mut begun.known
        } else {
            &mut begun.others
        };
        *count += 1;
        *count <= A_SECOND
    }

    /// Something was heard, and this was said to it. Of what was heard, so many octets were taken.
    pub(crate) fn note(
        &self,
        id: SessionId,
        now: Tick,
        heard: Heard<'_>,
        taken: usize,
        said: &[u8],
        addresses: Addresses,
    ) {
        let place = self.place(id);
        if place.id.load(Ordering::Relaxed) != id.0 {
            return;
        }
        let mut kept = lock(&place.kept);
        let Some(kept) = kept.as_mut().filter(|kept| kept.dialogue.id == id) else {
            return;
        };
        match heard {
            Heard::Line(octets) => {
                let line = octets.get(..taken).unwrap_or_default();
                if !line.is_empty() {
                    kept.add(now, Speaker::Client, || command(line, addresses));
                }
            }
            Heard::Secret if taken > 0 => {
                kept.add(now, Speaker::Client, || "(not shown)".into());
            }
            Heard::Note(note) => kept.add(now, Speaker::Nobody, || note.into()),
            Heard::Opened | Heard::Secret | Heard::Nothing => {}
        }
        for line in said.split(|octet| *octet == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b"334 ") {
                kept.add(now, Speaker::Gateway, || "334 (not shown)".into());
            } else if !line.is_empty() {
                kept.add(now, Speaker::Gateway, || shown(line, addresses));
            }
        }
    }

    /// What is kept of a session, by the name that is shown.
    pub(crate) fn of(&self, id: SessionId) -> Option<Dialogue> {
        let kept = lock(&self.place(id).kept);
        let dialogue = &kept.as_ref()?.dialogue;
        (dialogue.id.shown() == id.shown()).then(|| dialogue.clone())
    }

    fn place(&self, id: SessionId) -> &Place {
        let low = usize::try_from(id.0 % PLACES as u64).unwrap_or(0);
        &self.places[low]
    }
}

impl Kept {
    /// The text is made only if there is room for it: whoever goes on for hours costs no more than
    /// others.
    fn add(&mut self, now: Tick, speaker: Speaker, text: impl FnOnce() -> Box<str>) {
        let dialogue = &mut self.dialogue;
        if dialogue.lines.len() >= LINES_MAX {
            dialogue.cut = true;
            return;
        }
        let at = now.since(self.began);
        let text = text();
        dialogue.lines.push(DialogueLine { at, speaker, text });
    }
}

/// A command as it may be shown.
fn command(line: &[u8], addresses: Addresses) -> Box<str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let at = line.iter().position(|octet| *octet == b' ');
    let (verb, rest) = line.split_at(at.unwrap_or(line.len()));
    let rest = rest.trim_ascii();
    let is = |word: &str| verb.eq_ignore_ascii_case(word.as_bytes());
    let is_behind = |word: &str| {
        let start = rest.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    if WITH_ADDRESS
        .iter()
        .any(|(word, begins)| is(word) && is_behind(begins))
    {
        return match addresses {
            Addresses::Full => cut(&escape(line).to_string()),
            _ => veiled(line, verb, addresses),
        };
    }
    if SHOWN.iter().any(|word| is(word)) {
        return shown(line, addresses);
    }
    let is_bare = BARE.iter().any(|word| is(word));
    match (is_bare, is("AUTH")) {
        (true, _) if rest.is_empty() => escape(verb).to_string().into(),
        (true, _) => format!("{} (not shown)", escape(verb)).into(),
        (_, true) => auth(rest),
        _ => format!("(no command: {} octets)", line.len()).into(),
    }
}

/// AUTH: its mechanism, if it is one. Some clients say the password in its place.
fn auth(rest: &[u8]) -> Box<str> {
    let mut words = rest.split(|octet| *octet == b' ');
    let said = words.next().unwrap_or_default();
    let mechanism = MECHANISMS
        .iter()
        .find(|mechanism| said.eq_ignore_ascii_case(mechanism.as_bytes()));
    match (mechanism, words.next()) {
        (Some(mechanism), None) => format!("AUTH {mechanism}").into(),
        (Some(mechanism), Some(_)) => format!("AUTH {mechanism} (not shown)").into(),
        (None, _) => "AUTH (not shown)".into(),
    }
}

/// Of a command with an address, the verb and what may be shown of the path. Parameters may have an
/// address in them too (ORCPT), and a path without its brackets may be anything.
fn veiled(line: &[u8], verb: &[u8], addresses: Addresses) -> Box<str> {
    let text = String::from_utf8_lossy(line);
    let (verb, open, close) = (escape(verb), text.find('<'), text.rfind('>'));
    let path = open
        .zip(close)
        .and_then(|(open, close)| text.get(open + 1..close));
    match path {
        Some(path) => cut(&format!("{verb} <{}>", addresses.show(path))),
        None => format!("{verb} (not shown)").into(),
    }
}

/// A line with its addresses veiled before it is cut: half an address is one too.
fn shown(line: &[u8], addresses: Addresses) -> Box<str> {
    match addresses {
        Addresses::Full => cut(&escape(line).to_string()),
        _ => {
            let text = String::from_utf8_lossy(line);
            let veiled = addresses.show_text(&text);
            cut(&escape(veiled.as_bytes()).to_string())
        }
    }
}

/// The start of a text in printable ASCII.
fn cut(text: &str) -> Box<str> {
    match text.get(..LINE_MAX) {
        Some(start) if start.len() < text.len() => format!("{start} (cut)").into(),
        _ => text.into(),
    }
}

/// Whoever panicked with it left it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
