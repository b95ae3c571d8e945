//! The differences that are known, and why they are fine.

use crate::is_unoffered;
use crate::meaning::Meaning;
use tarpit_smtp::{Command, CommandError, ForwardPath, ReversePath, Verb};

/// One line that is read in two ways.
pub struct Case<'a> {
    /// The line without CRLF.
    pub line: &'a [u8],
    /// What it means to us.
    pub ours: Option<Meaning>,
    /// Why it means nothing to us.
    pub error: Option<CommandError>,
    /// What it means to them.
    pub theirs: Option<Meaning>,
}

/// A known difference.
pub struct Difference {
    /// Which side is the stricter one.
    pub kind: Kind,
    /// What differs.
    pub what: &'static str,
    /// Why that is fine.
    pub why: &'static str,
    /// Whether it explains a case.
    pub applies: fn(&Case<'_>) -> bool,
}

/// Which side is the stricter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// We refuse what they take: such a line never gets past us.
    OursStricter,
    /// They refuse what we take: such a server answers 5yz, and the client hears it.
    TheirsStricter,
    /// Both take it, with two meanings.
    Differs,
}

use Kind::{Differs, OursStricter, TheirsStricter};

const fn row(
    kind: Kind,
    what: &'static str,
    why: &'static str,
    applies: fn(&Case<'_>) -> bool,
) -> Difference {
    Difference {
        kind,
        what,
        why,
        applies,
    }
}

/// All known differences; the first that applies explains a case.
pub const TABLE: &[Difference] = &[
    row(
        OursStricter,
        "white space before the verb, `LHLO`",
        "the verb decides the limit of a line, so it must stand first; LMTP isn't served",
        |case| case.refused(|error| error == CommandError::UnknownVerb),
    ),
    row(
        OursStricter,
        "`ETRN`, `ATRN`, `BURL`, and parameters that we don't know: `SOLICIT`, `TRANSID`, `MTRK`, `CONPERM`, `CONNEG`, `RRVS`",
        "they are not announced, and answered 502 or 555",
        |case| case.refused(is_unoffered),
    ),
    row(
        OursStricter,
        "words after `DATA`, `RSET`, `QUIT`, `STARTTLS`, `EHLO name`, `BDAT size LAST`, `AUTH mechanism response`; verbs without their argument; text between \
         `FROM` and its colon; parameters that are no `KEY=value`",
        "RFC 5321 §4.3.2 has 501 for them; nothing that isn't understood to its end is acted on",
        |case| case.refused(|error| matches!(error, CommandError::Syntax(_))),
    ),
    row(
        OursStricter,
        "paths without their closing bracket or with text behind it, with spaces, without a domain, with malformed or long domains and routes, with \
         characters that some reader takes for something else",
        "servers differ in where such a path ends, or in what it names",
        |case| case.refused(|error| matches!(error, CommandError::Path(..))),
    ),
    row(
        OursStricter,
        "parameters given twice; `BY`, `MT-PRIORITY`, `HOLDFOR`, `SIZE` and `ENVID` out of the range of their RFC; xtext with bad digits or control characters; \
         an initial response that is no base64",
        "they take the last one, or a value that another server would not",
        |case| case.refused(|error| matches!(error, CommandError::Parameter(_))),
    ),
    row(
        OursStricter,
        "octets above 127 outside addresses, and what is no UTF-8",
        "RFC 6531 allows UTF-8 in addresses, and nothing else above 127 anywhere",
        |case| case.refused(|error| matches!(error, CommandError::NotAscii(_))),
    ),
    row(
        TheirsStricter,
        "`XCLIENT`",
        "it's said only to a server that announces it",
        |case| case.alone() && case.is(Verb::Xclient),
    ),
    row(
        TheirsStricter,
        "tabs, or several spaces, between words",
        "we print one space",
        |case| case.is_spaced(),
    ),
    row(
        TheirsStricter,
        "mechanisms of AUTH that they don't know",
        "only mechanisms that the server announced are relayed",
        |case| case.alone() && case.is(Verb::Auth),
    ),
    row(
        TheirsStricter,
        "address literals, dots at the ends of a local part or two in a row, paths of more than 256 octets, `NOOP`, `HELP`, `VRFY` and `EXPN` with long or quoted text",
        "RFC 5321 §4.1.3 has literals, and real mail has such dots; the server's refusal is passed on",
        |case| case.alone() && case.has_path_they_refuse(),
    ),
    row(
        TheirsStricter,
        "the largest number that 64 bits hold",
        "they use it as a mark; nobody sends such a message",
        |case| case.alone() && case.has("18446744073709551615"),
    ),
    row(
        TheirsStricter,
        "`ORCPT` of another type than `rfc822`, and values of `ORCPT` and `AUTH` over 256 octets",
        "RFC 3461 §4.2 has other types, and 500 octets",
        |case| case.alone() && (case.has("ORCPT=") || case.has("AUTH=")),
    ),
    row(
        TheirsStricter,
        "`HOLDUNTIL` before 1970",
        "such a time is over; the server's refusal is passed on",
        |case| case.has("HOLDUNTIL="),
    ),
    row(
        Differs,
        "backslashes in quoted local parts",
        "they keep or drop some that RFC 5321 §4.1.2 has as quoted pairs; the text itself is passed on as it was written",
        |case| case.both() && case.has_quoted_path() && case.has("\\"),
    ),
];

impl Case<'_> {
    fn refused(&self, fits: impl Fn(CommandError) -> bool) -> bool {
        self.theirs.is_some() && self.error.is_some_and(fits)
    }

    /// We alone take it.
    fn alone(&self) -> bool {
        self.ours.is_some() && self.theirs.is_none()
    }

    fn both(&self) -> bool {
        self.ours.is_some() && self.theirs.is_some()
    }

    fn is(&self, verb: Verb) -> bool {
        Command::parse(self.line).is_ok_and(|command| command.verb() == verb)
    }

    /// Whether the line has this text, in any case.
    fn has(&self, text: &str) -> bool {
        let windows = &mut self.line.windows(text.len());
        windows.any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
    }

    fn is_spaced(&self) -> bool {
        self.ours.is_some() && (self.has("\t") || self.has("  "))
    }

    fn path(&self) -> Option<&str> {
        match Command::parse(self.line) {
            Ok(Command::Mail {
                path: path @ ReversePath::Mailbox(_),
                ..
            }) => Some(path.as_str()),
            Ok(Command::Rcpt {
                path: path @ ForwardPath::Mailbox(_),
                ..
            }) => Some(path.as_str()),
            _ => None,
        }
    }

    fn has_quoted_path(&self) -> bool {
        self.path().is_some_and(|path| path.starts_with('"'))
    }

    fn has_path_they_refuse(&self) -> bool {
        let argument = [Verb::Vrfy, Verb::Expn, Verb::Noop, Verb::Help];
        argument.into_iter().any(|verb| self.is(verb))
            || self.path().is_some_and(|path| {
                let dots = path.starts_with('.') || path.contains("..") || path.contains(".@");
                dots || path.contains("@[") || path.len() > 256 || path.starts_with("\"\"@")
            })
    }
}

/// The table as docs/parser-differences.md.
#[must_use]
pub fn markdown() -> String {
    let mut page = "\
# Where two parsers differ

<!-- Made from the table in fuzz/src/known.rs: `BLESS=1 cargo test --manifest-path fuzz/Cargo.toml`. -->

A fuzz target (`fuzz/fuzz_targets/differential.rs`) reads each line with Tarpit's parser and with the one of the crate
`smtp-proto`, and the line that Tarpit prints for an upstream too. What both accept must mean the same to both. These are the
differences that are known; any other one fails the target.
"
    .to_owned();
    for (kind, title) in [
        (OursStricter, "Tarpit refuses, the other takes"),
        (TheirsStricter, "Tarpit takes, the other refuses"),
        (Differs, "Both take, with two meanings"),
    ] {
        page.push_str(&format!(
            "\n## {title}\n\n| What | Why that is fine |\n|---|---|\n"
        ));
        for row in TABLE.iter().filter(|row| row.kind == kind) {
            page.push_str(&format!("| {} | {} |\n", row.what, row.why));
        }
    }
    page
}
