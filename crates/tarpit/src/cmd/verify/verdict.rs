//! From measurements to words. A pure function, so that each case has its line in a table of tests.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tarpit_smtp::Reply;

use super::measure::{Measurements, Outcome, Row, Step};

/// A difference that a harvester can see across the Internet, where replies scatter by some tens
/// of milliseconds. Smaller ones are called none.
const NOTICEABLE: Duration = Duration::from_millis(100);

/// What is called slow where no delay was meant: servers answer in milliseconds, and look-ups in
/// DNS take less than this.
const SLOW: Duration = Duration::from_secs(1);

/// RFC 3207 §4, RFC 4954 §6: a server that wants TLS or AUTH first.
const LOCKED: u16 = 530;

/// The verdict in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether the server answered enough for a check.
    pub(super) is_check: bool,
    /// The most important first.
    pub(super) sentences: Vec<String>,
}

/// Says what the measurements mean. `good` is the address that should exist.
pub(super) fn judge(measured: &Measurements, good: &str) -> Verdict {
    let (wrong, right) = (
        Answers::of(measured, Step::Unknown),
        Answers::of(measured, Step::Known),
    );
    let (is_check, mut sentences) = if wrong.is_empty() || right.is_empty() {
        (false, vec![no_check(measured)])
    } else if right.yes.is_empty() {
        (false, good_refused(&wrong, &right, good))
    } else if wrong.no.is_empty() {
        (true, any_name(&wrong, &right))
    } else {
        (true, told_apart(measured, &wrong, &right))
    };
    sentences.extend(remarks(measured, &wrong, &right));
    Verdict {
        is_check,
        sentences,
    }
}

/// Replies to one kind of name.
#[derive(Default)]
struct Answers<'a> {
    yes: Vec<Answer<'a>>,
    no: Vec<Answer<'a>>,
}

struct Answer<'a> {
    reply: &'a Reply,
    took: Duration,
}

impl<'a> Answers<'a> {
    fn of(measured: &'a Measurements, step: Step) -> Self {
        let mut answers = Self::default();
        for row in measured.rows.iter().filter(|row| row.step == step) {
            let Some(reply) = row.reply() else { continue };
            let side = if reply.code().is_positive() {
                &mut answers.yes
            } else {
                &mut answers.no
            };
            side.push(Answer {
                reply,
                took: row.took,
            });
        }
        answers
    }

    fn is_empty(&self) -> bool {
        self.yes.is_empty() && self.no.is_empty()
    }

    fn len(&self) -> usize {
        self.yes.len() + self.no.len()
    }
}

/// Nothing was answered on one kind of name, or on both.
fn no_check(measured: &Measurements) -> String {
    let Some(last) = measured.rows.last() else {
        return "No check was possible: there was nothing to ask.".to_owned();
    };
    let what = &last.outcome;
    let why = match (last.step, what) {
        (_, Outcome::Unreachable(_)) => format!("{what}."),
        (Step::Greeting, Outcome::Reply(_)) => {
            format!("the server takes no connection from here ({what}).")
        }
        (Step::Hello, Outcome::Reply(_)) => format!("the server refuses our greeting ({what})."),
        (Step::Mail, Outcome::Reply(reply)) if reply.code().get() == LOCKED => format!(
            "the server takes mail only after TLS or AUTH ({what}), and this check does neither: it is for ports where \
             anybody may ask for names, as port 25."
        ),
        (Step::Mail, Outcome::Reply(_)) => format!(
            "the server refuses MAIL FROM:<> ({what}). It should not: reports of failed delivery come \
             with that reverse-path (RFC 5321 §4.5.5)."
        ),
        (Step::Greeting, _) => format!(
            "{what}, on {}. If the port speaks TLS from the first octet (465), it can't be checked: this check speaks none.",
            last.command
        ),
        _ => format!("{what}, on {}.", last.command),
    };
    format!("No check was possible: {why}")
}

/// The good address was not accepted, not even once.
fn good_refused(wrong: &Answers<'_>, right: &Answers<'_>, good: &str) -> Vec<String> {
    let Some(first) = right.no.first() else {
        return Vec::new();
    };
    let reply = first.reply.to_log();
    let mut sentences = vec![if first.reply.code().is_transient() {
        format!(
            "The server puts off the good address too ({reply}): greylisting, or it has no room for this \
             client. Check again in some minutes."
        )
    } else {
        format!(
            "The server refuses the good address too ({reply}): {good} does not exist there, or the \
             server takes nothing from here. So yes and no could not be compared."
        )
    }];
    let refusals = median(wrong.no.iter().chain(&right.no));
    if refusals >= SLOW {
        sentences.push(format!("A refusal takes {} s (median).", seconds(refusals)));
    }
    sentences
}

/// All made-up names were accepted.
fn any_name(wrong: &Answers<'_>, right: &Answers<'_>) -> Vec<String> {
    let mut sentences = vec![
        "It accepts any name: recipient filtering is off, so no guess is ever refused at RCPT and a pit \
         will never fire. Turn recipient filtering on first."
            .to_owned(),
    ];
    let (no, yes) = (Spread::of(&wrong.yes), Spread::of(&right.yes));
    if no.is_apart_from(&yes) {
        sentences.push(format!(
            "Yet names that exist can be told by the clock: {} s for an unknown name, {} s for the known \
             one (medians).",
            seconds(no.median),
            seconds(yes.median)
        ));
    }
    sentences
}

/// The case that the check is for: unknown names are refused, the known one is accepted.
fn told_apart(measured: &Measurements, wrong: &Answers<'_>, right: &Answers<'_>) -> Vec<String> {
    let (no, yes) = (Spread::of(&wrong.no), Spread::of(&right.yes));
    let (slow_no, slow_yes) = (seconds(no.median), seconds(yes.median));
    let medians =
        format!("({slow_no} s for an unknown name, {slow_yes} s for the known one, medians)");
    let pit = no.median.saturating_sub(yes.median);
    let by_clock = no.is_apart_from(&yes);
    let mut sentences = Vec::new();
    if by_clock && pit >= NOTICEABLE {
        sentences.push(format!("A pit of {} s {medians}.", tenths(pit)));
    } else if by_clock {
        sentences.push(format!("No pit: a yes takes longer than a no {medians}."));
    } else if no.median >= SLOW && yes.median >= SLOW {
        sentences.push(both_slow(measured, &medians));
    } else if pit >= NOTICEABLE {
        sentences.push(format!(
            "No clear pit: the times scatter too much {medians}. Check again."
        ));
    } else {
        sentences.push(format!("No pit: a no comes as fast as a yes {medians}."));
    }
    if let Some(growth) = growth(&wrong.no) {
        sentences.push(growth);
    }
    sentences.push(how_to_tell(wrong, right, by_clock, &yes));
    sentences
}

/// Both kinds of answers are slow, and equally so.
fn both_slow(measured: &Measurements, medians: &str) -> String {
    let is_other =
        |row: &&Row| matches!(row.step, Step::Hello | Step::Mail) && row.reply().is_some();
    let mut others: Vec<_> = measured
        .rows
        .iter()
        .filter(is_other)
        .map(|row| row.took)
        .collect();
    let other = middle(&mut others);
    if other >= SLOW {
        format!(
            "The server is slow for everything {medians}; EHLO and MAIL take {} s. A pit can't be seen in that.",
            seconds(other)
        )
    } else {
        format!(
            "Both answers are slow, and equally so {medians}: a pit that treats yes and no alike."
        )
    }
}

/// The wait that gets longer with each refusal.
fn growth(no: &[Answer<'_>]) -> Option<String> {
    let (first, last) = (no.first()?.took, no.last()?.took);
    let grows =
        no.is_sorted_by_key(|answer| answer.took) && last >= first + SLOW && last >= first * 3 / 2;
    let all = no
        .iter()
        .map(|answer| tenths(answer.took))
        .collect::<Vec<_>>()
        .join(", ");
    grows.then(|| format!("The wait grows from refusal to refusal: {all} s."))
}

fn how_to_tell(wrong: &Answers<'_>, right: &Answers<'_>, by_clock: bool, yes: &Spread) -> String {
    let code = |answers: &[Answer<'_>]| {
        answers
            .first()
            .map(|one| one.reply.code().to_string())
            .unwrap_or_default()
    };
    let by_code = format!("by the code ({} and {})", code(&wrong.no), code(&right.yes));
    if by_clock {
        let patience = tenths(yes.longest + NOTICEABLE);
        format!(
            "Yes and no can be told apart {by_code}, and by the clock: who waits {patience} s for an answer \
             knows it, whatever the code."
        )
    } else {
        format!("Yes and no can be told apart {by_code}, not by the clock.")
    }
}

/// What else was seen.
fn remarks(measured: &Measurements, wrong: &Answers<'_>, right: &Answers<'_>) -> Vec<String> {
    let mut remarks = Vec::new();
    if !wrong.yes.is_empty() && !wrong.no.is_empty() {
        remarks.push(format!(
            "It accepted {} of {} made-up names.",
            wrong.yes.len(),
            wrong.len()
        ));
    }
    if !right.yes.is_empty() && !right.no.is_empty() {
        let refused = right
            .no
            .iter()
            .map(|answer| answer.reply.to_log())
            .collect::<Vec<_>>()
            .join("; ");
        remarks.push(format!(
            "It did not take the known name each time: {} of {} answers were {refused}.",
            right.no.len(),
            right.len()
        ));
    }
    if let Some(put_off) = wrong
        .no
        .iter()
        .find(|answer| answer.reply.code().is_transient())
    {
        remarks.push(format!(
            "An unknown name was put off, not refused ({}). TarpitTime of KB 842851 waits before 5yz only.",
            put_off.reply.to_log()
        ));
    }
    if let Some(greeting) = measured
        .rows
        .iter()
        .find(|row| row.step == Step::Greeting && row.took >= SLOW)
    {
        remarks.push(format!("The greeting took {} s.", tenths(greeting.took)));
    }
    if let Some(errors) = measured.closings.first() {
        let times = measured.closings.len();
        let often = if times == 1 {
            String::new()
        } else {
            format!(" ({times} times in all)")
        };
        remarks.push(format!(
            "The server closed the connection after {errors} refusals{often}; a new one was made."
        ));
    }
    remarks
}

/// Where the times of one kind of answer lie.
struct Spread {
    shortest: Duration,
    median: Duration,
    longest: Duration,
}

impl Spread {
    fn of(answers: &[Answer<'_>]) -> Self {
        let times = || answers.iter().map(|answer| answer.took);
        Self {
            shortest: times().min().unwrap_or_default(),
            median: median(answers.iter()),
            longest: times().max().unwrap_or_default(),
        }
    }

    /// Whether one answer's time is enough to tell which kind it is.
    fn is_apart_from(&self, other: &Self) -> bool {
        let gap = |above: &Self, below: &Self| above.shortest.saturating_sub(below.longest);
        gap(self, other) >= NOTICEABLE || gap(other, self) >= NOTICEABLE
    }
}

fn median<'a, 'b: 'a>(answers: impl Iterator<Item = &'a Answer<'b>>) -> Duration {
    middle(&mut answers.map(|answer| answer.took).collect::<Vec<_>>())
}

/// The median; of two in the middle, their mean.
fn middle(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let half = times.len() / 2;
    match (
        half.checked_sub(1).and_then(|below| times.get(below)),
        times.get(half),
    ) {
        (Some(&below), Some(&above)) if times.len().is_multiple_of(2) => (below + above) / 2,
        (_, Some(&time)) => time,
        (_, None) => Duration::ZERO,
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

fn tenths(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}
