//! `tarpit.toml(5)`, from the table of options.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::super::options::{Apply, Default, Opt, SECTIONS, Section};

/// The whole page.
pub(crate) fn manual() -> String {
    let mut page = Roff::new();
    let version = format!("tarpit {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["tarpit.toml", "5", "", &version, "Tarpit"]);
    page.control("SH", ["NAME"])
        .text([roman("tarpit.toml - the configuration of Tarpit")]);
    page.control("SH", ["DESCRIPTION"]).text(marked(
        "One TOML file, which `tarpit run --config FILE` reads as a whole or not at all. Keys that this \
         page doesn't have are refused. `tarpit check --config FILE` names every mistake, and shows the \
         values that hold. At SIGHUP the file is read again; a change of a key that takes a restart is \
         refused then, and the old configuration stays in force.",
    ));
    for section in SECTIONS {
        section_of(&mut page, section);
    }
    page.control("SH", ["SEE ALSO"]).text([
        bold("tarpit"),
        roman("(8), "),
        bold("tarpit-check"),
        roman("(8)"),
    ]);
    page.render()
}

fn section_of(page: &mut Roff, section: &Section) {
    page.control("SH", [section.header().to_uppercase().as_str()]);
    page.text(marked(section.what));
    for option in section.options {
        entry(page, section, option);
    }
}

fn entry(page: &mut Roff, section: &Section, option: &Opt) {
    let default = match option.default {
        Default::Value(value) => format!("Default: `{value}`."),
        Default::Required(sample) => format!("Required; for instance `{sample}`."),
        Default::Unset(sample, meaning) => {
            format!("Left out: {meaning}; for instance `{sample}`.")
        }
        Default::Found(sample, from) => format!("Default: {from}; for instance `{sample}`."),
    };
    let apply = match option.apply {
        Apply::Reload => "",
        Apply::Restart => " Takes a restart.",
    };
    page.control("TP", []).text([
        bold(option.key),
        roman(" = "),
        italic(option.allowed.describe()),
    ]);
    page.text(marked(&format!("{} {default}{apply}", option.what)));
    page.control("IP", []).text(marked(option.why));
    debug_assert!(section.option(option.key).is_some());
}

/// Text with `words like these` in bold.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}
