//! The pages that are derived from the table of options: the commented sample file and the
//! reference. A test holds the committed ones to what is printed here.

mod man;

pub(crate) use man::manual;

use super::options::{Apply, Default, Opt, SECTIONS, Sample, Section, Shape};

/// Where a comment is wrapped, in characters.
const WIDTH: usize = 96;

/// `docs/tarpit.toml`: a file that can be used once the names in it are right.
pub(crate) fn sample() -> String {
    let mut page = comment(
        "A configuration of Tarpit. Keys that are commented out show their default; the others need \
         a value of yours. `tarpit check --config FILE` tells what is wrong with a file, what holds, and \
         what the upstream makes of it. Printed by `tarpit generate sample`.",
    );
    for section in SECTIONS {
        page.push_str("\n\n");
        page.push_str(&comment(section.what));
        let off = if section.sample == Sample::Commented {
            "#"
        } else {
            ""
        };
        if section.shape != Shape::Top {
            page.push_str(&format!("{off}{}\n", section.header()));
        }
        for option in section.options {
            page.push('\n');
            page.push_str(&sample_option(option, off));
        }
    }
    page
}

fn sample_option(option: &Opt, off: &str) -> String {
    let key = option.key;
    let mut text = comment(option.what);
    text.push_str(&comment(&format!(
        "Allowed: {}.",
        option.allowed.describe()
    )));
    text.push_str(&comment(&format!("Why: {}", option.why)));
    text.push_str(&match option.default {
        Default::Value(value) => format!("#{key} = {value}\n"),
        Default::Required(value) | Default::Found(value, _) => format!("{off}{key} = {value}\n"),
        Default::Unset(value, meaning) => format!(
            "{}#{key} = {value}\n",
            comment(&format!("Left out: {meaning}."))
        ),
    });
    text
}

/// A comment of as many lines as it takes.
fn comment(text: &str) -> String {
    let mut page = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            page.push_str(&line);
            page.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    page.push_str(&line);
    page.push('\n');
    page
}

/// `docs/configuration.md`: every key, what it does, what is allowed, and why its default is so.
pub(crate) fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Tarpit reads one TOML file: `tarpit run --config FILE`. Keys that this page doesn't have are refused, and\n\
         a file with a mistake is refused as a whole, with every mistake named. `tarpit check --config FILE` shows\n\
         the values that hold, and where each comes from.\n\n\
         SIGHUP reloads the file, whole or not at all. Where a key says *restart*, a reload that would change it is\n\
         refused, and the old configuration stays in force. `TARPIT_LOG` (such as `warn` or `info,tarpit_gateway=debug`)\n\
         sets what is logged.\n\n\
         This page is printed by `tarpit generate reference`, from the table that the program itself goes by.\n\
         [tarpit.toml](tarpit.toml) is a sample from the same table.\n",
    );
    for section in SECTIONS {
        page.push_str(&reference_section(section));
    }
    page
}

fn reference_section(section: &Section) -> String {
    let title = match section.shape {
        Shape::Top => "Top level".to_owned(),
        Shape::Single | Shape::Many => format!("`{}`", section.header()),
    };
    let mut page = format!("\n## {title}\n\n{}\n", section.what);
    for option in section.options {
        let default = match option.default {
            Default::Value(value) => format!("`{value}`"),
            Default::Required(sample) => format!("none, it is required; for instance `{sample}`"),
            Default::Unset(sample, meaning) => format!("none ({meaning}); for instance `{sample}`"),
            Default::Found(sample, from) => format!("{from}; for instance `{sample}`"),
        };
        let apply = match option.apply {
            Apply::Reload => "reload",
            Apply::Restart => "restart",
        };
        page.push_str(&format!(
            "\n### {}\n\n{}\n\n- Allowed: {}\n- Default: {default}\n- Why: {}\n- Takes effect: {apply}\n",
            section.path(option.key),
            option.what,
            option.allowed.describe(),
            option.why,
        ));
    }
    page
}
