//! The extensions that the gateway understands, as a small set: what parameters need, and what a server offers.
//!
//! Promise: [`crate::MailParams::uses`] and [`crate::RcptParams::uses`] name every extension without which an upstream
//! would refuse or misread the parameter, so "may this go to that server" is one subtraction of sets. Comparing
//! field by field at each place was rejected: a new parameter would be forgotten in one of them.

use crate::names::named_set;

named_set! {
    /// An extension of SMTP that the gateway understands, by its keyword.
    Extension,
    /// A set of extensions.
    Extensions,
    {
        /// RFC 2920.
        Pipelining = 0 "PIPELINING",
        /// RFC 1870.
        Size = 1 "SIZE",
        /// RFC 3207.
        StartTls = 2 "STARTTLS",
        /// RFC 4954.
        Auth = 3 "AUTH",
        /// RFC 2034.
        EnhancedStatusCodes = 4 "ENHANCEDSTATUSCODES",
        /// RFC 6152.
        EightBitMime = 5 "8BITMIME",
        /// RFC 3461.
        Dsn = 6 "DSN",
        /// RFC 6531.
        SmtpUtf8 = 7 "SMTPUTF8",
        /// RFC 3030 §2.
        Chunking = 8 "CHUNKING",
        /// RFC 3030 §3.
        BinaryMime = 9 "BINARYMIME",
        /// RFC 2852.
        DeliverBy = 10 "DELIVERBY",
        /// RFC 8689.
        RequireTls = 11 "REQUIRETLS",
        /// RFC 9422.
        Limits = 12 "LIMITS",
        /// RFC 6710.
        MtPriority = 13 "MT-PRIORITY",
        /// RFC 4865.
        FutureRelease = 14 "FUTURERELEASE",
        /// Postfix, XCLIENT_README.
        Xclient = 15 "XCLIENT",
    }
}

impl std::fmt::Display for Extensions {
    /// The keywords, separated by spaces.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, extension) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(extension.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let all: Extensions = Extension::ALL.iter().copied().collect();
        assert_eq!(all.iter().count(), 16);
        let dsn: Extensions = [Extension::Dsn].into_iter().collect();
        let both: Extensions = [Extension::Dsn, Extension::Size].into_iter().collect();
        assert!(both.contains_all(dsn) && !dsn.contains_all(both));
        assert!(dsn.contains_all(Extensions::new()));
        assert_eq!(both.minus(dsn), [Extension::Size].into_iter().collect());
        assert!(dsn.minus(both).is_empty());
        assert_eq!(dsn.union(both), both);
        assert_eq!(both.common(dsn), dsn);
        assert_eq!(both.to_string(), "SIZE DSN");
        assert_eq!(Extensions::new().to_string(), "");
    }
}
