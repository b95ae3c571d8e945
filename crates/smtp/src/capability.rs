//! What a server announces in its reply to EHLO (RFC 5321 §4.1.1.1), and what the gateway announces in turn.
//!
//! The gateway offers what the upstream offers, restricted to what it implements itself: an extension that nobody here
//! understands must not be offered, because its parameters would be refused or, worse, its data misread.

use crate::limits::OTHER_CAPABILITIES_MAX;
use crate::names::{Mechanism, Mechanisms, XclientAttribute, XclientAttributes};
use crate::reply::{Reply, ReplyCode};

/// What an EHLO reply announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// SIZE (RFC 1870): the largest message in octets; 0 where no limit is stated.
    pub size: Option<u64>,
    /// AUTH (RFC 4954): the mechanisms that the gateway relays, no others.
    pub auth: Mechanisms,
    /// XCLIENT: its attributes; empty if it isn't offered.
    pub xclient: XclientAttributes,
    /// STARTTLS (RFC 3207), behind us; never offered by [`Self::to_ehlo`].
    pub starttls: bool,
    /// CHUNKING (RFC 3030), behind us; never offered by [`Self::to_ehlo`].
    pub chunking: bool,
    /// Keywords that the gateway doesn't implement, upper case, each once, 64 at most.
    pub others: Vec<Box<str>>,
}

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
        let keyword = first.to_ascii_uppercase();
        match keyword.as_str() {
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "SIZE" => {
                self.size = Some(words.next().and_then(|word| word.parse().ok()).unwrap_or(0));
            }
            "AUTH" => self.mechanisms(words),
            "XCLIENT" => words
                .filter_map(XclientAttribute::from_name)
                .for_each(|name| self.xclient.insert(name)),
            "STARTTLS" => self.starttls = true,
            "CHUNKING" => self.chunking = true,
            _ => match keyword.strip_prefix("AUTH=") {
                // Written so before RFC 2554, for clients that read no other form; still printed by many servers.
                Some(mechanism) => self.mechanisms(std::iter::once(mechanism).chain(words)),
                None => self.other(keyword),
            },
        }
    }

    fn mechanisms<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        names
            .filter_map(Mechanism::from_name)
            .for_each(|mechanism| self.auth.insert(mechanism));
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

    /// The reply to a client's EHLO: `hostname`, then what is set of PIPELINING, SIZE, AUTH, ENHANCEDSTATUSCODES and
    /// 8BITMIME.
    #[must_use]
    pub fn to_ehlo(&self, hostname: &str) -> Reply {
        let mut lines = vec![hostname.to_owned()];
        if self.pipelining {
            lines.push("PIPELINING".to_owned());
        }
        match self.size {
            None => {}
            // RFC 1870 §3: no number says as much as 0, and nobody reads it as "nothing fits".
            Some(0) => lines.push("SIZE".to_owned()),
            Some(size) => lines.push(format!("SIZE {size}")),
        }
        if !self.auth.is_empty() {
            let names: Vec<&str> = self.auth.iter().map(Mechanism::as_str).collect();
            lines.push(format!("AUTH {}", names.join(" ")));
        }
        if self.enhanced_status_codes {
            lines.push("ENHANCEDSTATUSCODES".to_owned());
        }
        if self.eight_bit_mime {
            lines.push("8BITMIME".to_owned());
        }
        Reply::new(ReplyCode::OK, &lines.join("\n"))
    }
}
