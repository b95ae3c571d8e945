//! The published matrix of confusions about the end of data, under both rules, cut in every way.

use BareKind::{Cr, Lf};
use tarpit_smtp::{BareKind, BareNewline, DataScanner, ScanState, escape};

/// Everything passed on, whether the end was found, the first bare octet, and what wasn't consumed.
fn run(rule: BareNewline, input: &[u8], size: usize) -> (Vec<u8>, bool, Option<BareKind>, usize) {
    let (mut scanner, mut passed, mut bare, mut used) =
        (DataScanner::new(rule), Vec::new(), None, 0);
    for chunk in input.chunks(size) {
        let mut rest = chunk;
        loop {
            let scan = scanner.scan(rest);
            passed.extend_from_slice(&scan.pieces.concat());
            used += scan.consumed;
            rest = &rest[scan.consumed..];
            match scan.state {
                ScanState::More => break,
                ScanState::Full => {}
                ScanState::End => return (passed, true, bare, input.len() - used),
                ScanState::Bare(kind) => assert_eq!(bare.replace(kind), None, "reported twice"),
            }
        }
        assert!(rest.is_empty());
    }
    (passed, false, bare, input.len() - used)
}

/// Input, what is passed on, whether the end is in it, the bare octet, octets after the end.
type Case = (&'static [u8], &'static [u8], bool, Option<BareKind>, usize);

fn check(rule: BareNewline, table: &[Case]) {
    for &(input, passed, end, bare, after) in table {
        for size in 1..=input.len() {
            let found = run(rule, input, size);
            let expected = (passed.to_vec(), end, bare, after);
            assert_eq!(found, expected, "{} by {size}", escape(input));
        }
    }
}

/// What both rules read in the same way: no bare LF.
const STRICT: &[Case] = &[
    (b".\r\n", b"", true, None, 0),
    (b".\r\nQUIT\r\n", b"", true, None, 6),
    (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", true, None, 6),
    (b"\r\n.\r\n", b"\r\n", true, None, 0),
    (b"a\r\n..\r\n.\r\n", b"a\r\n..\r\n", true, None, 0),
    (b"a\r\n.b\r\n", b"a\r\n.b\r\n", false, None, 0),
    (b"a\r\n.", b"a\r\n", false, None, 0),
    (b"a\r\n.\r", b"a\r\n", false, None, 0),
    (b"a\r", b"a", false, None, 0),
    (b"a.\r\n.\r\n", b"a.\r\n", true, None, 0),
    (b"a\r.\rx\r\n.\r\n", b"a", true, Some(Cr), 0),
    (b"a\r\n.\rx\r\n.\r\n", b"a\r\n.", true, Some(Cr), 0),
    (b"a\r.\r\nx\r\n.\r\n", b"a", true, Some(Cr), 0),
    (b"a\r\r\n.\r\n", b"a", true, Some(Cr), 0),
    (b"a\r\n.\r\r\n.\r\n", b"a\r\n.", true, Some(Cr), 0),
    (
        b"a\r\n\0.\r\nx\r\n.\r\n",
        b"a\r\n\0.\r\nx\r\n",
        true,
        None,
        0,
    ),
    (
        b"a\r\n.\0\r\nx\r\n.\r\n",
        b"a\r\n.\0\r\nx\r\n",
        true,
        None,
        0,
    ),
    (b"a\r\0\n.\r\n", b"a", false, Some(Cr), 0),
    (b".\r.\r\n", b".", false, Some(Cr), 0),
    (b"\r.\r\n\r\n.\r\nX", b"", true, Some(Cr), 1),
];

#[test]
fn smuggling_matrix() {
    check(BareNewline::Reject, STRICT);
    check(
        BareNewline::Reject,
        &[
            (b"a\n.\nx\r\n.\r\n", b"a", true, Some(Lf), 0),
            (b"a\n.\r\nx\r\n.\r\n", b"a", true, Some(Lf), 0),
            (b"a\r\n.\nx\r\n.\r\n", b"a\r\n.", true, Some(Lf), 0),
            (b"\n.\r\n", b"", false, Some(Lf), 0),
            (b".\n", b".", false, Some(Lf), 0),
        ],
    );
}

/// A bare LF becomes CRLF and ends nothing; the dot that could be an end becomes text.
#[test]
fn smuggling_matrix_where_bare_newlines_are_mended() {
    check(BareNewline::Normalize, STRICT);
    check(
        BareNewline::Normalize,
        &[
            (b"a\nb\n", b"a\r\nb\r\n", false, None, 0),
            (b"a\n.\nx\r\n.\r\n", b"a\r\n..\r\nx\r\n", true, None, 0),
            (b"a\n.\r\nx\r\n.\r\n", b"a\r\n..\r\nx\r\n", true, None, 0),
            (b"a\r\n.\nx\r\n.\r\n", b"a\r\n..\r\nx\r\n", true, None, 0),
            (b"\n.\r\n", b"\r\n..\r\n", false, None, 0),
            (b".\n", b"..\r\n", false, None, 0),
            (b".\n.\n.\r\n.\r\n", b"..\r\n..\r\n..\r\n", true, None, 0),
            (
                b"a\n.b\n..\n.\r\n.\r\nX",
                b"a\r\n.b\r\n..\r\n..\r\n",
                true,
                None,
                1,
            ),
            (b"a\n\r\n.\r\n", b"a\r\n\r\n", true, None, 0),
            (b"a\n.\rx\n\r\n.\r\n", b"a\r\n.", true, Some(Cr), 0),
            (b"a\n.\r\r\n.\r\n", b"a\r\n.", true, Some(Cr), 0),
            (
                b"a\n\0.\n.\0\n\r\n.\r\n",
                b"a\r\n\0.\r\n.\0\r\n\r\n",
                true,
                None,
                0,
            ),
            (b"a\r\0\n.\r\n", b"a", false, Some(Cr), 0),
            (b"a\n.", b"a\r\n", false, None, 0),
            (b"a\n.\r", b"a\r\n", false, None, 0),
        ],
    );
}

#[test]
fn the_scanner_is_as_new_after_the_end() {
    let mut scanner = DataScanner::new(BareNewline::Reject);
    scanner.scan(b"a\nb\r\n.");
    assert_eq!(scanner.bare(), Some(Lf));
    scanner.scan(b"b\r\n.\r\n");
    assert_eq!(scanner, DataScanner::new(BareNewline::Reject));
    let mut scanner = DataScanner::new(BareNewline::Normalize);
    scanner.scan(b"a\nb\n.\rx");
    scanner.scan(b"b");
    assert_eq!(scanner.bare(), Some(Cr));
    scanner.scan(b"b\r\n.\r\n");
    assert_eq!(scanner, DataScanner::new(BareNewline::Normalize));
}
