//! Replies: any chunking gives the same ones; what is read is clean; what is written reads as itself.

use tarpit_smtp::{
    Capabilities, EnhancedCode, Reply, ReplyCode, ReplyError, ReplyReader, ReplyStep, limits,
};

/// Replies and the error that ends them are the same in any chunking, and each is fit to be sent on.
pub(crate) fn check(input: &[u8]) {
    let (sizes, stream) = super::chunkings(input);
    let whole = read(stream, stream.len().max(1));
    for size in sizes {
        assert_eq!(read(stream, size), whole, "chunks of {size}");
    }
    if let Some(error) = &whole.1 {
        assert!(!error.to_string().is_empty());
    }
    for reply in &whole.0 {
        is_clean(reply);
        writes_as_itself(reply);
        takes_another_code(reply);
        announces_what_it_offers(reply);
    }
    let text = String::from_utf8_lossy(stream);
    let made = Reply::new(ReplyCode::LOCAL_ERROR, &text);
    is_clean(&made);
    writes_as_itself(&made);
}

fn read(stream: &[u8], size: usize) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut reader, mut replies) = (ReplyReader::new(), Vec::new());
    for chunk in stream.chunks(size) {
        let mut rest = chunk;
        loop {
            match reader.read(rest) {
                Ok(ReplyStep::Done { reply, consumed }) => {
                    assert_eq!(rest.get(consumed - 1), Some(&b'\n'));
                    assert_eq!(reader, ReplyReader::new(), "nothing is left behind a reply");
                    replies.push(reply);
                    rest = &rest[consumed..];
                }
                Ok(ReplyStep::Partial { consumed }) => {
                    assert_eq!(consumed, rest.len());
                    break;
                }
                Err(error) => {
                    assert_eq!(reader, ReplyReader::new(), "garbage isn't kept");
                    return (replies, Some(error));
                }
            }
        }
    }
    (replies, None)
}

fn is_clean(reply: &Reply) {
    assert!((200..=599).contains(&reply.code().get()));
    assert!((1..=limits::REPLY_LINES_MAX).contains(&reply.lines().count()));
    assert!(reply.lines().map(<[u8]>::len).sum::<usize>() <= limits::REPLY_MAX);
    for line in reply.lines() {
        assert!(
            line.iter()
                .all(|&octet| octet == b'\t' || !octet.is_ascii_control())
        );
    }
    assert!(
        reply
            .to_log()
            .bytes()
            .all(|octet| matches!(octet, b' '..=b'~'))
    );
}

fn writes_as_itself(reply: &Reply) {
    let mut out = Vec::new();
    reply.write_to(&mut out);
    assert!(
        out.split_inclusive(|&octet| octet == b'\n')
            .all(|line| line.len() <= limits::REPLY_LINE_MAX)
    );
    let (again, error) = read(&out, out.len());
    assert_eq!((again.len(), error), (1, None));
    assert_eq!(again[0].code(), reply.code());
    assert_eq!(again[0].lines().count(), reply.lines().count());
    for (written, line) in again[0].lines().zip(reply.lines()) {
        let fits = limits::REPLY_LINE_MAX - "550 \r\n".len();
        assert!(line.starts_with(written));
        assert!(if line.len() <= fits {
            written == line
        } else {
            written.len() + 3 >= fits
        });
    }
}

fn takes_another_code(reply: &Reply) {
    let other = ReplyCode::new(550).expect("a code");
    let enhanced = EnhancedCode {
        class: 5,
        subject: 3,
        detail: 4,
    };
    let changed = reply.clone().with_code(other, Some(enhanced));
    assert_eq!(changed.code(), other);
    assert_eq!(changed.enhanced(), reply.enhanced().map(|_| enhanced));
    assert_eq!(changed.lines().count(), reply.lines().count());
    let bare = reply.clone().with_code(other, None);
    assert_eq!(bare.lines().count(), reply.lines().count());
}

fn announces_what_it_offers(reply: &Reply) {
    let found = Capabilities::from_ehlo(reply);
    assert!(found.others.len() <= limits::OTHER_CAPABILITIES_MAX);
    let offered = Capabilities::from_ehlo(&found.to_ehlo("mx.example.org"));
    let expected = Capabilities {
        others: Vec::new(),
        ..found
    };
    assert_eq!(offered, expected);
}
