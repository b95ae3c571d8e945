//! What the benchmark tells a process of its herd, and what it hears back.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// An order, one a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    /// So many clients more, so many a second. Who is sent away comes again.
    Open { count: u64, rate: f64 },
    /// After a reply, this share of the clients guesses again at once; the others keep silent.
    Answer { share: f64 },
    /// All that keep silent guess once more, so many a second.
    Guess { rate: f64 },
    /// So many a second hang up, whichever they are, and others come instead. 0 ends it.
    Churn { rate: f64 },
    /// Forget replies and lateness.
    Reset,
    /// Say what was seen.
    Report,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { count, rate } => write!(f, "open {count} {rate}"),
            Self::Answer { share } => write!(f, "answer {share}"),
            Self::Guess { rate } => write!(f, "guess {rate}"),
            Self::Churn { rate } => write!(f, "churn {rate}"),
            Self::Reset => write!(f, "reset"),
            Self::Report => write!(f, "report"),
        }
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| -> Result<f64> {
            let word = words.get(at).context("a number is missing");
            word.and_then(|word| word.parse().context("not a number"))
                .with_context(|| format!("order {line:?}"))
        };
        Ok(match words.first().copied() {
            Some("open") => Self::Open {
                count: words.get(1).unwrap_or(&"").parse().context("open")?,
                rate: number(2)?,
            },
            Some("answer") => Self::Answer { share: number(1)? },
            Some("guess") => Self::Guess { rate: number(1)? },
            Some("churn") => Self::Churn { rate: number(1)? },
            Some("reset") => Self::Reset,
            Some("report") => Self::Report,
            _ => bail!("no such order: {line:?}"),
        })
    }
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Between connect and the reply to MAIL.
    Opening,
    /// It has guessed and waits for the reply.
    Held,
    /// It got its reply and says nothing.
    Silent,
}

/// What the clients of one process, or of all, have seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    opening: u64,
    held: u64,
    silent: u64,
    /// Connections that came as far as their first guess.
    pub(crate) taken_in: u64,
    /// Replies to guesses.
    pub(crate) replies: u64,
    /// Of these, early ones: before they were due.
    pub(crate) early: u64,
    /// Of these, those that let a guess pass (2yz).
    pub(crate) passed: u64,
    /// Sessions that the server ended after they were held.
    pub(crate) ended: u64,
    /// Sessions that the server ended before.
    pub(crate) refused: u64,
    /// Clients that hung up by themselves.
    pub(crate) hung_up: u64,
    /// What else went wrong.
    pub(crate) failures: u64,
    /// The first refusal, end or failure, in words.
    pub(crate) first_failure: Option<String>,
    /// Replies by how late they came, in whole milliseconds.
    late: BTreeMap<u64, u64>,
}

impl Tally {
    /// A client more, which connects.
    pub(crate) fn enter(&mut self) {
        self.opening += 1;
    }

    /// A client less.
    pub(crate) fn leave(&mut self, from: State) {
        *self.counter(from) -= 1;
    }

    /// A client goes from one state to another.
    pub(crate) fn pass(&mut self, from: State, to: State) {
        *self.counter(from) -= 1;
        *self.counter(to) += 1;
        if from == State::Opening && to == State::Held {
            self.taken_in += 1;
        }
    }

    fn counter(&mut self, state: State) -> &mut u64 {
        match state {
            State::Opening => &mut self.opening,
            State::Held => &mut self.held,
            State::Silent => &mut self.silent,
        }
    }

    /// A reply came so long after the guess, where a hold takes `hold`.
    pub(crate) fn reply(&mut self, after: Duration, hold: Duration) {
        self.replies += 1;
        match after.checked_sub(hold) {
            Some(late) => {
                let late = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
                *self.late.entry(late).or_insert(0) += 1;
            }
            None => self.early += 1,
        }
    }

    /// Something went wrong.
    pub(crate) fn fail(&mut self, how: &str) {
        self.failures += 1;
        self.note(how);
    }

    /// Keeps the words of the first thing that went wrong.
    pub(crate) fn note(&mut self, how: &str) {
        self.first_failure.get_or_insert_with(|| how.to_owned());
    }

    /// Forgets what was counted; the clients stay.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            opening: self.opening,
            held: self.held,
            silent: self.silent,
            ..Self::default()
        };
    }

    /// Clients with a connection.
    pub(crate) fn clients(&self) -> u64 {
        self.opening + self.held + self.silent
    }

    /// Clients that are on their way to their first guess.
    pub(crate) fn opening(&self) -> u64 {
        self.opening
    }

    /// Clients that wait for a reply to a guess.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Clients that got a reply and say nothing.
    pub(crate) fn silent(&self) -> u64 {
        self.silent
    }

    /// How late replies were, at this share of them; `None` without replies that were due.
    pub(crate) fn late_ms(&self, share: f64) -> Option<u64> {
        let all = self.early + self.late.values().sum::<u64>();
        let mut below = self.early;
        if all == 0 {
            return None;
        }
        if below as f64 >= share * all as f64 {
            return Some(0);
        }
        for (late, count) in &self.late {
            below += count;
            if below as f64 >= share * all as f64 {
                return Some(*late);
            }
        }
        None
    }

    /// Adds what another process saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.opening += other.opening;
        self.held += other.held;
        self.silent += other.silent;
        self.taken_in += other.taken_in;
        self.replies += other.replies;
        self.early += other.early;
        self.passed += other.passed;
        self.ended += other.ended;
        self.refused += other.refused;
        self.hung_up += other.hung_up;
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        for (late, count) in other.late {
            *self.late.entry(late).or_insert(0) += count;
        }
    }

    /// As a process reports it.
    pub(crate) fn to_json(&self) -> Value {
        let late: Vec<[u64; 2]> = self.late.iter().map(|(at, n)| [*at, *n]).collect();
        json!({
            "opening": self.opening, "held": self.held, "silent": self.silent,
            "taken_in": self.taken_in, "replies": self.replies, "early": self.early,
            "passed": self.passed, "ended": self.ended, "refused": self.refused,
            "hung_up": self.hung_up, "failures": self.failures,
            "first_failure": self.first_failure, "late": late,
        })
    }

    /// Reads a report.
    pub(crate) fn from_json(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("{line:?}"))?;
        let number = |name: &str| {
            let number = value.get(name).and_then(Value::as_u64);
            number.with_context(|| format!("no {name} in {line:?}"))
        };
        let mut late = BTreeMap::new();
        for pair in value
            .get("late")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let at = |at: usize| pair.get(at).and_then(Value::as_u64).context("late");
            late.insert(at(0)?, at(1)?);
        }
        Ok(Self {
            opening: number("opening")?,
            held: number("held")?,
            silent: number("silent")?,
            taken_in: number("taken_in")?,
            replies: number("replies")?,
            early: number("early")?,
            passed: number("passed")?,
            ended: number("ended")?,
            refused: number("refused")?,
            hung_up: number("hung_up")?,
            failures: number("failures")?,
            first_failure: value
                .get("first_failure")
                .and_then(Value::as_str)
                .map(str::to_owned),
            late,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_back() {
        for order in [
            Order::Open {
                count: 19_000,
                rate: 2500.0,
            },
            Order::Answer { share: 0.25 },
            Order::Guess { rate: 1000.5 },
            Order::Churn { rate: 0.0 },
            Order::Reset,
            Order::Report,
        ] {
            assert_eq!(order.to_string().parse::<Order>().unwrap(), order);
        }
        for bad in ["", "open", "open 1", "open x 1", "guess", "stop"] {
            assert!(bad.parse::<Order>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reports_are_read_back_and_added() {
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.enter();
            tally.pass(State::Opening, State::Held);
        }
        let hold = Duration::from_secs(5);
        tally.reply(Duration::from_millis(5003), hold);
        tally.reply(Duration::from_millis(4999), hold);
        tally.note("421 4.3.2");
        let read = Tally::from_json(&tally.to_json().to_string()).unwrap();
        assert_eq!(read, tally);
        tally.add(read);
        assert_eq!((tally.clients(), tally.held(), tally.taken_in), (6, 6, 6));
        assert_eq!((tally.replies, tally.early), (4, 2));
        assert!(Tally::from_json("{}").is_err());
        tally.reset();
        assert_eq!((tally.clients(), tally.replies), (6, 0));
    }

    #[test]
    fn lateness_by_nearest_rank() {
        let hold = Duration::from_secs(1);
        let mut tally = Tally::default();
        assert_eq!(tally.late_ms(0.5), None);
        for late in 0..100 {
            tally.reply(hold + Duration::from_millis(late), hold);
        }
        assert_eq!(tally.late_ms(0.5), Some(49));
        assert_eq!(tally.late_ms(0.99), Some(98));
        assert_eq!(tally.late_ms(1.0), Some(99));
    }
}
