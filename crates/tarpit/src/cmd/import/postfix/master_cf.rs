//! master.cf (master(5)): the services that clients reach by SMTP, as far as Tarpit stands before them.

use std::net::IpAddr;

use anyhow::bail;

use super::super::source::{Place, Source};
use super::main_cf::logical_lines;

/// A service `inet`.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// The address it is bound to, if the line says one.
    pub(super) host: Option<IpAddr>,
    /// The port; none if its name is not known here.
    pub(super) port: Option<u16>,
    /// `smtpd` or `postscreen`.
    pub(super) command: String,
    /// `maxproc`, as it is written.
    pub(super) processes: String,
    /// Settings of its own.
    pub(super) own: Vec<(String, String)>,
    /// The first word of the line.
    pub(super) name: String,
    /// Where it stands.
    pub(super) place: Place,
}

impl Service {
    /// A setting of its own.
    pub(super) fn own(&self, name: &str) -> Option<&str> {
        let found = self.own.iter().rev().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether users send their mail there, by its port or because they must log in.
    pub(super) fn is_for_users(&self) -> bool {
        let is_yes = |name| self.own(name) == Some("yes");
        matches!(self.port, Some(587 | 465))
            || is_yes("smtpd_tls_wrappermode")
            || is_yes("smtpd_sasl_auth_enable")
    }

    /// `master.cf:12: submission inet smtpd`.
    pub(super) fn show(&self) -> String {
        format!("{}: {} inet ... {}", self.place, self.name, self.command)
    }
}

/// The services that speak SMTP with clients.
///
/// # Errors
///
/// A line has less than eight fields: Postfix would not start.
pub(super) fn services(source: &Source) -> anyhow::Result<Vec<Service>> {
    let mut list = Vec::new();
    for (line, text) in logical_lines(source)? {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, kind, _, _, _, _, processes, command, arguments @ ..] = words.as_slice() else {
            bail!(
                "{}: found {} fields; allowed: service, type, private, unprivileged, chroot, wakeup, maxproc, command",
                source.place(line),
                words.len()
            );
        };
        if *kind != "inet" || !matches!(*command, "smtpd" | "postscreen") {
            continue;
        }
        let (host, port) = address(name);
        list.push(Service {
            host,
            port,
            command: (*command).to_owned(),
            processes: (*processes).to_owned(),
            own: own(arguments),
            name: (*name).to_owned(),
            place: source.place(line),
        });
    }
    Ok(list)
}

/// `smtp`, `587`, `127.0.0.1:10025`, `[::1]:smtp`.
fn address(name: &str) -> (Option<IpAddr>, Option<u16>) {
    let (host, port) = name.rsplit_once(':').unwrap_or(("", name));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host.parse().ok(), port_of(port))
}

/// A port by its number, or its name in services(5).
fn port_of(name: &str) -> Option<u16> {
    match name {
        "smtp" | "mail" => Some(25),
        "submission" | "msa" => Some(587),
        "submissions" | "smtps" | "ssmtp" | "urd" => Some(465),
        number => number.parse().ok(),
    }
}

/// `-o name=value`, and `-o { name = value }`.
fn own(arguments: &[&str]) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if *word != "-o" {
            continue;
        }
        let Some(first) = words.next() else { break };
        let mut text = (*first).to_owned();
        if first.starts_with('{') {
            while !text.ends_with('}') {
                let Some(more) = words.next() else { break };
                text.push(' ');
                text.push_str(more);
            }
            text = text.trim_matches(['{', '}']).to_owned();
        }
        if let Some((name, value)) = text.split_once('=') {
            list.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_reach() {
        let text = "smtp inet n - y - 50 smtpd\n  -o smtpd_client_connection_count_limit=5\n\
                    pickup unix n - y 60 1 pickup\n\
                    [::1]:10025 inet n - n - - smtpd -o { mynetworks = 127.0.0.0/8, [::1]/128 } -o x=y\n\
                    flush inet n - - - 0 flush\n";
        let source = Source {
            name: "master.cf".into(),
            text: text.to_owned(),
            is_mended: false,
        };
        let list = services(&source).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].port, list[0].processes.as_str()), (Some(25), "50"));
        assert_eq!(
            list[0].own("smtpd_client_connection_count_limit"),
            Some("5")
        );
        assert_eq!(list[1].port, Some(10_025));
        assert_eq!(list[1].host, Some("::1".parse().unwrap()));
        assert_eq!(list[1].own("mynetworks"), Some("127.0.0.0/8, [::1]/128"));
        assert_eq!(list[1].own("x"), Some("y"));
        assert_eq!(list[1].place.line, 4);
    }

    #[test]
    fn a_line_that_is_too_short() {
        let source = Source {
            name: "master.cf".into(),
            text: "smtp inet n\n".to_owned(),
            is_mended: false,
        };
        let error = services(&source).unwrap_err().to_string();
        assert!(error.starts_with("master.cf:1: found 3 fields"), "{error}");
    }
}
