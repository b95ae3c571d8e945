//! Content of chunks made fit for DATA: any chunking gives what the naive way gives, and it reads back as the content.

use super::data::unstuffed;
use tarpit_smtp::{BareKind, BareNewline, DataScanner, END_OF_DATA, ScanState, Stuffer};

/// The stuffer equals the oracle after each chunk.
pub(crate) fn check(input: &[u8]) {
    let (sizes, content) = super::chunkings(input);
    for size in sizes {
        stuff(content, content.chunks(size).map(<[u8]>::len));
    }
}

/// Stuffs `content` cut into pieces of `sizes`, holding each step against the oracle.
pub(crate) fn stuff(content: &[u8], sizes: impl Iterator<Item = usize>) {
    let (mut stuffer, mut passed, mut reported) = (Stuffer::new(), Vec::new(), None);
    let (mut from, mut to) = (0, 0);
    for size in sizes {
        to = (from + size).min(content.len());
        loop {
            let scan = stuffer.stuff(&content[from..to]);
            from += scan.consumed;
            scan.pieces
                .iter()
                .for_each(|piece| passed.extend_from_slice(piece));
            match scan.state {
                ScanState::More => break,
                ScanState::Full => {}
                ScanState::Bare(kind) => assert_eq!(reported.replace(kind), None, "reported once"),
                ScanState::End => panic!("content has no end of its own"),
            }
        }
        assert_eq!(from, to, "used up");
        let (expected, bare) = oracle(&content[..to]);
        assert_eq!((&passed, reported), (&expected, bare), "after {to} octets");
        if bare.is_some() {
            assert_eq!(stuffer.finish().err(), bare);
        }
    }
    let content = &content[..to];
    match stuffer.finish() {
        Err(BareKind::Cr) if reported.is_none() => assert!(content.ends_with(b"\r")),
        Err(kind) => assert_eq!(reported, Some(kind)),
        Ok(rest) => {
            assert_eq!(reported, None);
            passed.extend_from_slice(rest);
            let lacks = !content.is_empty() && !content.ends_with(b"\r\n");
            assert_eq!(rest, if lacks { &b"\r\n"[..] } else { b"" });
            assert_eq!(unstuffed(&passed), [content, rest].concat());
            let whole = [&passed, END_OF_DATA].concat();
            let mut scanner = DataScanner::new(BareNewline::Reject);
            let scan = scanner.scan(&whole);
            assert_eq!((scan.state, scan.consumed), (ScanState::End, whole.len()));
            assert_eq!(scan.pieces.concat(), passed);
        }
    }
}

/// What may have been sent, and the first bare octet.
fn oracle(content: &[u8]) -> (Vec<u8>, Option<BareKind>) {
    let bare = content
        .iter()
        .enumerate()
        .find_map(|(at, octet)| match octet {
            b'\r' if content.get(at + 1).is_some_and(|&next| next != b'\n') => {
                Some((at, BareKind::Cr))
            }
            b'\n' if at == 0 || content[at - 1] != b'\r' => Some((at, BareKind::Lf)),
            _ => None,
        });
    let waits = usize::from(bare.is_none() && content.ends_with(b"\r"));
    let good = &content[..bare.map_or(content.len() - waits, |(at, _)| at)];
    let mut out = Vec::new();
    for line in good.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    (out, bare.map(|(_, kind)| kind))
}
