//! The closed lists of names that stand in EHLO lines: SASL mechanisms that are relayed, attributes of XCLIENT.

/// Declares an enum of names and the set of them.
macro_rules! named_set {
    (
        $(#[$doc:meta])* $name:ident, $(#[$set_doc:meta])* $set:ident,
        { $( $(#[$variant_doc:meta])* $variant:ident = $bit:literal $text:literal ),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_doc])* $variant, )+ }

        impl $name {
            /// All of them, in the order in which they are printed.
            pub const ALL: &[Self] = &[$( Self::$variant ),+];

            /// As it is written on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }

            /// The one that `name` names, in any case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| name.eq_ignore_ascii_case(known.as_str()))
            }

            const fn bit(self) -> u16 {
                match self { $( Self::$variant => 1 << $bit, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        $(#[$set_doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $set(u16);

        impl $set {
            /// The set without members.
            #[must_use]
            pub const fn new() -> Self {
                Self(0)
            }

            /// Adds `member`.
            pub fn insert(&mut self, member: $name) {
                self.0 |= member.bit();
            }

            /// Whether `member` is in it.
            #[must_use]
            pub const fn contains(self, member: $name) -> bool {
                self.0 & member.bit() != 0
            }

            /// Whether all of `others` are in it.
            #[must_use]
            pub const fn contains_all(self, others: Self) -> bool {
                others.0 & !self.0 == 0
            }

            /// Its members that aren't in `others`.
            #[must_use]
            pub const fn minus(self, others: Self) -> Self {
                Self(self.0 & !others.0)
            }

            /// What is in one of the two or in both.
            #[must_use]
            pub const fn union(self, others: Self) -> Self {
                Self(self.0 | others.0)
            }

            /// What is in both.
            #[must_use]
            pub const fn common(self, others: Self) -> Self {
                Self(self.0 & others.0)
            }

            /// Whether nothing is in it.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Its members, in the order in which they are printed.
            pub fn iter(self) -> impl Iterator<Item = $name> {
                $name::ALL.iter().copied().filter(move |&member| self.contains(member))
            }
        }

        impl FromIterator<$name> for $set {
            fn from_iter<I: IntoIterator<Item = $name>>(members: I) -> Self {
                let mut set = Self::new();
                members.into_iter().for_each(|member| set.insert(member));
                set
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_set().entries(self.iter()).finish()
            }
        }
    };
}

pub(crate) use named_set;

named_set! {
    /// A SASL mechanism that the gateway relays (RFC 4422).
    ///
    /// Never EXTERNAL, which would authenticate the gateway's own connection; never ANONYMOUS, which authenticates
    /// nobody; never the `-PLUS` variants, which bind to a TLS channel that ends here.
    Mechanism,
    /// A set of mechanisms.
    Mechanisms,
    {
        /// RFC 4616.
        Plain = 0 "PLAIN",
        /// Never a standard, everywhere in use.
        Login = 1 "LOGIN",
        /// RFC 2195.
        CramMd5 = 2 "CRAM-MD5",
        /// RFC 5802.
        ScramSha1 = 3 "SCRAM-SHA-1",
        /// As RFC 5802, with SHA-224.
        ScramSha224 = 4 "SCRAM-SHA-224",
        /// RFC 7677.
        ScramSha256 = 5 "SCRAM-SHA-256",
        /// As RFC 7677, with SHA-384.
        ScramSha384 = 6 "SCRAM-SHA-384",
        /// As RFC 7677, with SHA-512.
        ScramSha512 = 7 "SCRAM-SHA-512",
        /// OAuth 2.0 as the large mail providers do it.
        Xoauth2 = 8 "XOAUTH2",
        /// RFC 7628.
        OauthBearer = 9 "OAUTHBEARER",
    }
}

named_set! {
    /// An attribute of Postfix's XCLIENT (XCLIENT_README), by which a proxy tells who its client is.
    XclientAttribute,
    /// A set of attributes; empty where XCLIENT isn't offered.
    XclientAttributes,
    {
        /// The client's verified host name.
        Name = 0 "NAME",
        /// The client's address: `192.0.2.1` or `IPV6:2001:db8::1`.
        Addr = 1 "ADDR",
        /// The client's port.
        Port = 2 "PORT",
        /// SMTP or ESMTP.
        Proto = 3 "PROTO",
        /// What the client called itself.
        Helo = 4 "HELO",
        /// Its login name.
        Login = 5 "LOGIN",
        /// The address that it connected to.
        DestAddr = 6 "DESTADDR",
        /// The port that it connected to.
        DestPort = 7 "DESTPORT",
        /// The name that its address points to, verified or not.
        ReverseName = 8 "REVERSE_NAME",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_themselves_and_have_bits_of_their_own() {
        let mut all = Mechanisms::new();
        for &mechanism in Mechanism::ALL {
            assert!(!all.contains(mechanism));
            all.insert(mechanism);
            assert_eq!(Mechanism::from_name(mechanism.as_str()), Some(mechanism));
            assert_eq!(
                Mechanism::from_name(&mechanism.as_str().to_ascii_lowercase()),
                Some(mechanism)
            );
        }
        assert!(all.iter().eq(Mechanism::ALL.iter().copied()));
        let all: XclientAttributes = XclientAttribute::ALL.iter().copied().collect();
        assert!(all.iter().eq(XclientAttribute::ALL.iter().copied()));
    }

    #[test]
    fn mechanisms_that_must_not_be_relayed_have_no_name() {
        for name in [
            "EXTERNAL",
            "ANONYMOUS",
            "SCRAM-SHA-1-PLUS",
            "SCRAM-SHA-256-PLUS",
            "GSSAPI",
            "NTLM",
            "",
        ] {
            assert_eq!(Mechanism::from_name(name), None, "{name}");
        }
    }
}
