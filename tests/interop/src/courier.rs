//! Clients that send a message as they were made to: the rows of the matrix.
//!
//! Each is the real program. What a client does by itself (how it quotes dots, what it says in
//! EHLO, whether it pipelines or sends chunks) is what is tested, so none is told more than where
//! to go, from which address, and with which protection.

mod batch;
mod relays;
mod s_client;
mod tools;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Plain,
    /// STARTTLS, and no mail without it.
    StartTls,
    /// TLS before SMTP.
    Implicit,
}

impl Tls {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::StartTls, Self::Implicit];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::StartTls => "STARTTLS",
            Self::Implicit => "implicit",
        }
    }
}

/// Where a client is to go, and how.
#[derive(Clone, Debug)]
pub struct Way {
    /// A port of 127.0.0.1.
    pub port: u16,
    /// With which protection.
    pub tls: Tls,
    /// The loopback address from which the client comes.
    pub source: Ipv4Addr,
    /// The certificate of the authority that the client trusts.
    pub authority: PathBuf,
}

/// One message with its envelope.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The message, lines ended by CRLF, dots as they are.
    pub message: Vec<u8>,
    /// The reverse-path, without brackets.
    pub from: String,
    /// The forward-path, without brackets.
    pub to: String,
    /// What it asks of whoever takes it.
    pub form: Form,
}

/// What a message asks of whoever takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// No more than 8BITMIME.
    Plain,
    /// SMTPUTF8: its paths are not ASCII.
    Utf8,
    /// CHUNKING: it is to be sent by BDAT. Only for clients that let one choose.
    Chunks,
    /// CHUNKING and BINARYMIME: it has octets that DATA can't carry.
    Binary,
}

/// A make of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Courier {
    /// swaks, in Perl.
    Swaks,
    /// msmtp, in C with GnuTLS.
    Msmtp,
    /// curl, with OpenSSL.
    Curl,
    /// nodemailer, in Node; several messages on one connection.
    Nodemailer,
    /// smtplib of Python; several messages on one connection.
    Smtplib,
    /// `openssl s_client`, or a bare connection where nothing is to be encrypted, with the dialogue
    /// written by hand.
    OpenSsl,
    /// Postfix as a relay.
    Postfix,
    /// Exim as a relay; it sends chunks where they are offered.
    Exim,
    /// OpenSMTPD as a relay.
    OpenSmtpd,
}

impl Courier {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Swaks,
        Self::Msmtp,
        Self::Curl,
        Self::Nodemailer,
        Self::Smtplib,
        Self::OpenSsl,
        Self::Postfix,
        Self::Exim,
        Self::OpenSmtpd,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Swaks => "swaks",
            Self::Msmtp => "msmtp",
            Self::Curl => "curl",
            Self::Nodemailer => "nodemailer",
            Self::Smtplib => "smtplib",
            Self::OpenSsl => "s_client",
            Self::Postfix => "Postfix",
            Self::Exim => "Exim",
            Self::OpenSmtpd => "OpenSMTPD",
        }
    }

    /// Whether it can say SMTPUTF8. msmtp 1.8.23 sends such addresses without saying so, which
    /// RFC 6531 §3.4 forbids and which the gateway refuses.
    #[must_use]
    pub fn speaks_utf8(self) -> bool {
        !matches!(self, Self::Swaks | Self::Msmtp | Self::OpenSmtpd)
    }

    /// Whether it can be told to send chunks.
    #[must_use]
    pub fn sends_chunks(self) -> bool {
        self == Self::OpenSsl
    }

    /// Sends `letters`, one after the other. Relays have taken them when this returns, and pass
    /// them on for as long as the returned value lives.
    ///
    /// # Errors
    /// When one is refused; with what the client said.
    pub fn send(self, way: &Way, letters: &[Letter]) -> Result<Relay> {
        match self {
            Self::Swaks => tools::swaks(way, letters)?,
            Self::Msmtp => tools::msmtp(way, letters)?,
            Self::Curl => tools::curl(way, letters)?,
            Self::Nodemailer => batch::nodemailer(way, letters)?,
            Self::Smtplib => batch::smtplib(way, letters)?,
            Self::OpenSsl => s_client::send(way, letters)?,
            Self::Postfix => return relays::postfix(way, letters),
            Self::Exim => return relays::exim(way, letters),
            Self::OpenSmtpd => return relays::opensmtpd(way, letters),
        }
        Ok(Relay(None))
    }
}

/// A relay that may still have mail to pass on; nothing for clients that wait for the reply.
#[derive(Default)]
pub struct Relay(Option<Box<dyn crate::MailServer>>);

impl Relay {
    /// What the relay logged; empty for other clients.
    #[must_use]
    pub fn log(&self) -> String {
        self.0.as_ref().map_or(String::new(), |relay| relay.log())
    }
}
