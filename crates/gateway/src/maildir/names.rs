//! Names of mailboxes and of files in them. Addresses come from clients, so no octet of one ever
//! reaches a path unjudged.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest name of a folder on every common file system of Linux (NAME_MAX), in octets.
const FOLDER_MAX: usize = 255;

/// What makes two forward-paths the same mailbox: lower case, and a quoted local part without its
/// quotes (RFC 5321 §4.1.2: the quoted form is the same address). `Postmaster` has no domain.
pub(super) fn key(path: &str) -> String {
    let lower = path.to_ascii_lowercase();
    let Some((local, domain)) = lower.rsplit_once('@') else {
        return lower;
    };
    let Some(quoted) = local
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return lower;
    };
    let mut plain = String::with_capacity(lower.len());
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        // A backslash stands for whatever follows it.
        plain.extend(if letter == '\\' {
            letters.next()
        } else {
            Some(letter)
        });
    }
    plain.push('@');
    plain.push_str(domain);
    plain
}

/// The folder of a key: letters, digits and `@ - _ + =` as they are, dots too unless they lead,
/// all else as %XX. No two keys share one.
pub(super) fn folder(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for (at, octet) in key.bytes().enumerate() {
        let is_plain =
            octet.is_ascii_alphanumeric() || b"@-_+=".contains(&octet) || (octet == b'.' && at > 0);
        if is_plain {
            name.push(char::from(octet));
        } else {
            write!(name, "%{octet:02X}").expect("writing to a string can't fail");
        }
    }
    name
}

/// Refuses an address that no folder can be named after.
pub(super) fn check_folder(key: &str) -> io::Result<()> {
    let len = folder(key).len();
    if (1..=FOLDER_MAX).contains(&len) {
        return Ok(());
    }
    let text = format!(
        "recipient {key:?}: its folder's name has {len} octets; allowed are 1 to {FOLDER_MAX}"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// A file name that no other delivery has: seconds, process, count within it, a random number (two
/// containers may share a process id and a host name), host name. As the maildir convention has it.
pub(super) fn unique(unix_now: u64, hostname: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Seeded by the system for each RandomState; no dependency is worth one number.
    let random = RandomState::new().build_hasher().finish();
    // The convention's own escapes: '/' ends a name, ':' starts its flags.
    let host = hostname.replace('/', "\\057").replace(':', "\\072");
    format!(
        "{unix_now}.P{}Q{count}R{random:016x}.{host}",
        std::process::id()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_has_one_key() {
        for path in [
            "Alice@Example.Test",
            "\"alice\"@example.test",
            "\"al\\ice\"@example.test",
        ] {
            assert_eq!(key(path), "alice@example.test", "{path}");
        }
        assert_eq!(key("POSTMASTER"), "postmaster");
        assert_eq!(key("\"a@b\"@example.test"), "a@b@example.test");
    }

    #[test]
    fn folders_stay_below_the_root() {
        for (key, expect) in [
            ("alice+tag@example.test", "alice+tag@example.test"),
            ("../../etc/passwd@x", "%2E.%2F..%2Fetc%2Fpasswd@x"),
            ("..", "%2E."),
            (".", "%2E"),
            ("a/b@x", "a%2Fb@x"),
            ("a\0b@x", "a%00b@x"),
            ("a%2Fb@x", "a%252Fb@x"),
            ("bär@x", "b%C3%A4r@x"),
        ] {
            assert_eq!(folder(key), expect, "{key:?}");
        }
    }

    #[test]
    fn folders_have_a_longest_name() {
        assert!(check_folder(&format!("{}@x", "a".repeat(FOLDER_MAX - 2))).is_ok());
        assert!(check_folder(&format!("{}@x", "a".repeat(FOLDER_MAX - 1))).is_err());
        assert!(check_folder("").is_err());
    }

    #[test]
    fn unique_names_differ_and_are_file_names() {
        let (one, two) = (unique(7, "a/b:c"), unique(7, "a/b:c"));
        assert_ne!(one, two);
        assert!(
            one.starts_with("7.P") && one.ends_with(".a\\057b\\072c"),
            "{one}"
        );
        assert!(!one.contains(['/', ':']), "{one}");
    }
}
