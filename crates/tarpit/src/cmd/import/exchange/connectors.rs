//! What `Get-ReceiveConnector | Format-List` prints: blocks of `Name : value`, long values broken over
//! lines that begin with blanks.

use std::net::{IpAddr, SocketAddr};

use super::super::networks;
use super::super::source::{Place, Setting, Source};

/// One connector.
#[derive(Debug)]
pub(super) struct Connector {
    /// What is printed of it.
    pub(super) settings: Vec<Setting>,
    /// Its first line.
    pub(super) place: Place,
}

impl Connector {
    /// A property; names are compared without regard to case, as PowerShell does.
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.settings
            .iter()
            .find(|setting| setting.name.eq_ignore_ascii_case(name))
    }

    /// How it is called.
    pub(super) fn name(&self) -> String {
        let named = self.get("Name").or_else(|| self.get("Identity"));
        named.map_or_else(
            || "without a name".to_owned(),
            |named| format!("\"{}\"", named.value),
        )
    }

    /// Whether it is in use; it is unless it says otherwise.
    pub(super) fn is_enabled(&self) -> bool {
        self.get("Enabled")
            .is_none_or(|enabled| !enabled.value.eq_ignore_ascii_case("false"))
    }

    /// Whether clients that don't authenticate may use it.
    pub(super) fn is_anonymous(&self) -> bool {
        let groups = self.get("PermissionGroups");
        groups.is_none_or(|groups| groups.value.to_ascii_lowercase().contains("anonymous"))
    }

    /// Where it listens.
    pub(super) fn bindings(&self) -> Vec<SocketAddr> {
        let all = self.get("Bindings").map(|bindings| items(&bindings.value));
        all.unwrap_or_default()
            .iter()
            .filter_map(|item| item.parse().ok())
            .collect()
    }

    /// The ports; 25 if it says nothing of them.
    pub(super) fn ports(&self) -> Vec<u16> {
        if self.get("Bindings").is_none() {
            return vec![25];
        }
        self.bindings().iter().map(SocketAddr::port).collect()
    }

    /// Whether any client may come, going by its address.
    pub(super) fn is_for_all(&self) -> bool {
        let Some(ranges) = self.get("RemoteIPRanges") else {
            return true;
        };
        let somebody: IpAddr = IpAddr::from([203, 0, 113, 1]);
        items(&ranges.value)
            .iter()
            .filter_map(|range| networks::parse(range))
            .flatten()
            .any(|network| network.prefix_len() == 0 && network.contains(&somebody))
    }
}

/// `{a, b}` or `a`.
pub(super) fn items(value: &str) -> Vec<String> {
    let inner = value.trim().trim_start_matches('{').trim_end_matches('}');
    let list = inner.split(',').map(|item| item.trim().to_owned());
    list.filter(|item| !item.is_empty()).collect()
}

/// The connectors of a file: a blank line, or a name that was there already, begins the next one.
pub(super) fn read(source: &Source) -> Vec<Connector> {
    let mut list: Vec<Connector> = Vec::new();
    let mut is_open = false;
    for (number, line) in source.lines() {
        if line.trim().is_empty() {
            is_open = false;
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let last = list.last_mut().filter(|_| is_open);
            if let Some(setting) = last.and_then(|connector| connector.settings.last_mut()) {
                setting.value.push(' ');
                setting.value.push_str(line.trim());
            }
            continue;
        }
        let Some((name, value)) = property(line) else {
            continue;
        };
        let is_new = !is_open
            || list
                .last()
                .is_none_or(|connector| connector.get(name).is_some());
        if is_new {
            list.push(Connector {
                settings: Vec::new(),
                place: source.place(number),
            });
            is_open = true;
        }
        if let Some(connector) = list.last_mut() {
            connector.settings.push(Setting {
                name: name.to_owned(),
                value: value.to_owned(),
                place: source.place(number),
            });
        }
    }
    // Whatever else has colons in it is none.
    list.retain(|connector| {
        connector.get("TarpitInterval").is_some() || connector.get("Bindings").is_some()
    });
    list
}

/// `TarpitInterval     : 00:00:05`.
fn property(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim_end();
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    is_name.then(|| (name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Vec<Connector> {
        read(&Source {
            name: "connectors.txt".into(),
            text: text.to_owned(),
            is_mended: false,
        })
    }

    #[test]
    fn blocks_and_broken_values() {
        let text = "\n\nName           : Relay\nTarpitInterval : 00:00:00\nRemoteIPRanges : {10.0.0.1,\n                 10.0.0.2-10.0.0.9}\n\
                    Bindings       : {0.0.0.0:25, [::]:25}\nName : Default\nTarpitInterval : 00:00:05\n\nNothing : here\n";
        let list = read_text(text);
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].name(), "\"Relay\"");
        assert_eq!(
            items(&list[0].get("remoteIPranges").unwrap().value),
            ["10.0.0.1", "10.0.0.2-10.0.0.9"]
        );
        assert_eq!(list[0].ports(), [25, 25]);
        assert!(!list[0].is_for_all());
        assert_eq!(list[1].place.line, 8);
        assert!(list[1].is_for_all() && list[1].is_anonymous() && list[1].is_enabled());
    }

    #[test]
    fn who_may_come() {
        let ranges = |text: &str| {
            let list = read_text(&format!(
                "TarpitInterval : x\nRemoteIPRanges : {{{text}}}\n"
            ));
            list[0].is_for_all()
        };
        assert!(ranges("0.0.0.0-255.255.255.255"));
        assert!(ranges(
            "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff, 0.0.0.0-255.255.255.255"
        ));
        assert!(!ranges("10.0.0.0/8"));
        assert!(!ranges(""));
    }
}
