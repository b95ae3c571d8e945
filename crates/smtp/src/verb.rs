//! The first word of a command, and whether the gateway knows it.

/// A command's first word (RFC 5321 §4.1.1 and the extensions' own documents).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// RFC 5321 §4.1.1.1.
    Ehlo,
    /// RFC 5321 §4.1.1.1.
    Helo,
    /// RFC 5321 §4.1.1.2.
    Mail,
    /// RFC 5321 §4.1.1.3.
    Rcpt,
    /// RFC 5321 §4.1.1.4.
    Data,
    /// RFC 5321 §4.1.1.5.
    Rset,
    /// RFC 5321 §4.1.1.9.
    Noop,
    /// RFC 5321 §4.1.1.8.
    Help,
    /// RFC 5321 §4.1.1.6.
    Vrfy,
    /// RFC 5321 §4.1.1.7.
    Expn,
    /// RFC 5321 §4.1.1.10.
    Quit,
    /// RFC 4954 §4.
    Auth,
    /// RFC 3207 §4.
    StartTls,
    /// RFC 3030 §2.
    Bdat,
    /// RFC 1985 §5. Not implemented.
    Etrn,
    /// RFC 2645 §5. Not implemented.
    Atrn,
    /// RFC 4468 §3. Not implemented.
    Burl,
    /// RFC 821 §3.8, withdrawn by RFC 5321 App. F.1. Not implemented.
    Turn,
    /// RFC 821 §3.4, withdrawn by RFC 5321 App. F.6. Not implemented.
    Send,
    /// RFC 821 §3.4, withdrawn by RFC 5321 App. F.6. Not implemented.
    Soml,
    /// RFC 821 §3.4, withdrawn by RFC 5321 App. F.6. Not implemented.
    Saml,
    /// Postfix's XCLIENT: what we say to an upstream; from a client that isn't trusted it is an attempt to be somebody else.
    Xclient,
    /// Postfix's XFORWARD. Not implemented.
    Xforward,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 23] = [
        Self::Ehlo,
        Self::Helo,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Rset,
        Self::Noop,
        Self::Help,
        Self::Vrfy,
        Self::Expn,
        Self::Quit,
        Self::Auth,
        Self::StartTls,
        Self::Bdat,
        Self::Etrn,
        Self::Atrn,
        Self::Burl,
        Self::Turn,
        Self::Send,
        Self::Soml,
        Self::Saml,
        Self::Xclient,
        Self::Xforward,
    ];

    /// As it is written on the wire, upper case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Rset => "RSET",
            Self::Noop => "NOOP",
            Self::Help => "HELP",
            Self::Vrfy => "VRFY",
            Self::Expn => "EXPN",
            Self::Quit => "QUIT",
            Self::Auth => "AUTH",
            Self::StartTls => "STARTTLS",
            Self::Bdat => "BDAT",
            Self::Etrn => "ETRN",
            Self::Atrn => "ATRN",
            Self::Burl => "BURL",
            Self::Turn => "TURN",
            Self::Send => "SEND",
            Self::Soml => "SOML",
            Self::Saml => "SAML",
            Self::Xclient => "XCLIENT",
            Self::Xforward => "XFORWARD",
        }
    }

    /// The verb that `word` is, in any case (RFC 5321 §2.4).
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|verb| word.eq_ignore_ascii_case(verb.as_str().as_bytes()))
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_is_read_as_itself_in_any_case() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.as_str().as_bytes()), Some(verb));
            assert_eq!(
                Verb::parse(verb.as_str().to_ascii_lowercase().as_bytes()),
                Some(verb)
            );
        }
        for word in [&b""[..], b"EHL", b"EHLOO", b" EHLO", b"EHLO ", b"GET"] {
            assert_eq!(Verb::parse(word), None);
        }
    }
}
