//! The data of the table. Order is the order of the sample and the reference.

mod bounds;
mod doors;
mod pit;

use std::time::Duration;

use super::{Allowed, Apply, Default, Opt, Sample, Section, Shape};
use bounds::{ADMIN, CONTROL, KEEPERS, LIMITS, LOG, RECORDS};
use doors::{CERTIFICATE, LISTENER, MAILDIR, TOP, UPSTREAM};
use pit::{EXEMPT, PIT, RECIPIENTS, SOURCE, TARPIT};

/// An option that a reload can change.
const fn opt(
    key: &'static str,
    allowed: Allowed,
    default: Default,
    what: &'static str,
    why: &'static str,
) -> Opt {
    Opt {
        key,
        allowed,
        default,
        what,
        why,
        apply: Apply::Reload,
    }
}

impl Opt {
    /// The same, but only a restart can change it.
    const fn restart(mut self) -> Self {
        self.apply = Apply::Restart;
        self
    }
}

const fn seconds(min: u64, max: u64) -> Allowed {
    Allowed::Time {
        min: Duration::from_secs(min),
        max: Duration::from_secs(max),
    }
}

const fn count(min: u64, max: u64) -> Allowed {
    Allowed::Count { min, max }
}

const MODES: Allowed = Allowed::Word(&["off", "observe", "enforce"]);
const WAYS: Allowed = Allowed::Word(&["silent", "stutter", "continuation"]);
/// All work behind one reply ends within 240 s ([`tarpit_core::policy::REPLY_MAX`]): 40 s are left
/// for the upstream.
const DELAY: Allowed = Allowed::Time {
    min: Duration::ZERO,
    max: Duration::from_secs(200),
};

/// All options.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "",
        shape: Shape::Top,
        what: "Who we are.",
        sample: Sample::Used,
        options: TOP,
    },
    Section {
        name: "listener",
        shape: Shape::Many,
        what: "Where clients connect. At least one; each may have a mode and a delay of its own.",
        sample: Sample::Used,
        options: LISTENER,
    },
    Section {
        name: "upstream",
        shape: Shape::Many,
        what: "An upstream: the mail server behind us, or several that take the same mail. At least one, unless there \
               is a [maildir].",
        sample: Sample::Used,
        options: UPSTREAM,
    },
    Section {
        name: "certificate",
        shape: Shape::Many,
        what: "A certificate for TLS towards clients. Which one is used follows from the server name that the client \
               asks for; the first serves the others. The mail server's own files will do: then its TLSA records hold \
               here too.",
        sample: Sample::Commented,
        options: CERTIFICATE,
    },
    Section {
        name: "maildir",
        shape: Shape::Single,
        what: "The built-in maildir, in place of an [[upstream]]: for trying out and for tests.",
        sample: Sample::Commented,
        options: MAILDIR,
    },
    Section {
        name: "recipients",
        shape: Shape::Single,
        what: "Who knows which names exist. Without this, no guess is ever refused, and no pit has work.",
        sample: Sample::Used,
        options: RECIPIENTS,
    },
    Section {
        name: "tarpit",
        shape: Shape::Single,
        what: "The tar pit itself.",
        sample: Sample::Used,
        options: TARPIT,
    },
    Section {
        name: "pit",
        shape: Shape::Single,
        what: "The place where sessions wait, and who is not even let in.",
        sample: Sample::Used,
        options: PIT,
    },
    Section {
        name: "exempt",
        shape: Shape::Many,
        what: "A network whose sessions never wait: a partner, a monitor, an application of your own. \
               Never a proxy or filter in front of Tarpit: that would exempt everyone behind it.",
        sample: Sample::Commented,
        options: EXEMPT,
    },
    Section {
        name: "source",
        shape: Shape::Single,
        what: "What counts as one source: whose sessions share an account.",
        sample: Sample::Used,
        options: SOURCE,
    },
    Section {
        name: "limits",
        shape: Shape::Single,
        what: "The bounds. What is over a capacity gets a 4yz or 421 reply, never a 5yz, and is counted.",
        sample: Sample::Used,
        options: LIMITS,
    },
    Section {
        name: "log",
        shape: Shape::Single,
        what: "Records, on standard error. The variable TARPIT_LOG sets what is logged.",
        sample: Sample::Used,
        options: LOG,
    },
    Section {
        name: "records",
        shape: Shape::Single,
        what: "What is remembered of each session, for `tarpit report`: bounded in size and age.",
        sample: Sample::Used,
        options: RECORDS,
    },
    Section {
        name: "admin",
        shape: Shape::Single,
        what: "A page to look at, live figures for Prometheus at /metrics, and /livez and /readyz: docs/page.md, \
               docs/monitoring.md.",
        sample: Sample::Used,
        options: ADMIN,
    },
    Section {
        name: "control",
        shape: Shape::Single,
        what: "The control socket, for commands: docs/control.md.",
        sample: Sample::Used,
        options: CONTROL,
    },
    Section {
        name: "keepers",
        shape: Shape::Single,
        what: "Where this process may not have enough descriptors for all held sessions, other processes (`tarpit keeper`) \
               are started for them. They outlive this one: whoever comes next takes them over.",
        sample: Sample::Used,
        options: KEEPERS,
    },
];
