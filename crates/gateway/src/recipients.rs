//! The recipients file: one address a line, read whole or not at all, and again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tarpit_core::filter::Names;

use crate::config::Recipients;
use crate::shared::Shared;

/// How often the file is looked at. A system call a second is nothing, and an administrator who
/// has just added a mailbox does not wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It can't be read.
    #[error("recipients file {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A line holds what is no address.
    #[error(
        "recipients file {path}, line {line}: found {found:?}, allowed: user@domain, @domain, or a comment after #"
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The line, cut to 80 characters.
        found: String,
    },
    /// There is no address in it: more likely a half-written file than a wish to refuse all mail.
    #[error("recipients file {path}: found no address, at least one is needed")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads a recipients file.
///
/// # Errors
/// [`ReadError`] if it can't be read, a line holds what is no address, or there is none at all.
pub fn read(path: &Path) -> Result<Names, ReadError> {
    let text = std::fs::read_to_string(path).map_err(|error| ReadError::Io {
        path: path.to_owned(),
        error,
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Names, ReadError> {
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() {
            continue;
        }
        if !is_address(name) {
            let found = name.chars().take(80).collect();
            return Err(ReadError::Line {
                path: path.to_owned(),
                line: index + 1,
                found,
            });
        }
        names.push(name.into());
    }
    if names.is_empty() {
        return Err(ReadError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(Names::new(names))
}

fn is_address(name: &str) -> bool {
    let Some((_, domain)) = name.rsplit_once('@') else {
        return false;
    };
    // Addresses in UTF-8 too (RFC 6531), the domain in either of its forms.
    let may_stand = |letter: char| {
        letter.is_ascii_graphic()
            || !(letter.is_ascii() || letter.is_whitespace() || letter.is_control())
    };
    !domain.is_empty() && name.chars().all(may_stand)
}

/// What tells that a file is another one.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Looks at the file in force and takes it again when it changed. A bad one is refused and said
/// so; the old list stays.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut seen: Option<(PathBuf, Option<(SystemTime, u64)>)> = None;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        let live = shared.live.load_full();
        let Recipients::File(path) = live.config.recipients.clone() else {
            seen = None;
            continue;
        };
        let now = (path.clone(), stamp(&path));
        if seen.as_ref() == Some(&now) {
            continue;
        }
        let first = seen.as_ref().is_none_or(|(before, _)| *before != path);
        seen = Some(now);
        if first {
            continue;
        }
        match tokio::task::spawn_blocking(move || read(&path)).await {
            Ok(Ok(names)) => {
                tracing::info!(target: "tarpit::recipients", names = names.len(), "recipients file taken again");
                live.replace_names(names);
            }
            Ok(Err(error)) => {
                tracing::error!(target: "tarpit::recipients", %error, "recipients file refused, the old list stays");
            }
            Err(_) => {
                tracing::error!(target: "tarpit::recipients", "reading the recipients file failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<usize, String> {
        parse(Path::new("names"), text)
            .map(|names| names.len())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn reads_and_refuses() {
        assert_eq!(
            check("a@example.org\n# all of it\n@example.net # yes\n\n"),
            Ok(2)
        );
        assert!(
            check("a@example.org\nbob\n")
                .unwrap_err()
                .contains("line 2: found \"bob\"")
        );
        assert!(check("a b@example.org").is_err());
        assert_eq!(
            check("j\u{fc}rgen@b\u{fc}cher.example\nj\u{fc}rgen@xn--bcher-kva.example\n"),
            Ok(1),
            "two forms of one name"
        );
        assert!(check("a\u{a0}b@example.org").is_err());
        assert!(check("# nothing\n").unwrap_err().contains("no address"));
    }
}
