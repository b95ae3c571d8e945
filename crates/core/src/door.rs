//! The door a session came through: what its listener and its connection allow.
//!
//! The driver knows listeners, certificates and networks; the machine knows what follows from them.
//! Between both stands this one value. It may change in the middle of a session (after XCLIENT the
//! client is another), so the machine keeps no copy of it.

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// Mail from anywhere to our domains (RFC 5321).
    #[default]
    Mx,
    /// Mail of our own users, who authenticate first (RFC 6409 §4.3).
    Submission,
}

impl Kind {
    /// The word for configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mx => "mx",
            Self::Submission => "submission",
        }
    }
}

/// What this session's listener and connection allow. The default allows least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Door {
    /// What the listener is for.
    pub kind: Kind,
    /// STARTTLS may be offered: there is a certificate, and the client did not come by TLS.
    /// After STARTTLS the machine no longer offers it, whatever this says (RFC 3207 §4.2).
    pub starttls: bool,
    /// AUTH may be used without TLS. RFC 4954 §4 advises against it: passwords can be read.
    pub auth_plain: bool,
    /// The client is trusted to say by XCLIENT who its own client is.
    pub xclient: bool,
    /// The way to the upstream is TLS to a server that was verified: what REQUIRETLS needs
    /// (RFC 8689 §4.2.1).
    pub upstream_secure: bool,
    /// The largest message in octets (RFC 1870); 0 for no limit of ours.
    pub size_max: u64,
}
