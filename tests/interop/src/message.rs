//! Messages, and how to compare them with what lies in a mailbox.

/// A small message with all the header fields that servers otherwise add.
#[must_use]
pub fn plain(tag: &str) -> Vec<u8> {
    with_body(tag, format!("Greetings,\r\nthis is {tag}.\r\n").as_bytes())
}

/// A message whose body has lines that begin with dots, a line of one dot, and empty lines.
#[must_use]
pub fn dot_stuffed(tag: &str) -> Vec<u8> {
    with_body(
        tag,
        b".\r\n..\r\n. x\r\n.x\r\n\r\n.\r\n.\r\n\r\n...\r\nx.\r\n",
    )
}

/// A message with lines far longer than the 998 octets of RFC 5322 §2.1.1: many programs write
/// such, and most servers take them.
#[must_use]
pub fn long_lines(tag: &str) -> Vec<u8> {
    let line = b"0123456789abcdef".repeat(350);
    let body = [
        &line[..998],
        b"\r\n",
        &line[..999],
        b"\r\n.",
        &line,
        b"\r\nend\r\n",
    ]
    .concat();
    with_body(tag, &body)
}

/// A message whose body has all octets above 127, and so is no UTF-8.
#[must_use]
pub fn eight_bit(tag: &str) -> Vec<u8> {
    let high: Vec<u8> = (0x80..=0xff).collect();
    with_body(
        tag,
        &[&high[..], b"\r\n", "gr\u{fc}\u{df}e".as_bytes(), b"\r\n"].concat(),
    )
}

/// A message whose body has every octet, and line ends of every kind: BINARYMIME.
#[must_use]
pub fn binary(tag: &str) -> Vec<u8> {
    let all: Vec<u8> = (0..=0xff).collect();
    with_body(
        tag,
        &[&all[..], b"\n.\n\r.\r\r\n.\r\nend without a line end"].concat(),
    )
}

/// A message of at least `octets`, each line different.
#[must_use]
pub fn large(tag: &str, octets: usize) -> Vec<u8> {
    let mut message = with_body(tag, b"");
    message.reserve(octets + 80);
    for number in 0_u64.. {
        if message.len() >= octets {
            break;
        }
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Now and then a line that begins with a dot, so that stuffing is tested at every offset.
        let dot = if mixed >> 60 == 0 { "." } else { "" };
        let line = format!("{dot}{number:012} {mixed:016x}{mixed:016x}{mixed:016x}\r\n");
        message.extend_from_slice(line.as_bytes());
    }
    message
}

fn with_body(tag: &str, body: &[u8]) -> Vec<u8> {
    let header = format!(
        "From: <sender@example.net>\r\nTo: <alice@example.org>\r\nSubject: {tag}\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{tag}@example.net>\r\n\r\n"
    );
    [header.as_bytes(), body].concat()
}

/// The message as it goes over the wire: dots doubled, end-of-data behind it (RFC 5321 §4.5.2).
#[must_use]
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + message.len() / 64 + 3);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// What of the `stored` message came over the wire: without the trace fields that the server put
/// in front, and with CRLF, since maildirs keep LF.
///
/// The first field of all test messages is `From:`, which no server adds in front.
#[must_use]
pub fn received_part(stored: &[u8]) -> Vec<u8> {
    let mut lines = stored.split_inclusive(|byte| *byte == b'\n').peekable();
    while lines.next_if(|line| !line.starts_with(b"From: ")).is_some() {}
    let mut message = Vec::with_capacity(stored.len() + stored.len() / 40);
    for line in lines {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                message.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                message.extend_from_slice(b"\r\n");
            }
            None => message.extend_from_slice(line),
        }
    }
    message
}
