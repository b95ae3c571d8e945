//! One command line, read by us and by the parser of the crate `smtp-proto`: where two servers in a row read a line in two
//! ways, mail is smuggled or lost.
//!
//! Promise: whatever both accept means the same to both, and so does the line that we print for an upstream. Where
//! one refuses what the other takes, or reads it otherwise, a row of [`known::TABLE`] says why that is fine; a difference without
//! a row fails. The rows stand in docs/parser-differences.md too.
//!
//! It lives in this workspace, since the product doesn't depend on that crate.

pub mod known;
pub mod meaning;

use known::{Case, Difference};
use meaning::Meaning;
use smtp_proto::Request;
use tarpit_smtp::{Command, CommandError};
use tarpit_smtp::{write_bdat, write_ehlo, write_helo, write_mail, write_rcpt, write_verb};

/// Panics at a difference that isn't known.
pub fn check(line: &[u8]) {
    // The reader of lines lets none of these through.
    if line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
        return;
    }
    compare(line);
    if let Ok(command) = Command::parse(line)
        && let Some(printed) = printed(&command)
    {
        let printed = printed.strip_suffix(b"\r\n").expect("a line");
        compare(printed);
    }
}

/// The row that explains how the readings of `line` differ; `None` if they don't.
pub fn compare(line: &[u8]) -> Option<&'static Difference> {
    let ours = Command::parse(line);
    let whole = [line, b"\r\n"].concat();
    let theirs = Request::parse(&mut whole.iter());
    let (ours_mean, theirs_mean) = (
        ours.as_ref().ok().map(Meaning::ours),
        theirs.as_ref().ok().map(Meaning::theirs),
    );
    if ours_mean == theirs_mean {
        return None;
    }
    let case = Case {
        line,
        ours: ours_mean,
        error: ours.err(),
        theirs: theirs_mean,
    };
    let row = known::TABLE.iter().find(|row| (row.applies)(&case));
    assert!(
        row.is_some(),
        "unknown difference: {:?}: ours {:?} {:?}, theirs {theirs:?}",
        String::from_utf8_lossy(line),
        case.ours,
        case.error,
    );
    row
}

/// The command as an upstream would be told; `None` if it's never passed on.
fn printed(command: &Command<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match *command {
        Command::Mail { path, params } => write_mail(&mut out, path.as_str(), &params.printed()),
        Command::Rcpt { path, params } => write_rcpt(&mut out, path.as_str(), &params.printed()),
        Command::Ehlo(name) => write_ehlo(&mut out, name),
        Command::Helo(name) => write_helo(&mut out, name),
        Command::Bdat { size, last } => write_bdat(&mut out, size, last),
        Command::Data | Command::Rset | Command::Quit | Command::StartTls => {
            write_verb(&mut out, command.verb());
        }
        _ => return None,
    }
    Some(out)
}

/// Whether we refused for want of a meaning, rather than for a line's form.
pub(crate) fn is_unoffered(error: CommandError) -> bool {
    matches!(
        error,
        CommandError::NotImplemented(_) | CommandError::UnknownParameter(_)
    )
}
