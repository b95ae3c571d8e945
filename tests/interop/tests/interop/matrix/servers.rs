//! The columns of the table: the servers, and what each can take beside plain mail.

use std::path::PathBuf;

use anyhow::Result;
use tarpit_interop::{
    Aiosmtpd, Exim, Haraka, KeyPair, MailServer, OpenSmtpd, Postfix, USERS, UTF8_USER,
};
use tempfile::TempDir;

/// A server of the table.
pub(super) struct Upstream {
    pub(super) name: &'static str,
    /// Starts one with this certificate.
    pub(super) start: fn(&KeyPair) -> Result<Box<dyn MailServer>>,
    /// How the gateway tells it who the client is.
    pub(super) identity: &'static str,
    pub(super) utf8: bool,
    pub(super) chunks: bool,
    pub(super) binary: bool,
}

pub(super) const POSTFIX: Upstream = Upstream {
    name: "Postfix",
    start: |pair| {
        let server = Postfix::server().user(UTF8_USER).xclient().tls(pair);
        Ok(Box::new(server.start()?))
    },
    identity: "xclient",
    utf8: true,
    chunks: true,
    binary: false,
};

pub(super) const EXIM: Upstream = Upstream {
    name: "Exim",
    start: |pair| Ok(Box::new(Exim::start_with_tls("alice", "secret", pair)?)),
    identity: "proxy-v2",
    utf8: true,
    chunks: true,
    binary: false,
};

pub(super) const OPENSMTPD: Upstream = Upstream {
    name: "OpenSMTPD",
    start: |_| Ok(Box::new(OpenSmtpd::server()?)),
    identity: "proxy-v2",
    utf8: false,
    chunks: false,
    binary: false,
};

pub(super) const HARAKA: Upstream = Upstream {
    name: "Haraka",
    start: |pair| Ok(Box::new(Haraka::server(Some(pair))?)),
    identity: "xclient",
    utf8: true,
    chunks: false,
    binary: false,
};

pub(super) const AIOSMTPD: Upstream = Upstream {
    name: "aiosmtpd",
    start: |pair| Ok(Box::new(Aiosmtpd::server(Some(pair))?)),
    identity: "proxy-v2",
    utf8: true,
    chunks: false,
    binary: false,
};

/// The gateway's own maildir, in place of a server.
pub(super) struct BuiltIn {
    folder: TempDir,
}

impl BuiltIn {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tarpit-maildir-")
            .tempdir()?;
        Ok(Self { folder })
    }

    /// Its part of the gateway's configuration.
    pub(super) fn settings(&self) -> String {
        let recipients = USERS.map(|user| format!("\"{user}@example.org\""));
        format!(
            "[maildir]\nroot = \"{}\"\nrecipients = [{}]",
            self.folder.path().display(),
            recipients.join(", ")
        )
    }

    pub(super) fn abilities(&self) -> Upstream {
        Upstream {
            name: "maildir",
            start: |_| anyhow::bail!("it is started by the gateway"),
            identity: "none",
            utf8: false,
            chunks: true,
            binary: true,
        }
    }
}

impl MailServer for BuiltIn {
    fn port(&self) -> u16 {
        0
    }

    fn implicit_port(&self) -> Option<u16> {
        None
    }

    fn proxy_port(&self) -> Option<u16> {
        None
    }

    fn log(&self) -> String {
        String::new()
    }

    fn mailbox(&self, user: &str) -> PathBuf {
        let folder = self.folder.path().join(format!("{user}@example.org"));
        folder.join("new")
    }
}
