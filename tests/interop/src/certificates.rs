//! Certificates for one test: an authority of its own, and a key pair for each name asked for.
//!
//! `openssl` makes them, as an administrator would; none is checked in, since it would expire.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// An authority, and what it signed, in a folder that goes with this value.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

/// A certificate with its key, in the layout of certbot.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The certificate, then that of the authority: `fullchain.pem`.
    pub chain: PathBuf,
    /// The key: `privkey.pem`. Readable by all, since some servers read it as their own user.
    pub key: PathBuf,
}

impl Certificates {
    /// A new authority.
    ///
    /// # Errors
    /// When `openssl` is not there.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tarpit-certs-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let certificates = Self { folder };
        openssl(
            certificates.folder.path(),
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
                "-days",
                "30",
                "-subj",
                "/CN=Authority of a test",
            ],
        )?;
        Ok(certificates)
    }

    /// The certificate of the authority, for whoever is to trust it.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A key pair for `names` and for 127.0.0.1, valid for a month. The first name names its
    /// folder.
    ///
    /// # Errors
    /// When there is no name, or `openssl` fails.
    pub fn issue(&self, names: &[&str]) -> Result<KeyPair> {
        let first = names.first().context("a certificate without a name")?;
        let folder = self.folder.path().join(first);
        fs::create_dir(&folder)?;
        let mut alternatives = String::from("subjectAltName=IP:127.0.0.1");
        for name in names {
            alternatives.push_str(",DNS:");
            alternatives.push_str(name);
        }
        fs::write(folder.join("extensions"), alternatives)?;
        openssl(
            &folder,
            &[
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                "privkey.pem",
                "-out",
                "request.pem",
                "-subj",
                &format!("/CN={first}"),
            ],
        )?;
        openssl(
            &folder,
            &[
                "x509",
                "-req",
                "-in",
                "request.pem",
                "-CA",
                "../ca.pem",
                "-CAkey",
                "../ca.key",
                "-CAcreateserial",
                "-days",
                "30",
                "-extfile",
                "extensions",
                "-out",
                "cert.pem",
            ],
        )?;
        let mut chain = fs::read(folder.join("cert.pem"))?;
        chain.extend(fs::read(self.authority())?);
        fs::write(folder.join("fullchain.pem"), chain)?;
        let pair = KeyPair {
            chain: folder.join("fullchain.pem"),
            key: folder.join("privkey.pem"),
        };
        fs::set_permissions(&pair.key, fs::Permissions::from_mode(0o644))?;
        Ok(pair)
    }
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .context("openssl is not there: run `cargo xtask install`")?;
    ensure!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
