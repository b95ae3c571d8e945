//! The table of the race: redrawn in place on a terminal, printed once at the end elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::tally::Figures;

/// The heads, over rows of [`row`]. 78 columns, so that no terminal breaks a line.
const HEADS: &str = "                 harvester on 100 connections               wanted mail
            guesses    names   learnt a   seconds |  messages    median
           answered   learnt     minute    stolen |   through   latency";

/// The table. `None`: that phase has not begun.
pub(super) fn text(off: Option<&Figures>, on: Option<&Figures>) -> String {
    let mut text = format!("{HEADS}\n{}\n{}\n", row("pit off", off), row("pit on", on));
    let failed = off.map_or(0, |figures| figures.failed) + on.map_or(0, |figures| figures.failed);
    if failed > 0 {
        writeln!(text, "{} wanted messages failed.", grouped(failed))
            .expect("writing to a string can't fail");
    }
    text
}

fn row(name: &str, figures: Option<&Figures>) -> String {
    let Some(figures) = figures else {
        return format!("{name:7}  {0:>10}{0:>9}{0:>11}{0:>10} |{0:>10}{0:>10}", "-");
    };
    format!(
        "{name:7}  {:>10}{:>9}{:>11}{:>10} |{:>10}{:>10}",
        grouped(figures.answered),
        grouped(figures.learnt),
        per_minute(figures.learnt, figures.span),
        grouped(figures.stolen.as_secs()),
        grouped(figures.delivered),
        figures.latency.map_or_else(|| "-".to_owned(), milliseconds),
    )
}

fn per_minute(count: u64, span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    count
        .saturating_mul(60_000)
        .checked_div(millis)
        .map_or_else(|| "-".to_owned(), grouped)
}

fn milliseconds(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1000.0)
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Where the table is shown.
pub(super) struct Screen<W> {
    out: W,
    is_live: bool,
    /// Lines of the table that stand above the cursor.
    drawn: usize,
}

impl Screen<io::Stdout> {
    /// Standard output; live if it is a terminal that can move its cursor.
    pub(super) fn stdout() -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let out = io::stdout();
        let is_live = out.is_terminal() && !is_dumb;
        Self::to(out, is_live)
    }
}

impl<W: io::Write> Screen<W> {
    /// Any output; live if what was written can be written over.
    pub(super) fn to(out: W, is_live: bool) -> Self {
        Self {
            out,
            is_live,
            drawn: 0,
        }
    }

    /// Shows the table as it is now, over the last one; nothing where it can't be redrawn.
    ///
    /// # Errors
    ///
    /// The output is closed.
    pub(super) fn show(&mut self, table: &str) -> io::Result<()> {
        if self.is_live {
            self.draw(table)
        } else {
            Ok(())
        }
    }

    /// Shows the table as it stays.
    ///
    /// # Errors
    ///
    /// The output is closed.
    pub(super) fn finish(&mut self, table: &str) -> io::Result<()> {
        self.draw(table)
    }

    fn draw(&mut self, table: &str) -> io::Result<()> {
        if self.drawn > 0 {
            // Up to where it began, and clear from there (ECMA-48: CUU, ED).
            write!(self.out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        self.out.write_all(table.as_bytes())?;
        self.drawn = table.lines().count();
        self.out.flush()
    }
}
