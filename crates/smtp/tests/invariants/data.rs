//! Message data: after each chunk, what has been passed on is what the whole of the input so far allows.

use tarpit_smtp::{BareKind, BareNewline, DataScanner, END_OF_DATA, Scan, ScanState, Unstuffer};

/// The scanner equals the oracle after each chunk, in any chunking.
pub(crate) fn check(input: &[u8]) {
    let (sizes, stream) = super::chunkings(input);
    for size in sizes {
        scan(stream, stream.chunks(size).map(<[u8]>::len));
    }
}

/// The same where bare LFs are mended.
pub(crate) fn check_normalize(input: &[u8]) {
    let (sizes, stream) = super::chunkings(input);
    for size in sizes {
        normalize(stream, stream.chunks(size).map(<[u8]>::len));
    }
}

/// What a stream so far comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: Vec<u8>,
    bare: Option<BareKind>,
    /// Octets through the end of data.
    end: Option<usize>,
}

/// Scans `stream` cut into pieces of `sizes`, holding each step against the oracle.
pub(crate) fn scan(stream: &[u8], sizes: impl Iterator<Item = usize>) {
    let sum = run(BareNewline::Reject, stream, sizes, reject);
    if let (Some(end), None) = (sum.end, sum.bare) {
        assert_eq!(
            [&sum.passed, END_OF_DATA].concat(),
            stream[..end],
            "nothing lost, nothing added"
        );
        let mut plain = Vec::new();
        Unstuffer::new().unstuff(&sum.passed, &mut plain);
        assert_eq!(plain, unstuffed(&sum.passed));
    }
}

/// As [`scan`], with [`BareNewline::Normalize`].
pub(crate) fn normalize(stream: &[u8], sizes: impl Iterator<Item = usize>) {
    let sum = run(BareNewline::Normalize, stream, sizes, normal);
    if sum.end.is_some() && sum.bare.is_none() {
        has_one_end(&[&sum.passed, END_OF_DATA].concat());
    }
}

fn run(
    rule: BareNewline,
    stream: &[u8],
    sizes: impl Iterator<Item = usize>,
    oracle: fn(&[u8]) -> Sum,
) -> Sum {
    let (mut scanner, mut sum, mut from) = (DataScanner::new(rule), Sum::default(), 0);
    let (mut plain, mut unstuffer, mut stuffed) = (Vec::new(), Unstuffer::new(), 0);
    for size in sizes {
        let to = (from + size).min(stream.len());
        while sum.end.is_none() {
            let Scan {
                pieces,
                dots,
                consumed,
                state,
            } = scanner.scan(&stream[from..to]);
            from += consumed;
            stuffed += dots;
            for piece in pieces.iter() {
                assert!(!piece.is_empty());
                sum.passed.extend_from_slice(piece);
                unstuffer.unstuff(piece, &mut plain);
            }
            match state {
                ScanState::More => break,
                ScanState::Full => assert_eq!(rule, BareNewline::Normalize),
                ScanState::End => sum.end = Some(from),
                ScanState::Bare(kind) => assert_eq!(sum.bare.replace(kind), None, "reported once"),
            }
        }
        assert_eq!(sum, oracle(&stream[..to]), "after {to} octets");
        assert_eq!(plain, unstuffed(&sum.passed));
        if sum.bare.is_none() {
            assert_eq!(plain.len() + stuffed, sum.passed.len());
        }
        if sum.end.is_some() {
            assert_eq!(scanner, DataScanner::new(rule));
            break;
        }
        assert_eq!(from, to, "used up");
        assert_eq!(scanner.bare(), sum.bare);
    }
    sum
}

/// Octets through the end of data. RFC 5321 §4.1.1.4: the CRLF of the DATA command is the CRLF before the first line.
fn end_of(stream: &[u8]) -> Option<usize> {
    let all = [b"\r\n", stream].concat();
    let at = all.windows(5).position(|five| five == b"\r\n.\r\n");
    at.map(|at| at + 3)
}

fn bare_cr(data: &[u8]) -> Option<usize> {
    let is_bare = |at: &usize| data[*at] == b'\r' && data.get(at + 1).is_some_and(|&o| o != b'\n');
    (0..data.len()).find(is_bare)
}

fn bare_lf(data: &[u8]) -> Option<usize> {
    (0..data.len()).find(|&at| data[at] == b'\n' && (at == 0 || data[at - 1] != b'\r'))
}

fn reject(stream: &[u8]) -> Sum {
    let end = end_of(stream);
    let data = &stream[..end.unwrap_or(stream.len())];
    let cr = bare_cr(data).map(|at| (at, BareKind::Cr));
    let lf = bare_lf(data).map(|at| (at, BareKind::Lf));
    let bare = cr.into_iter().chain(lf).min_by_key(|(at, _)| *at);
    let passed = match (bare, end) {
        (Some((at, _)), _) => at,
        (None, Some(end)) => end - END_OF_DATA.len(),
        (None, None) => data.len() - undecided(&[b"\r\n", stream].concat()),
    };
    Sum {
        passed: data[..passed].to_vec(),
        bare: bare.map(|(_, kind)| kind),
        end,
    }
}

/// Octets at the end of a clean stream that may yet be part of an end, or bare.
fn undecided(all: &[u8]) -> usize {
    let ends = |end: &[u8]| all.ends_with(end);
    if ends(b"\r\n.\r") {
        2
    } else {
        usize::from(ends(b"\r\n.") || ends(b"\r"))
    }
}

/// Line by line: each LF ends one, what stood before it says how.
fn normal(stream: &[u8]) -> Sum {
    let end = end_of(stream);
    let data = match end {
        Some(end) => &stream[..end - END_OF_DATA.len()],
        None => stream,
    };
    // What stands behind the last line that is over: nothing, where the data is over.
    let bare = bare_cr(data);
    let judged = &data[..bare.unwrap_or(data.len())];
    let (mut passed, mut strict) = (Vec::new(), true);
    for line in judged.split_inclusive(|&octet| octet == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            // Not over yet; a bare CR has judged it, or a dot or a CR waits.
            let waits = bare.is_none() && matches!(line, b"." | b".\r");
            let cr = usize::from(bare.is_none() && line.ends_with(b"\r"));
            passed.extend_from_slice(if waits { b"" } else { &line[..line.len() - cr] });
            break;
        };
        let (text, own) = match text.strip_suffix(b"\r") {
            Some(text) => (text, true),
            None => (text, false),
        };
        if text == b"." {
            assert!(!(strict && own), "the end is found");
            passed.push(b'.');
        }
        passed.extend_from_slice(text);
        passed.extend_from_slice(b"\r\n");
        strict = own;
    }
    Sum {
        passed,
        bare: bare.map(|_| BareKind::Cr),
        end,
    }
}

/// Nobody finds an end but the last: not who takes LF for a line end, nor who takes CR for one.
fn has_one_end(whole: &[u8]) {
    let text = [b"\r\n", whole].concat();
    for line_end in [&b"\r\n"[..], b"\n", b"\r"] {
        let spots = (0..text.len()).filter(|&at| text[at..].starts_with(line_end));
        let ends = spots.filter(|&at| {
            let rest = text[at + line_end.len()..].strip_prefix(b".");
            rest.is_some_and(|rest| rest.starts_with(b"\r") || rest.starts_with(b"\n"))
        });
        let ends: Vec<usize> = ends.map(|at| at + line_end.len()).collect();
        assert!(
            ends.iter().all(|&at| at == text.len() - END_OF_DATA.len()),
            "{} by {}",
            tarpit_smtp::escape(whole),
            tarpit_smtp::escape(line_end)
        );
    }
    let rejected = DataScanner::new(BareNewline::Reject).scan(whole).state;
    assert_eq!(rejected, ScanState::End);
}

pub(super) fn unstuffed(passed: &[u8]) -> Vec<u8> {
    let lines = passed.split_inclusive(|&octet| octet == b'\n');
    let mut strict = true;
    lines
        .flat_map(|line| {
            let plain = if strict {
                line.strip_prefix(b".").unwrap_or(line)
            } else {
                line
            };
            strict = line.ends_with(b"\r\n");
            plain
        })
        .copied()
        .collect()
}
