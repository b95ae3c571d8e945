//! Debian's way with Exim: update-exim4.conf.conf, and what update-exim4.conf(8) makes of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::super::source::{Setting, Source};

/// The file that debconf writes.
pub(super) const NAME: &str = "update-exim4.conf.conf";

/// Sections of the split configuration that matter here, in Debian's order.
const SECTIONS: [&str; 2] = ["main", "acl"];

/// Its settings: assignments of a shell.
///
/// # Errors
///
/// A line is none.
pub(super) fn settings(source: &Source) -> anyhow::Result<Vec<Setting>> {
    let mut list = Vec::new();
    for (number, line) in source.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = source.place(number);
        let Some((name, value)) = line.split_once('=') else {
            bail!(
                "{place}: found {}; allowed: name='value'",
                crate::config::show_text(line)
            );
        };
        let quoted = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
        let plain = quoted('\'').or_else(|| quoted('"')).unwrap_or(value);
        list.push(Setting {
            name: name.trim().to_owned(),
            value: plain.trim().to_owned(),
            place,
        });
    }
    Ok(list)
}

/// The macros that update-exim4.conf makes of them.
pub(super) fn macros(settings: &[Setting]) -> HashMap<String, String> {
    let value = |name: &str| {
        let found = settings.iter().rev().find(|setting| setting.name == name);
        found.map_or("", |setting| setting.value.as_str())
    };
    let list = |name: &str| {
        let plain = value(name).trim();
        if plain.contains(';') && !plain.starts_with('<') {
            return format!("<; {plain}");
        }
        plain.to_owned()
    };
    let others = value("dc_other_hostnames").replace(';', ":");
    let nets = list("dc_relay_nets");
    let nets = if nets.starts_with("<;") {
        format!("{nets} ; 127.0.0.1 ; ::1")
    } else {
        format!("{nets} : 127.0.0.1 : ::::1")
    };
    let kind = value("dc_eximconfig_configtype");
    let mut macros = HashMap::from([
        (
            "MAIN_LOCAL_DOMAINS".to_owned(),
            format!("@ : localhost : {others}"),
        ),
        ("MAIN_RELAY_TO_DOMAINS".to_owned(), list("dc_relay_domains")),
        ("MAIN_RELAY_NETS".to_owned(), nets),
        (format!("DCconfig_{kind}"), "1".to_owned()),
    ]);
    let interfaces = list("dc_local_interfaces");
    if !interfaces.is_empty() {
        macros.insert("MAIN_LOCAL_INTERFACES".to_owned(), interfaces);
    }
    if value("dc_minimaldns") == "true" {
        macros.insert("DC_minimaldns".to_owned(), "1".to_owned());
    }
    // Whatever begins with a capital letter becomes a macro as it is.
    let own = settings.iter().filter(|setting| {
        setting
            .name
            .starts_with(|letter: char| letter.is_ascii_uppercase())
            && setting.name != "CFILEMODE"
    });
    macros.extend(own.map(|setting| (setting.name.clone(), setting.value.clone())));
    macros
}

/// The files that update-exim4.conf puts together, beside its own.
///
/// # Errors
///
/// They can't be read.
pub(super) fn parts(folder: &Path, is_split: bool) -> anyhow::Result<Vec<Source>> {
    if is_split {
        return split(&folder.join("conf.d"));
    }
    let files = ["exim4.conf.localmacros", "exim4.conf.template"];
    let files = files.iter().map(|name| folder.join(name));
    files
        .filter(|file| file.is_file())
        .map(|file| Source::read(&file))
        .collect()
}

/// What Debian's own parts say with these macros, where none lie beside the file.
pub(super) fn usual() -> Source {
    Source {
        name: "update-exim4.conf(8)".into(),
        text: "domainlist local_domains = MAIN_LOCAL_DOMAINS\n\
               domainlist relay_to_domains = MAIN_RELAY_TO_DOMAINS\n\
               hostlist relay_from_hosts = MAIN_RELAY_NETS\n\
               .ifdef MAIN_LOCAL_INTERFACES\n\
               local_interfaces = MAIN_LOCAL_INTERFACES\n\
               .endif\n"
            .to_owned(),
        is_mended: false,
    }
}

/// The files of a split configuration. A `NAME.rul` takes the place of `NAME`.
///
/// # Errors
///
/// They can't be read.
pub(super) fn split(folder: &Path) -> anyhow::Result<Vec<Source>> {
    let mut list = Vec::new();
    for section in SECTIONS {
        let folder = folder.join(section);
        if !folder.is_dir() {
            continue;
        }
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("{}: can't be read", folder.display()))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        for file in files.iter().filter(|file| is_part(file)) {
            let mut other = file.clone().into_os_string();
            other.push(".rul");
            let other = PathBuf::from(other);
            list.push(Source::read(if other.is_file() { &other } else { file })?);
        }
    }
    Ok(list)
}

/// Names of letters, digits, `_` and `-` only, as run-parts(8) has it.
fn is_part(file: &Path) -> bool {
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(".");
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    file.is_file() && name.chars().all(is_plain)
}
