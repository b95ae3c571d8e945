//! Recipient filtering: what we know about forward-paths before anyone is asked.
//!
//! The other half of the advisory: without recipient filtering no guess is ever refused.

use tarpit_smtp::{ForwardPath, domain_key};

/// What is known of a forward-path without asking the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// Nothing speaks against it; the upstream decides.
    Open,
    /// Its domain is none of ours.
    ForeignDomain,
    /// Its domain is ours, and the recipients file does not hold the name.
    Unknown,
}

/// Domains and names that we accept mail for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    domains: Vec<Box<str>>,
    names: Option<Names>,
    strict: bool,
}

impl Filter {
    /// `domains`: lower case; empty if the upstream alone decides. `names`: the recipients file, if
    /// there is one. `strict`: the upstream relays for our address, so a foreign domain is refused
    /// in every mode (DESIGN promise 7 before promise 5).
    #[must_use]
    pub fn new(mut domains: Vec<Box<str>>, names: Option<Names>, strict: bool) -> Self {
        domains.sort_unstable();
        Self {
            domains,
            names,
            strict,
        }
    }

    /// Whether foreign domains are refused even where nothing else is.
    #[must_use]
    pub const fn is_strict(&self) -> bool {
        self.strict
    }

    /// What is known of `path`.
    #[must_use]
    pub fn judge(&self, path: &ForwardPath<'_>) -> Knowledge {
        let ForwardPath::Mailbox(mailbox) = path else {
            return Knowledge::Open;
        };
        if !self.is_ours(mailbox.domain()) || (self.strict && is_routed(mailbox.local())) {
            return Knowledge::ForeignDomain;
        }
        match &self.names {
            Some(names) if !names.hold(mailbox.as_str(), mailbox.domain()) => Knowledge::Unknown,
            _ => Knowledge::Open,
        }
    }

    /// Always looked at, never held (RFC 5321 §4.5.1, RFC 2142): `postmaster`, and `postmaster@`
    /// and `abuse@` of our domains. Two names a domain teach a harvester nothing.
    #[must_use]
    pub fn is_role(&self, path: &ForwardPath<'_>) -> bool {
        let ForwardPath::Mailbox(mailbox) = path else {
            return true;
        };
        let local = mailbox.local();
        (local.eq_ignore_ascii_case("postmaster") || local.eq_ignore_ascii_case("abuse"))
            && self.is_ours(mailbox.domain())
    }

    fn is_ours(&self, domain: &str) -> bool {
        let key = domain_key(domain);
        self.domains.is_empty()
            || self
                .domains
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(&key))
    }
}

/// Whether a server may read the local part as an address of its own, and so relay: the percent
/// hack, bang paths and addresses within addresses, which Postfix rewrites by default
/// (`allow_percent_hack`, `swap_bangpath`) before it looks whether it may relay. An upstream that
/// relays for our address would do so for everyone.
fn is_routed(local: &str) -> bool {
    local
        .bytes()
        .any(|octet| matches!(octet, b'%' | b'!' | b'@'))
}

/// A name, or `@domain`, in the form by which names are compared.
fn key(name: &str) -> String {
    match name.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{}", local.to_lowercase(), domain_key(domain)),
        None => name.to_lowercase(),
    }
}

/// The names of a recipients file.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Lower case, sorted; `@example.org` stands for the whole domain.
    sorted: Box<[Box<str>]>,
}

impl Names {
    /// Compared without regard to case, as every mail server in use does, and to the form of a
    /// domain that is not ASCII.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut sorted: Vec<Box<str>> = names
            .into_iter()
            .map(|name| key(&name).into_boxed_str())
            .collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self {
            sorted: sorted.into(),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The name itself, the name without what follows a `+`, or its whole domain. Letting a tagged
    /// name pass is safe, since the upstream still decides.
    fn hold(&self, mailbox: &str, domain: &str) -> bool {
        let name = key(mailbox);
        if self.contains(&name) {
            return true;
        }
        let domain = domain_key(domain);
        let tagged = name
            .split_once('+')
            .is_some_and(|(user, _)| self.contains(&format!("{user}@{domain}")));
        tagged || self.contains(&format!("@{domain}"))
    }

    fn contains(&self, name: &str) -> bool {
        self.sorted
            .binary_search_by(|held| (**held).cmp(name))
            .is_ok()
    }
}
