//! Header fields that say where a message came through (RFC 5321 §4.4). All that a client said is reduced
//! to harmless octets first: a HELO or an address never starts a line of its own.

use std::net::{IpAddr, SocketAddr};

use crate::upstream::ClientIdentity;

/// Return-Path, Delivered-To and Received, each with its CRLF.
pub(crate) fn head(reverse_path: &str, address: &str, received: &str) -> String {
    let (reverse_path, address) = (printable(reverse_path), printable(address));
    format!("Return-Path: <{reverse_path}>\r\nDelivered-To: {address}\r\n{received}")
}

/// The Received field. `only_path` is the forward-path if there is one only: with several, it
/// would tell each recipient of the others (RFC 5321 §7.2).
pub(crate) fn received(
    who: &ClientIdentity,
    with: &str,
    hostname: &str,
    id: &str,
    only_path: Option<&str>,
    unix_now: u64,
) -> String {
    let helo = who
        .helo
        .as_deref()
        .map_or_else(|| "unknown".to_owned(), domain);
    let client = literal(who.address);
    // Not as question marks: another address than the client said.
    let to = only_path
        .filter(|path| path.is_ascii())
        .map(|path| format!("\r\n\tfor <{}>", printable(path)))
        .unwrap_or_default();
    let (host, id, date) = (domain(hostname), printable(id), date(unix_now));
    format!(
        "Received: from {helo} ({client})\r\n\tby {host} with {with} id {id}{to};\r\n\t{date}\r\n"
    )
}

/// How the message came, in the words of the registry (RFC 3848; RFC 6531 §4.3 where it `uses_utf8`).
pub(crate) const fn protocol(
    who: &ClientIdentity,
    authenticated: bool,
    uses_utf8: bool,
) -> &'static str {
    match (who.esmtp, uses_utf8, who.secured, authenticated) {
        (false, ..) => "SMTP",
        (true, false, false, false) => "ESMTP",
        (true, false, false, true) => "ESMTPA",
        (true, false, true, false) => "ESMTPS",
        (true, false, true, true) => "ESMTPSA",
        (true, true, false, false) => "UTF8SMTP",
        (true, true, false, true) => "UTF8SMTPA",
        (true, true, true, false) => "UTF8SMTPS",
        (true, true, true, true) => "UTF8SMTPSA",
    }
}

/// An address literal (RFC 5321 §4.1.3).
fn literal(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// What may stand where a domain does; a client that says anything else gets question marks.
fn domain(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._:[]".contains(letter);
    text.chars()
        .map(|letter| if is_plain(letter) { letter } else { '?' })
        .collect()
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter == ' ' || letter.is_ascii_graphic() {
                letter
            } else {
                '?'
            }
        })
        .collect()
}

/// RFC 5322 §3.3, in UTC: whose mail it is need not know where the server stands.
fn date(unix_now: u64) -> String {
    let seconds = i64::try_from(unix_now).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    let moment = moment.to_zoned_datetime(jiff::tz::TimeZone::UTC);
    moment.strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(address: &str, helo: Option<&str>, esmtp: bool) -> ClientIdentity {
        let local = "127.0.0.1:25".parse().unwrap();
        ClientIdentity {
            address: address.parse().unwrap(),
            local,
            helo: helo.map(Into::into),
            esmtp,
            secured: false,
            name: None,
        }
    }

    #[test]
    fn says_who_from_where_and_when() {
        let who = who("192.0.2.7:1025", Some("mail.example.org"), true);
        let field = received(
            &who,
            protocol(&who, false, false),
            "mx.example.test",
            "1.a",
            Some("Alice@example.test"),
            1_800_000_000,
        );
        assert_eq!(
            field,
            "Received: from mail.example.org ([192.0.2.7])\r\n\tby mx.example.test with ESMTP id 1.a\r\n\
             \tfor <Alice@example.test>;\r\n\tFri, 15 Jan 2027 08:00:00 +0000\r\n"
        );
    }

    #[test]
    fn several_recipients_stay_unnamed() {
        let who = who("[2001:db8::7]:1025", None, false);
        let field = received(&who, protocol(&who, true, true), "mx", "1.a", None, 0);
        assert_eq!(
            field,
            "Received: from unknown ([IPv6:2001:db8::7])\r\n\tby mx with SMTP id 1.a;\r\n\
             \tThu, 01 Jan 1970 00:00:00 +0000\r\n"
        );
    }

    #[test]
    fn says_how_it_came() {
        let mut who = who("192.0.2.7:1025", Some("a.example"), true);
        assert_eq!(protocol(&who, false, false), "ESMTP");
        assert_eq!(protocol(&who, true, false), "ESMTPA");
        assert_eq!(protocol(&who, false, true), "UTF8SMTP");
        who.secured = true;
        assert_eq!(protocol(&who, false, false), "ESMTPS");
        assert_eq!(protocol(&who, true, false), "ESMTPSA");
        assert_eq!(protocol(&who, true, true), "UTF8SMTPSA");
        let field = received(&who, "UTF8SMTPS", "mx", "1.a", Some("ü@example.test"), 0);
        assert!(field.contains("with UTF8SMTPS id 1.a;\r\n"), "{field}");
    }

    #[test]
    fn a_client_adds_no_field() {
        let who = who("[::ffff:192.0.2.7]:1025", Some("x\r\nEvil: (1)"), true);
        let field = received(&who, "ESMTP", "mx", "1.a", Some("a\r\nb"), 0);
        assert!(
            field.starts_with("Received: from x??Evil:??1? ([192.0.2.7])\r\n\tby"),
            "{field}"
        );
        assert!(field.contains("for <a??b>;"), "{field}");
        assert_eq!(
            head("a\r\nb", "c\0", &field).lines().count(),
            field.lines().count() + 2
        );
    }
}
