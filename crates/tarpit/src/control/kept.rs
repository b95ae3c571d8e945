//! The files: written whole or not at all, by a rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tarpit_core::policy::Mode;
use tarpit_gateway::config::Exemption;

use crate::config::{Findings, Loaded, load_exemptions, quote};

const EXEMPTIONS: &str = "exemptions.toml";
const MODE: &str = "mode.toml";

/// The state directory of the package's unit.
const USUAL_STATE: &str = "/var/lib/tarpit";

const EXEMPTIONS_HEAD: &str = "\
# Exemptions that were made by command: `tarpit exempt add` and `remove` write this file anew. They hold beside
# those in the configuration.
";
const MODE_HEAD: &str = "\
# The mode that was set by command: `tarpit mode` writes this file anew. It holds until [tarpit] mode in the
# configuration is another one than `configured`.
";

/// The mode that was set by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeptMode {
    /// Which.
    pub(super) mode: Mode,
    /// What the configuration said then.
    pub(super) configured: Mode,
    /// A trial runs: whoever reads this knows that it was cut short.
    pub(super) trial: bool,
}

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// As the configuration says, or the service manager, or else beside the configuration.
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self::or(loaded, state_directory)
    }

    /// The same for a process that the service manager did not start: of the service's own
    /// configuration `usual` they are where the package's unit has them.
    pub(super) fn seen_from_outside(loaded: &Loaded, usual: &Path) -> Self {
        let of_service = || (loaded.file == usual).then(|| PathBuf::from(USUAL_STATE));
        Self::or(loaded, || state_directory().or_else(of_service))
    }

    fn or(loaded: &Loaded, state: impl FnOnce() -> Option<PathBuf>) -> Self {
        let beside = || {
            let folder = loaded
                .file
                .parent()
                .filter(|folder| *folder != Path::new(""));
            folder.unwrap_or_else(|| Path::new(".")).to_owned()
        };
        let configured = loaded.control.directory.clone();
        Self {
            folder: configured.or_else(state).unwrap_or_else(beside),
        }
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    #[cfg(test)]
    pub(super) fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The file of the exemptions.
    pub(super) fn exemptions_file(&self) -> PathBuf {
        self.folder.join(EXEMPTIONS)
    }

    pub(super) fn exemptions(&self) -> Result<Vec<Exemption>, Findings> {
        load_exemptions(&self.exemptions_file())
    }

    pub(super) fn keep_exemptions(&self, list: &[Exemption]) -> io::Result<()> {
        let mut text = EXEMPTIONS_HEAD.to_owned();
        for Exemption {
            network,
            reason,
            until,
        } in list
        {
            text.push_str(&format!(
                "\n[[exempt]]\nnetwork = \"{network}\"\nreason = {}\n",
                quote(reason)
            ));
            if let Some(until) = until.and_then(show_moment) {
                text.push_str(&format!("until = {until}\n"));
            }
        }
        self.write(EXEMPTIONS, &text)
    }

    /// The mode, if one was set by command. A file that can't be read is as good as none, but for who
    /// must not be held on its account: the caller takes the laxer of `observe` and the configuration.
    pub(super) fn mode(&self) -> Result<Option<KeptMode>, String> {
        let path = self.folder.join(MODE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let wrong = |what: &str| format!("{}: {what}", path.display());
        let table: toml::Table = text.parse().map_err(|_| wrong("it is not TOML"))?;
        let mode_of = |key| {
            let word = table.get(key).and_then(toml::Value::as_str);
            let found = Mode::ALL
                .into_iter()
                .find(|mode| Some(mode.as_str()) == word);
            found.ok_or_else(|| wrong(&format!("{key} is none of off, observe, enforce")))
        };
        Ok(Some(KeptMode {
            mode: mode_of("mode")?,
            configured: mode_of("configured")?,
            trial: table.get("trial").and_then(toml::Value::as_bool) == Some(true),
        }))
    }

    /// Keeps the mode; none: the configuration's holds.
    pub(super) fn keep_mode(&self, mode: Option<KeptMode>) -> io::Result<()> {
        let Some(kept) = mode else {
            let gone = || fs::remove_file(self.folder.join(MODE)).and_then(|()| self.sync());
            return match aside(gone) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                gone => gone,
            };
        };
        let (mode, configured) = (kept.mode.as_str(), kept.configured.as_str());
        let trial = kept.trial;
        let text = format!(
            "{MODE_HEAD}mode = \"{mode}\"\nconfigured = \"{configured}\"\ntrial = {trial}\n"
        );
        self.write(MODE, &text)
    }

    /// Whoever reads the file sees the old text or the new one, also after a power failure.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.folder.join(name);
        let beside = self.folder.join(format!(".{name}.new"));
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o640);
            let mut file = options.open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            self.sync()
        };
        aside(write)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// Waits for the disk; what else this thread of the runtime has to do, mail among it, goes to another.
fn aside<T>(wait: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(wait)
}

/// A moment in seconds since 1970, as the file has it; `None` beyond the calendar of the standards.
pub(super) fn show_moment(at: u64) -> Option<String> {
    let moment = jiff::Timestamp::from_second(i64::try_from(at).ok()?).ok()?;
    Some(moment.to_string())
}

/// systemd.exec(5): several are separated by colons.
fn state_directory() -> Option<PathBuf> {
    let list = std::env::var_os("STATE_DIRECTORY").filter(|list| !list.is_empty())?;
    std::env::split_paths(&list).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        assert_eq!(kept.exemptions().unwrap(), []);
        assert_eq!(kept.mode(), Ok(None));
        let exemption = |network: &str, reason: &str, until| Exemption {
            network: network.parse().unwrap(),
            reason: reason.into(),
            until,
        };
        let list = [
            exemption("192.0.2.0/24", "ACME's \"order\" system", None),
            exemption("2001:db8::1/128", "ü until \\ fixed", Some(1_806_451_200)),
        ];
        kept.keep_exemptions(&list).unwrap();
        assert_eq!(kept.exemptions().unwrap(), list);
        kept.keep_exemptions(&[]).unwrap();
        assert_eq!(kept.exemptions().unwrap(), []);
        for mode in Mode::ALL {
            let mode = KeptMode {
                mode,
                configured: Mode::Enforce,
                trial: mode == Mode::Observe,
            };
            kept.keep_mode(Some(mode)).unwrap();
            assert_eq!(kept.mode(), Ok(Some(mode)));
        }
        for _ in 0..2 {
            kept.keep_mode(None).unwrap();
            assert_eq!(kept.mode(), Ok(None));
        }
    }

    #[test]
    fn what_is_broken_is_said_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        for (text, says) in [
            (
                "[[exempt]]\nnetwork = \"192.0.2.1\"\n",
                "exemptions.toml:1:1: exempt.reason",
            ),
            ("[[exempt]\n", "exemptions.toml:1:"),
            ("tarpit.mode = \"off\"\n", "does not belong here"),
            (
                "[[exempt]]\nnetwork = \"x\"\nreason = \"y\"\n",
                "exemptions.toml:2:11: exempt.network",
            ),
        ] {
            fs::write(folder.path().join(EXEMPTIONS), text).unwrap();
            let findings = kept.exemptions().unwrap_err().to_string();
            assert!(findings.contains(says), "{text}: {findings}");
        }
        for text in [
            "",
            "mode = 1",
            "mode = \"on\"\nconfigured = \"off\"",
            "mode = ",
        ] {
            fs::write(folder.path().join(MODE), text).unwrap();
            assert!(kept.mode().unwrap_err().contains("mode.toml"), "{text}");
        }
    }
}
