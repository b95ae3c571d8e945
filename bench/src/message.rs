//! What a sender says for one message, prepared once: the load then only copies bytes.

/// The two writes of one transaction.
#[derive(Debug)]
pub(crate) struct Message {
    /// MAIL, RCPT and DATA in one segment, as Postfix sends them (RFC 2920 §3.1).
    pub(crate) envelope: Box<[u8]>,
    /// Message data and end-of-data.
    pub(crate) data: Box<[u8]>,
    /// The same with QUIT behind, for the last message of a connection.
    pub(crate) data_and_quit: Box<[u8]>,
    /// MAIL, RCPT and the whole message as one last chunk (RFC 3030 §2), in one segment if it is
    /// short.
    pub(crate) chunk: Box<[u8]>,
    /// The same with QUIT behind.
    pub(crate) chunk_and_quit: Box<[u8]>,
}

const HEADER: &str = "From: <sender@client.example.net>\r\nTo: <user@example.org>\r\n\
    Subject: a message of the benchmark\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n\
    Message-ID: <1@client.example.net>\r\n\r\n";

/// 76 characters and CRLF, as base64 in MIME has it.
const LINE: &str =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/abcdefghijkl\r\n";

impl Message {
    /// A message of `size` octets, not less than its header needs, to `recipient`.
    pub(crate) fn new(recipient: &str, size: usize) -> Self {
        let mail = format!(
            "MAIL FROM:<sender@client.example.net> SIZE={size}\r\nRCPT TO:<{recipient}>\r\n"
        );
        let envelope = format!("{mail}DATA\r\n");
        let mut data = HEADER.to_owned();
        while data.len() + LINE.len() <= size {
            data.push_str(LINE);
        }
        // The last line fills up what is left, its CRLF included.
        while data.len() + 2 < size {
            data.push('x');
        }
        if !data.ends_with("\r\n") {
            data.push_str("\r\n");
        }
        let chunk = format!("{mail}BDAT {} LAST\r\n{data}", data.len());
        let chunk_and_quit = format!("{chunk}QUIT\r\n");
        data.push_str(".\r\n");
        let data_and_quit = format!("{data}QUIT\r\n");
        Self {
            envelope: envelope.into_bytes().into(),
            data: data.into_bytes().into(),
            data_and_quit: data_and_quit.into_bytes().into(),
            chunk: chunk.into_bytes().into(),
            chunk_and_quit: chunk_and_quit.into_bytes().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_as_asked() {
        for size in [1024, 1025, 1026, 1000, 65_536, 1 << 20] {
            let message = Message::new("a@b", size);
            let body = message.data.strip_suffix(b".\r\n").unwrap();
            assert!(body.ends_with(b"\r\n"));
            assert!(body.len().abs_diff(size) <= 2, "{size}: {}", body.len());
            assert!(message.data_and_quit.ends_with(b"\r\n.\r\nQUIT\r\n"));
        }
    }
}
