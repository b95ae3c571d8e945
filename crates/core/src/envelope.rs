//! What a transaction has agreed on so far: enough to say it again to a fresh upstream connection.

use tarpit_smtp::{Body, MailParams, ReversePath};

/// The paths of one transaction (RFC 5321 §2.3.1), as accepted.
///
/// MAIL and RCPT that were let go of are replayed from here, exactly as accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Counts the transactions of a session, so that an upstream connection knows whether what
    /// stands on it is this transaction.
    pub serial: u32,
    /// The reverse-path without brackets; empty for the null reverse-path.
    pub reverse_path: Box<str>,
    /// SIZE= in octets (RFC 1870).
    pub size: Option<u64>,
    /// BODY= (RFC 6152).
    pub body: Option<Body>,
    /// AUTH= as written (RFC 4954 §5).
    pub auth: Option<Box<str>>,
    /// The parameters of MAIL as they are said to the upstream: canonical text with a space before
    /// each, empty if there are none.
    pub params: Box<str>,
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
}

impl Recipient {
    /// A recipient without parameters.
    #[must_use]
    pub fn plain(path: &str) -> Self {
        Self {
            path: path.into(),
            params: Box::default(),
        }
    }
}

impl Envelope {
    /// The start of a transaction: MAIL.
    #[must_use]
    pub fn new(serial: u32, path: ReversePath<'_>, params: &MailParams<'_>) -> Self {
        Self {
            serial,
            reverse_path: path.as_str().into(),
            size: params.size,
            body: params.body,
            auth: params.auth.map(Into::into),
            params: Box::default(),
            binary: false,
            accepted: Vec::new(),
        }
    }
}
