//! The man pages: `tarpit(8)`, one for each subcommand, `tarpit.toml(5)`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::cli::Tarpit;
use crate::cmd::{BAD_CONFIG, UNAVAILABLE};
use crate::config::generate;

/// The section of commands for administrators.
const SECTION: &str = "8";

/// Shown at the top of each page.
const MANUAL: &str = "Tarpit";

/// What exit codes mean (`cmd.rs`).
fn exit_codes() -> [(String, &'static str); 5] {
    [
        ("0".to_owned(), "Done; or served, and ended in good order."),
        (
            "1".to_owned(),
            "Failed; check: the configuration can't work with this upstream; audit: a finding.",
        ),
        (
            "2".to_owned(),
            "The command line is wrong; audit: the configuration can't be read.",
        ),
        (
            UNAVAILABLE.to_string(),
            "A resource is not available: an address to listen on, a maildir; or the upstream would relay for anyone.",
        ),
        (
            BAD_CONFIG.to_string(),
            "The configuration is bad. Every mistake is named on standard error.",
        ),
    ]
}

/// What `tarpit run` does at a signal (`cmd/run.rs`).
const SIGNALS: [(&str, &str); 3] = [
    (
        "SIGHUP",
        "Reads the configuration and what it names again, and puts it in force whole or not at all.",
    ),
    (
        "SIGTERM",
        "Stops to listen, ends holds with 421, lets running transactions finish, and ends.",
    ),
    ("SIGINT", "The same. A second of either ends at once."),
];

/// What is read from the environment.
const ENVIRONMENT: [(&str, &str); 2] = [
    (
        "TARPIT_LOG",
        "What is logged, such as \"warn\" or \"info,tarpit_gateway=debug\".",
    ),
    (
        "NOTIFY_SOCKET",
        "Set by systemd: where it hears that Tarpit is ready, reloads or drains.",
    ),
];

const FILES: [(&str, &str); 5] = [
    (
        "/etc/tarpit/tarpit.toml",
        "The configuration of the service. See tarpit.toml(5).",
    ),
    (
        "/var/lib/tarpit/exemptions.toml, mode.toml",
        "What was set by command, so that a restart keeps it.",
    ),
    (
        "/usr/lib/systemd/system/tarpit.service",
        "The unit; change it by systemctl edit tarpit.",
    ),
    (
        "/usr/share/tarpit/systemd/",
        "Drop-ins for it: a redirect of port 25 that lives as long as Tarpit, and the right to bind foreign addresses.",
    ),
    (
        "/usr/share/tarpit/crowdsec/",
        "For CrowdSec: a parser for the records, scenarios, and what is to be read.",
    ),
];

/// Writes all pages into `folder`.
///
/// # Errors
///
/// When a file can't be written.
pub(super) fn write(folder: &Path) -> anyhow::Result<()> {
    let mut command = Tarpit::command().disable_help_subcommand(true);
    command.build();
    write_pages(folder, &command)?;
    put(folder, "tarpit.toml.5", &generate::manual())
}

/// The page of a command, and those of its subcommands.
fn write_pages(folder: &Path, command: &Command) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or("tarpit");
    put(folder, &format!("{name}.{SECTION}"), &page_of(command)?)?;
    command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .try_for_each(|sub| write_pages(folder, sub))
}

fn put(folder: &Path, name: &str, page: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, page).with_context(|| format!("can't write {}", path.display()))
}

/// One page: what the command line says about itself, then what it can't say.
fn page_of(command: &Command) -> anyhow::Result<String> {
    let man = Man::new(command.clone())
        .section(SECTION)
        .manual(MANUAL)
        .source(format!("tarpit {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let is_whole = command.has_subcommands();
    if is_whole {
        man.render_subcommands_section(&mut page)?;
    }
    let mut more = Roff::new();
    if is_whole || command.get_name() == "run" {
        list(&mut more, "SIGNALS", &SIGNALS);
        list(&mut more, "ENVIRONMENT", &ENVIRONMENT);
        list(&mut more, "FILES", &FILES);
    }
    let codes = exit_codes();
    let codes = codes.each_ref().map(|(code, what)| (code.as_str(), *what));
    list(&mut more, "EXIT STATUS", &codes);
    more.control("SH", ["SEE ALSO"]).text(see_also(is_whole));
    more.to_writer(&mut page)?;
    Ok(String::from_utf8(page)?)
}

fn list(page: &mut Roff, title: &str, items: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (name, what) in items {
        page.control("TP", [])
            .text([bold(*name)])
            .text([roman(*what)]);
    }
}

fn see_also(is_whole: bool) -> Vec<Inline> {
    let mut list = vec![bold("tarpit.toml"), roman("(5)")];
    if !is_whole {
        list.extend([roman(", "), bold("tarpit"), roman("(8)")]);
    }
    list
}
