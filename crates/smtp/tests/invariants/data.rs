//! Message data: after each chunk, what has been passed on is what the whole of the input so far allows.

use tarpit_smtp::{BareKind, BareNewline, DataScanner, END_OF_DATA, ScanState, Unstuffer};

/// The scanner equals the oracle after each chunk, in any chunking.
pub(crate) fn check(input: &[u8]) {
    let (sizes, stream) = super::chunkings(input);
    for size in sizes {
        scan(stream, stream.chunks(size).map(<[u8]>::len));
    }
}

/// What a stream so far comes to.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    passed: Vec<u8>,
    bare: Option<BareKind>,
    /// Octets through the end of data.
    end: Option<usize>,
}

/// Scans `stream` cut into pieces of `sizes`, holding each step against the oracle.
pub(crate) fn scan(stream: &[u8], sizes: impl Iterator<Item = usize>) {
    let mut scanner = DataScanner::new(BareNewline::Reject);
    let mut sum = Sum {
        passed: Vec::new(),
        bare: None,
        end: None,
    };
    let (mut from, mut plain, mut unstuffer) = (0, Vec::new(), Unstuffer::new());
    for size in sizes {
        let to = (from + size).min(stream.len());
        while sum.end.is_none() {
            let scan = scanner.scan(&stream[from..to]);
            from += scan.consumed;
            for piece in scan.pieces.iter() {
                sum.passed.extend_from_slice(piece);
                unstuffer.unstuff(piece, &mut plain);
            }
            match scan.state {
                ScanState::More => break,
                ScanState::Full => panic!("nothing is replaced"),
                ScanState::End => sum.end = Some(from),
                ScanState::Bare(kind) => assert_eq!(sum.bare.replace(kind), None, "reported once"),
            }
        }
        assert_eq!(sum, oracle(&stream[..to]), "after {to} octets");
        if sum.end.is_some() {
            assert_eq!(scanner, DataScanner::new(BareNewline::Reject));
            break;
        }
        assert_eq!(from, to, "used up");
        assert_eq!(scanner.bare(), sum.bare);
    }
    if let (Some(end), None) = (sum.end, sum.bare) {
        assert_eq!(
            [&sum.passed, END_OF_DATA].concat(),
            stream[..end],
            "nothing lost, nothing added"
        );
        assert_eq!(plain, unstuffed(&sum.passed));
    }
}

fn oracle(stream: &[u8]) -> Sum {
    // RFC 5321 §4.1.1.4: the CRLF of the DATA command is the CRLF before the first line.
    let all = [b"\r\n", stream].concat();
    let end = all
        .windows(5)
        .position(|five| five == b"\r\n.\r\n")
        .map(|at| at + 3);
    let data = &stream[..end.unwrap_or(stream.len())];
    let bare = data.iter().enumerate().find_map(|(at, octet)| match octet {
        b'\r' if data.get(at + 1).is_some_and(|&next| next != b'\n') => Some((at, BareKind::Cr)),
        b'\n' if at == 0 || data[at - 1] != b'\r' => Some((at, BareKind::Lf)),
        _ => None,
    });
    let passed = match (bare, end) {
        (Some((at, _)), _) => at,
        (None, Some(end)) => end - END_OF_DATA.len(),
        (None, None) => data.len() - undecided(&all),
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

fn unstuffed(passed: &[u8]) -> Vec<u8> {
    let lines = passed.split_inclusive(|&octet| octet == b'\n');
    lines
        .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
        .copied()
        .collect()
}
