//! xtext (RFC 3461 §4): any octets as printable ASCII without `+`, `=` and space, in AUTH= and XCLIENT.

use std::borrow::Cow;

/// Puts `value` into `out` as xtext.
pub(crate) fn encode(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for &octet in value {
        if is_xchar(octet) {
            out.push(octet);
        } else {
            out.extend([b'+', digit(octet >> 4), digit(octet & 15)]);
        }
    }
}

/// Whether `text` is xtext whose octets, decoded, hold no control character.
///
/// Lower-case hex is taken too, as Postfix does. A control character is in no mailbox (RFC 4954 §5 wants one
/// here), and a server that decodes it into a log or another protocol would be led astray.
pub(crate) fn is_valid(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some((&octet, after)) = rest.split_first() {
        rest = if octet == b'+' {
            let Some((&[high, low], after)) = after.split_first_chunk::<2>() else {
                return false;
            };
            // The high nibbles 0 and 1 are the C0 controls; 7F is DEL.
            let control = matches!((high, low), (b'0' | b'1', _) | (b'7', b'F' | b'f'));
            if control || !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
                return false;
            }
            after
        } else if is_xchar(octet) {
            after
        } else {
            return false;
        };
    }
    true
}

/// The text that xtext stands for; none if it is no xtext, or no UTF-8 when decoded.
pub(crate) fn decode(text: &[u8]) -> Option<Cow<'_, str>> {
    if !text.contains(&b'+') {
        let plain = text.iter().copied().all(is_xchar);
        return std::str::from_utf8(text)
            .ok()
            .filter(|_| plain)
            .map(Cow::Borrowed);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&octet, after)) = rest.split_first() {
        rest = if octet == b'+' {
            let (hex, after) = after.split_first_chunk::<2>()?;
            let digits = hex.iter().all(u8::is_ascii_hexdigit);
            let hex = std::str::from_utf8(hex).ok().filter(|_| digits)?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
            after
        } else {
            out.push(Some(octet).filter(|&octet| is_xchar(octet))?);
            after
        };
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// RFC 3461 §4: `xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="`.
fn is_xchar(octet: u8) -> bool {
    octet.is_ascii_graphic() && !matches!(octet, b'+' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes() {
        for (value, xtext) in [
            (&b"mx.example.org"[..], &b"mx.example.org"[..]),
            (b"[UNAVAILABLE]", b"[UNAVAILABLE]"),
            (b"a b+c=d", b"a+20b+2Bc+3Dd"),
            (b"\r\n\x7f\xff", b"+0D+0A+7F+FF"),
        ] {
            let mut out = Vec::new();
            encode(&mut out, value);
            assert_eq!(out, xtext);
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        for (xtext, text) in [
            ("", Some("")),
            ("mx.example.org", Some("mx.example.org")),
            ("a+20b+2bc+3Dd", Some("a b+c=d")),
            ("caf+C3+A9", Some("café")),
            ("+0D+0A", Some("\r\n")),
            ("+C3", None),
            ("+C0+80", None),
            ("+", None),
            ("+4", None),
            ("+4G", None),
            ("++41", None),
            ("a=b", None),
            ("a b", None),
            ("é", None),
        ] {
            assert_eq!(decode(xtext.as_bytes()).as_deref(), text, "{xtext}");
        }
    }

    #[test]
    fn checks() {
        for good in ["", "<>", "e+3Dmc2@example.com", "a+2b", "caf+C3+A9"] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            "+", "+2", "+2G", "+G2", "a=b", "a b", "+0A", "+0d", "+1f", "+7F", "a\r",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
