//! The numbers of the standards, each with its section, and the few that are ours, each with its reason.
//!
//! All are octets unless the name says otherwise.

/// A command line with its CRLF. RFC 5321 §4.5.3.1.4.
pub const COMMAND_LINE_MAX: usize = 512;

/// What each extension adds to MAIL, in octets, as its document says.
const MAIL_ADDITIONS: [usize; 9] = [
    26,  // SIZE, RFC 1870 §3
    17,  // BODY, RFC 6152 §2; BINARYMIME of RFC 3030 fits into it
    500, // AUTH, RFC 4954 §3
    10,  // SMTPUTF8, RFC 6531 §3.1
    107, // RET and ENVID, RFC 3461 §3
    17,  // BY, RFC 2852 §2
    11,  // REQUIRETLS, RFC 8689 §2
    15,  // MT-PRIORITY, RFC 6710 §3
    36,  // HOLDFOR or HOLDUNTIL with an offset and without fractions (RFC 4865 §4)
];

/// A MAIL line with its CRLF: 512 and what its extensions add.
pub const MAIL_LINE_MAX: usize = COMMAND_LINE_MAX + sum(&MAIL_ADDITIONS);

/// A RCPT line with its CRLF: 512, and 500 for NOTIFY and ORCPT (RFC 3461 §3).
pub const RCPT_LINE_MAX: usize = COMMAND_LINE_MAX + 500;

// One limit serves for all commands but AUTH.
const _: () = assert!(RCPT_LINE_MAX <= MAIL_LINE_MAX);

const fn sum(numbers: &[usize]) -> usize {
    match numbers {
        [] => 0,
        [first, rest @ ..] => first.saturating_add(sum(rest)),
    }
}

/// A line of AUTH, the command or a response within the exchange, with its CRLF. RFC 4954 §4.
pub const AUTH_LINE_MAX: usize = 12_288;

/// A reply line with its code and CRLF, as we write it. RFC 5321 §4.5.3.1.5.
pub const REPLY_LINE_MAX: usize = 512;

/// A line of an upstream's reply, without its LF, as we accept it: servers that exceed 512 exist, and one
/// kilobyte is still nothing to hold.
pub const REPLY_LINE_ACCEPTED_MAX: usize = 1000;

/// Lines in one reply of an upstream. The longest honest ones, to EHLO and HELP, have about 30.
pub const REPLY_LINES_MAX: usize = 100;

/// One whole reply of an upstream: bounds what a broken upstream can make us keep.
pub const REPLY_MAX: usize = 16 * 1024;

/// A line of message data with its CRLF. RFC 5321 §4.5.3.1.6. Not enforced: longer ones exist and mean the same to everybody.
pub const TEXT_LINE_MAX: usize = 1000;

/// A local part, as accepted. RFC 5321 §4.5.3.1.1 asks for 64 at least and lets us accept more; tagged
/// addresses (VERP, SRS) do exceed 64.
pub const LOCAL_PART_MAX: usize = 128;

/// A domain or an address literal with its brackets. RFC 5321 §4.5.3.1.2.
pub const DOMAIN_MAX: usize = 255;

/// A label of a domain. RFC 1035 §2.3.4.
pub const LABEL_MAX: usize = 63;

/// A path with its angle brackets, without its source route, as accepted. RFC 5321 §4.5.3.1.3 asks for 256 at
/// least; 64 more make room for the tagged addresses above.
pub const PATH_MAX: usize = 320;

/// The argument of EHLO and HELO: a domain or an address literal. RFC 5321 §4.5.3.1.2.
pub const HELLO_MAX: usize = DOMAIN_MAX;

/// Digits in SIZE=. RFC 1870 §4: `1*20DIGIT`.
pub const SIZE_DIGITS_MAX: usize = 20;

/// Digits in the times of BY= (RFC 2852 §4) and HOLDFOR= (RFC 4865 §4): `1*9DIGIT`.
pub const INTEGER_DIGITS_MAX: usize = 9;

/// Digits of a chunk's size. RFC 3030 §2: `1*DIGIT`; as many as SIZE has.
pub const CHUNK_DIGITS_MAX: usize = SIZE_DIGITS_MAX;

/// The value of ENVID=. RFC 3461 §4.4.
pub const ENVID_MAX: usize = 100;

/// The value of ORCPT=. RFC 3461 §4.2.
pub const ORCPT_MAX: usize = 500;

/// The type of an address in ORCPT=. The registered ones have 8 octets at most.
pub const ADDRESS_TYPE_MAX: usize = 32;

/// The profile name of MT-PRIORITY that is passed on (RFC 6710 §9.3 registers names of 4 to 9 octets).
pub const PROFILE_MAX: usize = 32;

/// The value of AUTH=: what RFC 4954 §3 adds to the line, without ` AUTH=`.
pub const AUTH_VALUE_MAX: usize = 500 - " AUTH=".len();

/// A SASL mechanism name. RFC 4422 §3.1.
pub const MECHANISM_MAX: usize = 20;

/// Capabilities of an upstream that are kept only to be shown by `tarpit check`.
pub const OTHER_CAPABILITIES_MAX: usize = 64;

/// The limit for the command line that begins with `prefix`, with its CRLF.
///
/// Every line but AUTH may be as long as MAIL: one number for all means that a RCPT with a long path isn't
/// refused for the 512 that only the shortest servers still insist on, and it's small enough to wait with.
/// Only the first five octets decide, so that the limit doesn't depend on how much has arrived.
#[must_use]
pub fn line_limit(prefix: &[u8]) -> usize {
    let (word, rest) = prefix.split_at_checked(4).unwrap_or((prefix, b""));
    let ends = !rest.first().is_some_and(u8::is_ascii_graphic);
    if ends && word.eq_ignore_ascii_case(b"AUTH") {
        AUTH_LINE_MAX
    } else {
        MAIL_LINE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auth_has_long_lines() {
        for (prefix, limit) in [
            (&b""[..], MAIL_LINE_MAX),
            (b"A", MAIL_LINE_MAX),
            (b"AUTH", AUTH_LINE_MAX),
            (b"auth PLAIN", AUTH_LINE_MAX),
            (b"AUTH\r\n", AUTH_LINE_MAX),
            (b"AUTHX", MAIL_LINE_MAX),
            (b" AUTH ", MAIL_LINE_MAX),
            (b"MAIL FROM:<auth @x>", MAIL_LINE_MAX),
        ] {
            assert_eq!(line_limit(prefix), limit, "{}", crate::escape(prefix));
        }
    }

    #[test]
    fn mail_line_is_the_sum_of_its_extensions() {
        assert_eq!(MAIL_LINE_MAX, 1251);
        assert_eq!(RCPT_LINE_MAX, 1012);
    }
}
