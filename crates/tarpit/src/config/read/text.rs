//! Names, addresses and sentences.

use toml::de::DeValue;

use super::{show_text, string, strings};
use crate::config::options::Refused;

/// A fully qualified domain name. RFC 5321 §2.3.5
pub(crate) fn hostname(value: &DeValue<'_>) -> Result<Box<str>, Refused> {
    let text = string(value)?;
    let name = domain(text)?;
    if !name.contains('.') {
        return Err(Refused::with(show_text(text), "it has no dot"));
    }
    Ok(name)
}

/// A list of domain names, in lower case, each once.
pub(crate) fn domains(value: &DeValue<'_>) -> Result<Vec<Box<str>>, Refused> {
    each_once(strings(value)?, domain)
}

/// A list of mail addresses, in lower case, each once, not empty.
pub(crate) fn addresses(value: &DeValue<'_>) -> Result<Vec<Box<str>>, Refused> {
    let list = strings(value)?;
    if list.is_empty() {
        return Err(Refused::found("an empty list"));
    }
    each_once(list, address)
}

fn each_once(
    texts: Vec<&str>,
    read: impl Fn(&str) -> Result<Box<str>, Refused>,
) -> Result<Vec<Box<str>>, Refused> {
    let mut list = Vec::with_capacity(texts.len());
    for text in texts {
        let element = read(text)?;
        if list.contains(&element) {
            return Err(Refused::with(show_text(text), "it is in the list twice"));
        }
        list.push(element);
    }
    Ok(list)
}

/// A word for records: short, and nothing in it that a record would have to escape.
pub(crate) fn name(value: &DeValue<'_>) -> Result<Box<str>, Refused> {
    let text = string(value)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.into())
    } else {
        Err(Refused::found(show_text(text)))
    }
}

/// A sentence for people, in one line.
pub(crate) fn sentence(value: &DeValue<'_>) -> Result<Box<str>, Refused> {
    let text = string(value)?;
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.chars().count() > 200 {
        Err(Refused::found(show_text(text)))
    } else if trimmed.chars().any(char::is_control) {
        Err(Refused::with(show_text(text), "it has a control character"))
    } else {
        Ok(trimmed.into())
    }
}

/// A group of this system, by its name in /etc/group or its number. Directories in a network are not
/// asked: for those there is the number.
pub(crate) fn group(value: &DeValue<'_>) -> Result<u32, Refused> {
    if let Some(number) = super::integer(value).and_then(|number| u32::try_from(number).ok()) {
        return Ok(number);
    }
    let text = string(value)?;
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let number = groups.lines().find_map(|line| {
        // group(5): name, password, number, members.
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(text);
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    });
    number.ok_or_else(|| Refused::with(show_text(text), "/etc/group has no group of that name"))
}

/// A domain name in lower case. RFC 5321 §4.1.2, RFC 1035 §2.3.4
fn domain(text: &str) -> Result<Box<str>, Refused> {
    let refuse = |hint: &str| Err(Refused::with(show_text(text), hint));
    if text.contains('@') {
        return refuse("a domain is what stands after the @");
    }
    if !text.is_ascii() {
        return refuse("write the name in its ASCII form (xn--...)");
    }
    if text.ends_with('.') {
        return refuse("leave the last dot out");
    }
    if text.contains('*') {
        return refuse("each domain is listed by its name; there are no patterns");
    }
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_ascii_lowercase().into())
    } else {
        refuse("it is not a domain name")
    }
}

/// A mail address in lower case, which is also the name of a folder: no slash, no dot first.
fn address(text: &str) -> Result<Box<str>, Refused> {
    let Some((local, host)) = text.rsplit_once('@') else {
        return Err(Refused::with(show_text(text), "it has no @"));
    };
    // RFC 5321 §4.1.2: atext and dots, without the slash.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-=?^_`{|}~.".contains(&byte);
    if !(1..=64).contains(&local.len()) || !local.bytes().all(plain) || local.starts_with('.') {
        return Err(Refused::with(
            show_text(text),
            "before the @ stand 1 to 64 letters, digits or !#$%&'*+-=?^_`{|}~. with no dot first",
        ));
    }
    let host = domain(host).map_err(|refused| Refused {
        found: show_text(text),
        ..refused
    })?;
    Ok(format!("{}@{host}", local.to_ascii_lowercase()).into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::try_read;
    use super::*;

    #[test]
    fn hostnames() {
        assert_eq!(
            try_read("\"MX1.example.org\"", hostname),
            Ok("mx1.example.org".into())
        );
        for (text, says) in [
            ("\"mx1\"", "no dot"),
            ("\"mx1.example.org.\"", "last dot"),
            ("\"-a.example\"", "not a domain name"),
            ("\"a..example\"", "not a domain name"),
            ("\"a_b.example\"", "not a domain name"),
            ("\"bücher.example\"", "ASCII form"),
            ("\"\"", "not a domain name"),
            ("25", "quotation marks"),
        ] {
            let error = try_read(text, hostname).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn lists_of_domains() {
        assert_eq!(try_read("[]", domains), Ok(vec![]));
        assert_eq!(
            try_read("[\"A.example\"]", domains),
            Ok(vec!["a.example".into()])
        );
        for (text, says) in [
            ("\"a.example\"", "in brackets: [\"a.example\"]"),
            ("[\"a.example\", \"A.EXAMPLE\"]", "twice"),
            ("[\"bob@a.example\"]", "after the @"),
            ("[\"*.a.example\"]", "no patterns"),
            ("[1]", "quotation marks"),
        ] {
            let error = try_read(text, domains).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn lists_of_addresses() {
        let list = try_read("[\"Alice@Example.test\"]", addresses);
        assert_eq!(list, Ok(vec!["alice@example.test".into()]));
        for (text, says) in [
            ("[]", "an empty list"),
            ("[\"alice\"]", "no @"),
            ("[\"../alice@example.test\"]", "before the @"),
            ("[\"a/b@example.test\"]", "before the @"),
            ("[\".alice@example.test\"]", "before the @"),
            ("[\"alice@../etc\"]", "not a domain name"),
        ] {
            let error = try_read(text, addresses).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn names_and_sentences() {
        assert_eq!(try_read("\"mx-1\"", name), Ok("mx-1".into()));
        assert_eq!(try_read("\"m x\"", name), Err("\"m x\"".to_owned()));
        assert_eq!(try_read("\" a reason \"", sentence), Ok("a reason".into()));
        assert_eq!(try_read("\"  \"", sentence), Err("\"  \"".to_owned()));
        assert!(
            try_read("\"a\\nb\"", sentence)
                .unwrap_err()
                .contains("control character")
        );
    }
}
