//! The one table of what is shown, under which name, and what it means. Names follow Prometheus's
//! conventions: base units, `_total` for counters, a prefix of our own but for what every process
//! has.

mod rows;
#[cfg(test)]
mod tests;

use super::{Figures, HistogramValues};

pub use rows::families;

/// One metric: all series of one name.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it means, in a sentence or two: the HELP of Prometheus, and its place in the docs.
    pub help: &'static str,
    /// Its labels, in the order in which their values are given.
    pub labels: &'static [Label],
    /// Where it stands in the docs.
    pub section: Section,
    /// Gives each of its series: the values of its labels, and its number.
    pub read: fn(&Figures, Push<'_>),
}

/// Takes the series of a metric.
pub type Push<'a> = &'a mut dyn FnMut(&[&str], Value<'_>);

/// Kinds of numbers, as Prometheus has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only goes up, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations counted by their length.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The number of one series.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A whole number.
    Count(u64),
    /// Any number.
    Real(f64),
    /// Durations.
    Histogram(&'a HistogramValues),
}

/// A label.
#[derive(Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Where its values come from.
    pub values: Values,
}

/// Where the values of a label come from. None comes from a client.
#[derive(Clone, Copy)]
pub enum Values {
    /// These words, and no other.
    Words(fn() -> Vec<&'static str>),
    /// The configuration has so many: what they are.
    Config(&'static str),
}

/// Sections of the docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Who comes.
    Sessions,
    /// Who waits.
    Pit,
    /// What is delivered.
    Mail,
    /// The mail servers behind.
    Upstreams,
    /// Who is known.
    Ledger,
    /// TLS with clients.
    Tls,
    /// The program itself.
    Process,
}

impl Section {
    /// All of them, in their order.
    pub const ALL: &'static [Self] = &[
        Self::Sessions,
        Self::Pit,
        Self::Mail,
        Self::Upstreams,
        Self::Ledger,
        Self::Tls,
        Self::Process,
    ];

    /// Its heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Sessions => "Sessions",
            Self::Pit => "The pit",
            Self::Mail => "Mail",
            Self::Upstreams => "Upstreams",
            Self::Ledger => "The ledger",
            Self::Tls => "TLS with clients",
            Self::Process => "The process",
        }
    }
}
