//! The one form of a domain by which domains are compared: lower case, and A-labels (RFC 5890 §2.3.2.1) for what is not
//! ASCII, since a client may say either form of a name (RFC 6531 §3.3) and a configuration has one.
//!
//! Only for comparing: upstreams are told what the client said. Whole tables of mappings were rejected: U-labels come in
//! their one form (NFC, lower case) from programs, and who types capitals is understood too.

use std::borrow::Cow;

/// A domain in the form for comparing. A label that has none (it is too long) stays as it is, and equals no other.
#[must_use]
pub fn domain_key(domain: &str) -> Cow<'_, str> {
    if domain.is_ascii() {
        return if domain.bytes().any(|octet| octet.is_ascii_uppercase()) {
            Cow::Owned(domain.to_ascii_lowercase())
        } else {
            Cow::Borrowed(domain)
        };
    }
    let labels: Vec<String> = domain.split('.').map(label_key).collect();
    Cow::Owned(labels.join("."))
}

fn label_key(label: &str) -> String {
    // Each letter for itself: the last sigma of a word is no other letter here.
    let lower: Vec<char> = label.chars().flat_map(char::to_lowercase).collect();
    if lower.iter().all(char::is_ascii) {
        return lower.into_iter().collect();
    }
    punycode(&lower).map_or_else(|| label.to_owned(), |encoded| format!("xn--{encoded}"))
}

// RFC 3492 §5.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// RFC 3492 §6.3. None if a number does not fit, which no label of a domain brings about.
fn punycode(label: &[char]) -> Option<String> {
    let mut out: String = label.iter().filter(|letter| letter.is_ascii()).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    while (handled as usize) < label.len() {
        let next = label
            .iter()
            .map(|letter| u32::from(*letter))
            .filter(|code| *code >= n)
            .min()?;
        let step = next.checked_sub(n)?.checked_mul(handled.checked_add(1)?)?;
        delta = delta.checked_add(step)?;
        n = next;
        for code in label.iter().map(|letter| u32::from(*letter)) {
            if code < n {
                delta = delta.checked_add(1)?;
            }
            if code == n {
                write_number(&mut out, delta, bias)?;
                bias = adapt(delta, handled.checked_add(1)?, handled == basic)?;
                delta = 0;
                handled = handled.checked_add(1)?;
            }
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(out)
}

/// A number of variable length (RFC 3492 §3.3).
fn write_number(out: &mut String, number: u32, bias: u32) -> Option<()> {
    let mut rest = number;
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < threshold {
            break;
        }
        let (over, width) = (rest.checked_sub(threshold)?, BASE.checked_sub(threshold)?);
        out.push(digit(threshold.checked_add(over.checked_rem(width)?)?)?);
        rest = over.checked_div(width)?;
        k = k.checked_add(BASE)?;
    }
    out.push(digit(rest)?);
    Some(())
}

/// RFC 3492 §5: `a` to `z`, then `0` to `9`.
fn digit(value: u32) -> Option<char> {
    const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let at = usize::try_from(value).ok()?;
    DIGITS.get(at).map(|octet| char::from(*octet))
}

/// RFC 3492 §6.1.
fn adapt(delta: u32, count: u32, first: bool) -> Option<u32> {
    let mut delta = delta.checked_div(if first { DAMP } else { 2 })?;
    delta = delta.checked_add(delta.checked_div(count)?)?;
    let mut k = 0_u32;
    while delta > ((BASE - T_MIN) * T_MAX) / 2 {
        delta = delta.checked_div(BASE - T_MIN)?;
        k = k.checked_add(BASE)?;
    }
    let scaled = (BASE - T_MIN + 1).checked_mul(delta)?;
    k.checked_add(scaled.checked_div(delta.checked_add(SKEW)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_name_are_one() {
        for (name, key) in [
            ("example.org", "example.org"),
            ("Example.ORG", "example.org"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("B\u{dc}CHER.Example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("fa\u{df}.de", "xn--fa-hia.de"),
            (
                "\u{4f8b}\u{3048}.\u{30c6}\u{30b9}\u{30c8}",
                "xn--r8jz45g.xn--zckzah",
            ),
            (
                "\u{3c0}\u{3b1}\u{3c1}.\u{3b5}\u{3bb}",
                "xn--mxa3ae.xn--qxam",
            ),
            ("[192.0.2.1]", "[192.0.2.1]"),
        ] {
            assert_eq!(domain_key(name), key, "{name}");
        }
    }

    /// RFC 3492 §7.1, (A) Arabic, (B) Chinese, (L) and (S) with ASCII in them; in lower case.
    #[test]
    fn the_examples_of_the_standard() {
        for (label, encoded) in [
            (
                "\u{644}\u{64a}\u{647}\u{645}\u{627}\u{628}\u{62a}\u{643}\u{644}\u{645}\u{648}\u{634}\u{639}\u{631}\u{628}\u{64a}\u{61f}",
                "egbpdaj6bu4bxfgehfvwxn",
            ),
            (
                "\u{4ed6}\u{4eec}\u{4e3a}\u{4ec0}\u{4e48}\u{4e0d}\u{8bf4}\u{4e2d}\u{6587}",
                "ihqwcrb4cv8a8dqg056pqjye",
            ),
            (
                "3\u{5e74}b\u{7d44}\u{91d1}\u{516b}\u{5148}\u{751f}",
                "3b-ww4c5e180e575a65lsy2b",
            ),
        ] {
            let letters: Vec<char> = label.chars().collect();
            assert_eq!(punycode(&letters).as_deref(), Some(encoded), "{label}");
        }
    }

    #[test]
    fn the_longest_label_is_encoded_in_no_time() {
        let label = "\u{10ffff}\u{e9}".repeat(1000);
        assert!(domain_key(&label).starts_with("xn--"));
    }
}
