//! The folder of one trial: a configuration file, which can be read and used, and the mail.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A fresh folder in the system's folder for temporary files.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
}

impl Place {
    /// Makes it, with the configuration in it.
    ///
    /// # Errors
    ///
    /// The folder or the file can't be made.
    pub(super) fn create(listen: &[SocketAddr], recipients: &[&str]) -> anyhow::Result<Self> {
        // Not a name that someone else could have made before us: folders for temporary files are
        // everybody's. An existing one is an error, never used.
        let random = RandomState::new().build_hasher().finish();
        let folder = std::env::temp_dir().join(format!("tarpit-try-{random:016x}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| format!("can't make the folder {}", folder.display()))?;
        let place = Self { folder };
        let file = place.config_file();
        let written = fs::write(&file, config_text(listen, recipients));
        written.with_context(|| format!("can't write {}", file.display()))?;
        Ok(place)
    }

    /// The configuration.
    pub(super) fn config_file(&self) -> PathBuf {
        self.folder.join("tarpit.toml")
    }

    /// Where the visitor's mail goes.
    pub(super) fn mail(&self) -> PathBuf {
        self.folder.join("mail")
    }

    /// Where the race's mail goes, until the race is over.
    pub(super) fn race(&self) -> PathBuf {
        self.folder.join("race")
    }

    /// Forgets the race's mail, if there is any: the race made it.
    pub(super) fn clear_race(&self) -> anyhow::Result<()> {
        let race = self.race();
        match fs::remove_dir_all(&race) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.with_context(|| format!("can't clear {}", race.display())),
        }
    }

    /// Removes the folder, unless there is mail of the visitor's in it; says which.
    ///
    /// # Errors
    ///
    /// Something in it can't be read or removed.
    pub(super) fn close(&self) -> anyhow::Result<String> {
        let folder = self.folder.display();
        self.clear_race()?;
        if has_files(&self.mail()) {
            return Ok(format!("The mail stays in {}.", self.mail().display()));
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("can't remove {folder}"))?;
        Ok(format!("No mail came, so {folder} is removed."))
    }
}

/// Whether there is a file in a folder or below it. Not if it can't be read.
fn has_files(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            has_files(&path)
        } else {
            true
        }
    })
}

fn config_text(listen: &[SocketAddr], recipients: &[&str]) -> String {
    let mut text = "# What `tarpit try` runs with.\n\
                    hostname = \"tarpit.example.test\"\n\
                    domains = [\"example.test\"]\n"
        .to_owned();
    for address in listen {
        let name = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        write!(
            text,
            "\n[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\n"
        )
        .expect("writing to a string can't fail");
    }
    let recipients = recipients
        .iter()
        .map(|one| format!("\"{one}\""))
        .collect::<Vec<_>>()
        .join(", ");
    write!(
        text,
        "\n[maildir]\nroot = \"mail\"\nrecipients = [{recipients}]\n\
         \n[tarpit]\nmode = \"enforce\"\ndelay = \"5s\"\nscope = \"source\"\n\
         \n[limits]\n# Nobody waits for a trial to end.\ndrain_timeout = \"3s\"\n"
    )
    .expect("writing to a string can't fail");
    text
}
