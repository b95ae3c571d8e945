//! Lines: any chunking gives what a split at LF gives.

use tarpit_smtp::{LineError, LineReader, LineStep};

type Found = Result<Vec<u8>, LineError>;

/// The lines of the input are the same in any chunking, and those of the oracle.
pub(crate) fn check(input: &[u8]) {
    let (sizes, stream) = super::chunkings(input);
    for limit in [0, 1, 2, 8, 512] {
        let expected = oracle(stream, limit);
        for size in sizes {
            assert_eq!(
                read(stream, size, limit),
                expected,
                "limit {limit}, chunks of {size}"
            );
        }
    }
}

/// What a caller does: append a chunk, take lines, drop what is consumed.
fn read(stream: &[u8], size: usize, limit: usize) -> Vec<Found> {
    let (mut reader, mut buf, mut found) = (LineReader::new(), Vec::new(), Vec::new());
    for chunk in stream.chunks(size) {
        buf.extend_from_slice(chunk);
        loop {
            let (line, consumed) = match reader.next(&buf, limit) {
                LineStep::Line { text, consumed } => (Ok(text.to_vec()), consumed),
                LineStep::Bad { error, consumed } => (Err(error), consumed),
                LineStep::Partial { consumed } => {
                    assert!(consumed == 0 || consumed == buf.len());
                    buf.drain(..consumed);
                    break;
                }
            };
            assert_eq!(buf.get(consumed - 1), Some(&b'\n'));
            buf.drain(..consumed);
            found.push(line);
        }
        assert!(buf.len() < limit.max(1), "a full buffer is used up");
    }
    found
}

fn oracle(stream: &[u8], limit: usize) -> Vec<Found> {
    let mut lines: Vec<&[u8]> = stream.split(|&octet| octet == b'\n').collect();
    lines.pop();
    let judge = |line: &&[u8]| {
        let crs = line.iter().filter(|&&octet| octet == b'\r').count();
        let ended = line.ends_with(b"\r");
        if line.len() + 1 > limit {
            Err(LineError::TooLong)
        } else if crs > usize::from(ended) {
            Err(LineError::BareCr)
        } else if !ended {
            Err(LineError::BareLf)
        } else if line.contains(&0) {
            Err(LineError::Nul)
        } else {
            Ok(line[..line.len() - 1].to_vec())
        }
    };
    lines.iter().map(judge).collect()
}
