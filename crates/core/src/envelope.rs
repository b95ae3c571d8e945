//! What a transaction has agreed on so far: enough to say it again to a fresh upstream connection.

use tarpit_smtp::{Body, Extension, Extensions, ForwardPath, MailParams, RcptParams, ReversePath};

/// The paths of one transaction (RFC 5321 §2.3.1), as accepted.
///
/// MAIL and RCPT that were let go of are replayed from here, exactly as accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Counts the MAIL commands of a session, so that an upstream connection knows whether what
    /// stands on it is this transaction.
    pub serial: u32,
    /// The reverse-path without brackets; empty for the null reverse-path.
    pub reverse_path: Box<str>,
    /// The parameters of MAIL as they are said to the upstream: canonical text with a space before
    /// each, empty if there are none.
    pub params: Box<str>,
    /// The extensions that MAIL needs of whoever hears it.
    pub uses: Extensions,
    /// SIZE= in octets (RFC 1870).
    pub size: Option<u64>,
    /// BODY=BINARYMIME: the message can only be sent in chunks (RFC 3030 §3).
    pub binary: bool,
    /// Recipients that the upstream accepted, in order.
    pub accepted: Vec<Recipient>,
}

/// One recipient, as it is said to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path without brackets.
    pub path: Box<str>,
    /// The parameters of RCPT: canonical text with a space before each, empty if there are none.
    pub params: Box<str>,
    /// The extensions that RCPT needs of whoever hears it.
    pub uses: Extensions,
}

impl Envelope {
    /// The start of a transaction: MAIL. `params` are those that the upstream is to hear.
    #[must_use]
    pub fn new(serial: u32, path: ReversePath<'_>, params: &MailParams<'_>) -> Self {
        Self {
            serial,
            reverse_path: path.as_str().into(),
            params: params.printed(),
            uses: params.uses(),
            size: params.size,
            binary: params.body == Some(Body::BinaryMime),
            accepted: Vec::new(),
        }
    }

    /// The extensions that MAIL and all accepted RCPTs need of whoever hears them.
    #[must_use]
    pub fn uses(&self) -> Extensions {
        self.accepted
            .iter()
            .fold(self.uses, |uses, recipient| uses.union(recipient.uses))
    }

    /// MAIL said SMTPUTF8 (RFC 6531 §3.4).
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        self.uses.contains(Extension::SmtpUtf8)
    }
}

impl Recipient {
    /// A recipient as the client named it.
    #[must_use]
    pub fn new(path: &ForwardPath<'_>, params: &RcptParams<'_>) -> Self {
        Self {
            path: path.as_str().into(),
            params: params.printed(),
            uses: params.uses(),
        }
    }

    /// A recipient without parameters.
    #[must_use]
    pub fn plain(path: &str) -> Self {
        Self {
            path: path.into(),
            params: Box::default(),
            uses: Extensions::new(),
        }
    }
}
