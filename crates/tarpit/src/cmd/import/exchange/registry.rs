//! TarpitTime of the SMTP service of Windows (KB 842851), in an export of the registry.

use anyhow::bail;

use super::super::source::{Setting, Source};

/// The key, without what stands for the control set in use.
const KEY: &str = "\\services\\smtpsvc\\parameters";

/// TarpitTime in seconds, if the file is about the registry at all. Where the key has no such value it
/// is 0, which is what the service takes it for.
///
/// # Errors
///
/// The export has no SMTPSVC\Parameters, or the value is none.
pub(super) fn read(source: &Source) -> anyhow::Result<Option<Setting>> {
    let is_export = source.lines().find(|(_, line)| !line.trim().is_empty());
    let head = is_export.map_or("", |(_, line)| line.trim());
    let is_query = head
        .to_ascii_uppercase()
        .starts_with("HKEY_LOCAL_MACHINE\\");
    if head != "REGEDIT4" && !head.starts_with("Windows Registry Editor") && !is_query {
        return Ok(None);
    }
    let mut is_ours = false;
    let mut found: Option<Setting> = None;
    for (number, line) in source.lines() {
        let line = line.trim();
        let key = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let key = key.or_else(|| Some(line).filter(|line| is_query && line.starts_with("HKEY_")));
        if let Some(key) = key {
            is_ours = key.to_ascii_lowercase().ends_with(KEY);
            let place = source.place(number);
            if is_ours && found.is_none() {
                found = Some(setting("0", place));
            }
            continue;
        }
        if let Some(value) = value(line).filter(|_| is_ours) {
            let place = source.place(number);
            let Some(seconds) = number_of(value) else {
                bail!(
                    "{place}: found {} for TarpitTime; allowed: a DWORD, such as dword:00000005",
                    crate::config::show_text(value)
                );
            };
            found = Some(setting(&seconds.to_string(), place));
        }
    }
    if found.is_none() {
        bail!(
            "{}: has no key SYSTEM\\CurrentControlSet\\Services\\SMTPSVC\\Parameters",
            source.name
        );
    }
    Ok(found)
}

fn setting(value: &str, place: super::super::source::Place) -> Setting {
    Setting {
        name: "TarpitTime".to_owned(),
        value: value.to_owned(),
        place,
    }
}

/// What stands for TarpitTime in `"TarpitTime"=dword:00000005`, or `TarpitTime REG_DWORD 0x5`.
fn value(line: &str) -> Option<&str> {
    let head = line
        .get(..12)
        .filter(|head| head.eq_ignore_ascii_case("\"TarpitTime\""));
    if head.is_some() {
        return line
            .get(12..)?
            .trim_start()
            .strip_prefix('=')
            .map(str::trim);
    }
    let mut words = line.split_whitespace();
    let is_it = words.next()?.eq_ignore_ascii_case("TarpitTime");
    is_it.then(|| words.last().unwrap_or(""))
}

fn number_of(value: &str) -> Option<u32> {
    let digits = value
        .strip_prefix("dword:")
        .or_else(|| value.strip_prefix("0x"))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> anyhow::Result<Option<String>> {
        let found = read(&Source {
            name: "smtp.reg".into(),
            text: text.to_owned(),
            is_mended: false,
        })?;
        Ok(found.map(|setting| setting.show()))
    }

    const KEY_LINE: &str =
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\SMTPSVC\\Parameters]";

    #[test]
    fn exports() {
        let text = format!(
            "Windows Registry Editor Version 5.00\r\n\r\n{KEY_LINE}\r\n\"Other\"=dword:1\r\n\"TarpitTime\"=dword:0000000a\r\n"
        );
        assert_eq!(
            read_text(&text).unwrap().unwrap(),
            "smtp.reg:5: TarpitTime = 10"
        );
        let none = format!("REGEDIT4\n\n{KEY_LINE}\n");
        assert_eq!(
            read_text(&none).unwrap().unwrap(),
            "smtp.reg:3: TarpitTime = 0"
        );
        let query = "\nHKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\SMTPSVC\\Parameters\n    TarpitTime    REG_DWORD    0x5\n";
        assert_eq!(
            read_text(query).unwrap().unwrap(),
            "smtp.reg:3: TarpitTime = 5"
        );
        assert_eq!(read_text("Name : x\n").unwrap(), None);
    }

    #[test]
    fn broken_exports() {
        let error = |text: &str| read_text(text).unwrap_err().to_string();
        let bad = format!("REGEDIT4\n{KEY_LINE}\n\"TarpitTime\"=\"5\"\n");
        assert!(
            error(&bad).starts_with("smtp.reg:3: found"),
            "{}",
            error(&bad)
        );
        assert!(error("REGEDIT4\n[HKEY_LOCAL_MACHINE\\SOFTWARE]\n").contains("has no key"));
        // The same name elsewhere is another setting.
        assert!(
            error("REGEDIT4\n[HKEY_LOCAL_MACHINE\\SOFTWARE]\n\"TarpitTime\"=dword:5\n")
                .contains("has no key")
        );
    }
}
