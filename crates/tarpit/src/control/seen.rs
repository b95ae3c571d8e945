//! What was set by command, for who only looks: from the files, with nothing changed.
//!
//! A gateway need not run, and one that runs is not asked: what is judged is what holds after its next
//! start. So a trial that runs is seen as `observe`.

use std::path::{Path, PathBuf};

use tarpit_core::policy::Mode;
use tarpit_gateway::config::Exemption;

use super::kept::Kept;
use crate::config::Loaded;

/// A configuration, and what was set by command beside it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The configuration, with the modes that hold and its own exemptions.
    pub(crate) loaded: Loaded,
    /// The mode that was set by command, if that holds.
    pub(crate) mode: Option<Mode>,
    /// The exemptions that were made by command.
    pub(crate) exempt: Vec<Exemption>,
    /// Where that was looked for.
    pub(crate) folder: PathBuf,
}

impl Seen {
    /// Reads what is kept. The service's state directory counts for the service's configuration `usual`,
    /// since whoever looks is not started by the service manager.
    ///
    /// # Errors
    ///
    /// A file is broken, or may not be read: with its name.
    pub(crate) fn read(mut loaded: Loaded, usual: &Path) -> Result<Self, String> {
        let kept = Kept::seen_from_outside(&loaded, usual);
        let exempt = kept.exemptions().map_err(|findings| findings.to_string())?;
        let configured = loaded.mode();
        let mode = kept
            .mode()?
            .filter(|kept| kept.configured == configured)
            .map(|kept| kept.mode)
            .filter(|mode| makes_a_difference(*mode, &loaded));
        let modes = modes(&loaded, mode);
        for (listener, mode) in loaded.gateway.listeners.iter_mut().zip(modes) {
            listener.policy.mode = mode;
        }
        Ok(Self {
            loaded,
            mode,
            exempt,
            folder: kept.folder().to_owned(),
        })
    }
}

/// Whether a mode that is set by command is another one than the configuration's: than its own, or
/// than the stricter one of a listener.
pub(super) fn makes_a_difference(mode: Mode, loaded: &Loaded) -> bool {
    mode != loaded.mode() || modes(loaded, Some(mode)) != modes(loaded, None)
}

/// The modes of the listeners, in their order, where this one was set by command. A listener with one
/// of its own gets the laxer of the two.
pub(super) fn modes(loaded: &Loaded, commanded: Option<Mode>) -> Vec<Mode> {
    let listeners = loaded.gateway.listeners.iter().enumerate();
    let mode = |(at, listener): (usize, &tarpit_gateway::config::Listener)| {
        let own = listener.policy.mode;
        match commanded {
            None => own,
            Some(mode) if loaded.has_own_mode(at) => own.min(mode),
            Some(mode) => mode,
        }
    };
    listeners.map(mode).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::load;

    #[test]
    fn nothing_is_changed_by_looking() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tarpit.toml");
        let text = "hostname = \"mx.example.org\"\n[[upstream]]\naddress = \"192.0.2.2:25\"\n\
                    [tarpit]\nmode = \"enforce\"\n\
                    [[listener]]\nname = \"mx\"\naddress = \"192.0.2.1:25\"\n\
                    [[listener]]\nname = \"users\"\naddress = \"192.0.2.1:587\"\ntarpit.mode = \"off\"\n";
        fs::write(&file, text).unwrap();
        let seen = || Seen::read(load(&file).unwrap(), Path::new("/nowhere"));
        let modes = |seen: &Seen| -> Vec<Mode> {
            let listeners = seen.loaded.gateway.listeners.iter();
            listeners.map(|listener| listener.policy.mode).collect()
        };
        let nothing = seen().unwrap();
        assert_eq!((nothing.mode, nothing.exempt.len()), (None, 0));
        assert_eq!(nothing.folder, folder.path());
        // As a trial leaves it.
        let kept = folder.path().join("mode.toml");
        let trial = "mode = \"observe\"\nconfigured = \"enforce\"\ntrial = true\n";
        fs::write(&kept, trial).unwrap();
        let observes = seen().unwrap();
        assert_eq!(observes.mode, Some(Mode::Observe));
        assert_eq!(modes(&observes), [Mode::Observe, Mode::Off]);
        assert_eq!(fs::read_to_string(&kept).unwrap(), trial);
        // The file has been changed since: it holds.
        fs::write(&kept, "mode = \"off\"\nconfigured = \"observe\"\n").unwrap();
        assert_eq!(modes(&seen().unwrap()), [Mode::Enforce, Mode::Off]);
        // It is the configuration's own, but a listener of it is stricter.
        let stricter = text
            .replace("\"enforce\"", "\"observe\"")
            .replace("\"off\"", "\"enforce\"");
        fs::write(&file, stricter).unwrap();
        assert_eq!(modes(&seen().unwrap()), [Mode::Off, Mode::Off]);
        fs::write(&kept, "mode = \"observe\"\nconfigured = \"observe\"\n").unwrap();
        assert_eq!(modes(&seen().unwrap()), [Mode::Observe, Mode::Observe]);
        fs::write(&kept, "mode = \"on\"\n").unwrap();
        assert!(seen().unwrap_err().contains("mode.toml"));
    }
}
