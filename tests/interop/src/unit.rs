//! A unit file of systemd with its drop-ins, as far as ours go: systemd itself can't run in a test.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// All settings, in their order.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    settings: Vec<(String, String, String)>,
}

/// A command of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecLine {
    /// `+`: as root, and outside the unit's walls.
    pub is_full: bool,
    /// `-`: a failure does not matter.
    pub may_fail: bool,
    /// The program and its arguments.
    pub words: Vec<String>,
}

impl Unit {
    /// Reads a unit and its drop-ins, in the order in which they hold.
    ///
    /// # Errors
    /// When a file can't be read, or has a line that is none of a unit.
    pub fn read(files: &[&Path]) -> Result<Self> {
        let mut unit = Self::default();
        for file in files {
            let text =
                fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            unit.add(&text)
                .with_context(|| format!("in {}", file.display()))?;
        }
        Ok(unit)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                name.clone_into(&mut section);
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                bail!("no setting: {line}");
            };
            ensure!(!section.is_empty(), "before any section: {line}");
            let setting = (
                section.clone(),
                key.trim().to_owned(),
                value.trim().to_owned(),
            );
            self.settings.push(setting);
        }
        Ok(())
    }

    /// The values of a list, such as `ExecStop`; an empty one empties it.
    #[must_use]
    pub fn list(&self, section: &str, key: &str) -> Vec<&str> {
        let mut list = Vec::new();
        for (_, _, value) in self
            .settings
            .iter()
            .filter(|(in_section, name, _)| in_section == section && name == key)
        {
            if value.is_empty() {
                list.clear();
            } else {
                list.push(value.as_str());
            }
        }
        list
    }

    /// The value that holds: the last.
    #[must_use]
    pub fn value(&self, section: &str, key: &str) -> Option<&str> {
        self.list(section, key).last().copied()
    }

    /// The commands of a key of `[Service]`.
    ///
    /// # Errors
    /// When one is not quoted as systemd.service(5) has it.
    pub fn commands(&self, key: &str) -> Result<Vec<ExecLine>> {
        self.list("Service", key).into_iter().map(command).collect()
    }
}

/// systemd.service(5), "Command lines".
fn command(line: &str) -> Result<ExecLine> {
    let bare = line.trim_start_matches(['+', '-', '@', ':', '!']);
    let prefix = line.strip_suffix(bare).unwrap_or_default();
    ensure!(
        prefix.chars().all(|sign| "+-".contains(sign)),
        "this stand-in knows + and - only: {line}"
    );
    // Both would be replaced by systemd.
    ensure!(
        !bare.contains(['%', '$', '\\']),
        "this stand-in replaces nothing: {line}"
    );
    Ok(ExecLine {
        is_full: prefix.contains('+'),
        may_fail: prefix.contains('-'),
        words: words(bare)?,
    })
}

/// Words between blanks; quotes, single or double, hold one together.
fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if matches!(first, '\'' | '"') {
            let body = rest.get(1..).unwrap_or_default();
            let end = body
                .find(first)
                .with_context(|| format!("an open quote: {line}"))?;
            words.push(body.get(..end).unwrap_or_default().to_owned());
            end + 2
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            words.push(rest.get(..end).unwrap_or_default().to_owned());
            end
        };
        rest = rest.get(end..).unwrap_or_default();
        ensure!(
            rest.is_empty() || rest.starts_with(' '),
            "text behind a quote: {line}"
        );
        rest = rest.trim_start();
    }
    ensure!(!words.is_empty(), "no command: {line}");
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_values_hold_and_empty_ones_empty() -> Result<()> {
        let mut unit = Unit::default();
        unit.add("# x\n[Service]\nType=notify\nExecStop=/bin/a\n")?;
        unit.add("[Service]\nType=notify-reload\nExecStop=\nExecStop=+-/bin/b 'c d; e' \"f\" g\n")?;
        assert_eq!(unit.value("Service", "Type"), Some("notify-reload"));
        assert_eq!(
            unit.commands("ExecStop")?,
            [ExecLine {
                is_full: true,
                may_fail: true,
                words: ["/bin/b", "c d; e", "f", "g"].map(str::to_owned).to_vec(),
            }]
        );
        assert!(unit.commands("ExecStart")?.is_empty());
        Ok(())
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        for line in [
            "/bin/a $X",
            "/bin/a %n",
            "@/bin/a a",
            "/bin/a 'b",
            "/bin/a 'b'c",
        ] {
            assert!(command(line).is_err(), "{line}");
        }
        assert!(Unit::default().add("ExecStart=/bin/a").is_err());
    }
}
