//! What a server announces in its reply to EHLO (RFC 5321 §4.1.1.1), and what the gateway announces in turn.
//!
//! The gateway offers what the upstream offers, restricted to what it implements itself: an extension that nobody here
//! understands must not be offered, because its parameters would be refused or, worse, its data misread.
//!
//! One table ([`TABLE`]) says it all: how a line is read, in which order what is set is printed, whether clients get it
//! and why. The page for administrators ([`extensions_markdown`]) is that table too.

mod lines;
mod offer;
mod page;
mod table;

pub use offer::Offer;
pub use page::extensions_markdown;
pub use table::{CapabilityRow, TABLE, Treatment};

use crate::extension::{Extension, Extensions};
use crate::limits::OTHER_CAPABILITIES_MAX;
use crate::names::{Mechanisms, XclientAttributes};
use crate::reply::{Reply, ReplyCode};

/// What an EHLO reply announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): the largest message in octets; 0 where no limit is stated.
    pub size: Option<u64>,
    /// LIMITS (RFC 9422).
    pub limits: Limits,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH (RFC 4954): the mechanisms that the gateway relays, no others.
    pub auth: Mechanisms,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// CHUNKING (RFC 3030 §2).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030 §3).
    pub binary_mime: bool,
    /// DELIVERBY (RFC 2852): the least time that is taken, in seconds; 0 where none is stated.
    pub deliver_by: Option<u32>,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// MT-PRIORITY (RFC 6710): the name of the profile, such as MIXER; empty where none is stated.
    pub mt_priority: Option<Box<str>>,
    /// FUTURERELEASE (RFC 4865).
    pub future_release: Option<FutureRelease>,
    /// XCLIENT: its attributes; empty if it isn't offered.
    pub xclient: XclientAttributes,
    /// Keywords that the gateway doesn't implement, upper case, each once, 64 at most.
    pub others: Vec<Box<str>>,
}

/// LIMITS (RFC 9422 §4): what is not stated is `None`; nothing stated at all is no LIMITS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// MAILMAX: transactions in a session.
    pub mail_max: Option<u32>,
    /// RCPTMAX: recipients in a transaction.
    pub rcpt_max: Option<u32>,
    /// RCPTDOMAINMAX: different domains among the recipients of a session.
    pub rcpt_domain_max: Option<u32>,
}

/// FUTURERELEASE (RFC 4865 §4): how far ahead the server holds a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FutureRelease {
    /// Seconds, at most.
    pub interval_max: u32,
    /// A time in the form of RFC 3339, at most, as written.
    pub until_max: Box<str>,
}

/// Most replies to EHLO fit into so many octets; the others take one allocation more.
const EHLO_USUAL: usize = 384;

impl Capabilities {
    /// Reads the reply to EHLO. Its first line is the server's name and greeting (RFC 5321 §4.1.1.1); a line that is
    /// no keyword is passed over. A reply other than 2yz announces nothing.
    #[must_use]
    pub fn from_ehlo(reply: &Reply) -> Self {
        let mut found = Self::default();
        if reply.code().is_positive() {
            for line in reply.lines().skip(1) {
                if let Ok(text) = std::str::from_utf8(line) {
                    found.line(text);
                }
            }
        }
        found
    }

    fn line(&mut self, text: &str) {
        let mut words = text.split_ascii_whitespace();
        let Some(first) = words.next() else { return };
        let mut keyword = first.to_ascii_uppercase();
        if let Some(mechanism) = keyword.strip_prefix("AUTH=") {
            // Written so before RFC 2554, for clients that read no other form; still printed by many servers.
            let text = format!("{mechanism} {}", words.collect::<Vec<_>>().join(" "));
            lines::read_auth(self, &text);
            return;
        }
        let row = table::row(&keyword);
        match row.and_then(|row| row.line) {
            Some(line) => (line.read)(self, &words.collect::<Vec<_>>().join(" ")),
            None => self.other(std::mem::take(&mut keyword)),
        }
    }

    /// RFC 5321 §4.1.1.1: `ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")`.
    fn other(&mut self, keyword: String) {
        let well_formed = keyword
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !keyword.starts_with('-');
        let keyword = keyword.into_boxed_str();
        if well_formed
            && self.others.len() < OTHER_CAPABILITIES_MAX
            && !self.others.contains(&keyword)
        {
            self.others.push(keyword);
        }
    }

    /// What is announced, as a set.
    #[must_use]
    pub fn offers(&self) -> Extensions {
        let mut arguments = String::new();
        let announced = |extension: &&Extension| {
            arguments.clear();
            table::row(extension.as_str())
                .and_then(|row| row.line)
                .is_some_and(|line| (line.print)(self, &mut arguments))
        };
        Extension::ALL.iter().filter(announced).copied().collect()
    }

    /// The reply to a client's EHLO: `hostname`, then everything that is set, in the order of [`TABLE`]; not `others`.
    /// [`Self::restricted`] says what of an upstream's capabilities may be set.
    #[must_use]
    pub fn to_ehlo(&self, hostname: &str) -> Reply {
        let mut text = String::with_capacity(EHLO_USUAL);
        text.push_str(hostname);
        let mut arguments = String::new();
        for row in TABLE {
            arguments.clear();
            if row
                .line
                .is_some_and(|line| (line.print)(self, &mut arguments))
            {
                text.push('\n');
                text.push_str(row.keyword);
                if !arguments.is_empty() {
                    text.push(' ');
                    text.push_str(&arguments);
                }
            }
        }
        Reply::new(ReplyCode::OK, &text)
    }
}
