//! One session of the sink.

use std::io;
use std::time::Duration;

use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Counters;

/// As much as a socket's receive buffer usually hands over at once.
const BUFFER: usize = 64 * 1024;

const EHLO: &[u8] = b"250-sink.example.org\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n\
    250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 CHUNKING\r\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Commands; whether MAIL stands, and how many recipients were taken.
    Commands { mail: bool, recipients: u32 },
    /// Message data. The CRLF of the DATA line is still unread, so that one search finds an empty
    /// message too.
    Data,
    /// The rest of a chunk: octets still to come, and whether it is the last.
    Chunk {
        left: usize,
        last: bool,
        recipients: u32,
    },
}

const IDLE: Phase = Phase::Commands {
    mail: false,
    recipients: 0,
};

/// What comes after a command line.
enum After {
    More,
    LookUp(&'static [u8], Phase),
    Data,
    Quit,
}

/// Serves one connection to its end.
pub(super) async fn serve(
    mut stream: TcpStream,
    look_up: Duration,
    counters: &Counters,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 sink.example.org ESMTP\r\n").await?;
    let mut buffer = vec![0; BUFFER];
    let (mut start, mut end) = (0, 0);
    let mut phase = IDLE;
    let mut replies = Vec::new();
    loop {
        // All commands that are here, then all replies in one write.
        while let Some(consumed) = step(&buffer[start..end], &mut phase, &mut replies, counters) {
            start += consumed.bytes;
            match consumed.after {
                After::More | After::Data => {}
                After::LookUp(reply, next) => {
                    if !look_up.is_zero() {
                        flush(&mut stream, &mut replies).await?;
                        tokio::time::sleep(look_up).await;
                    }
                    replies.extend_from_slice(reply);
                    phase = next;
                }
                After::Quit => return flush(&mut stream, &mut replies).await,
            }
        }
        if phase == Phase::Data {
            // Only the last four octets can belong to an end-of-data that is still to come.
            start = start.max(end.saturating_sub(4));
        }
        flush(&mut stream, &mut replies).await?;
        buffer.copy_within(start..end, 0);
        end -= start;
        start = 0;
        if end == buffer.len() {
            return Err(io::Error::other("a command line without end"));
        }
        match stream.read(&mut buffer[end..]).await? {
            0 => return Ok(()),
            n => end += n,
        }
    }
}

async fn flush(stream: &mut TcpStream, replies: &mut Vec<u8>) -> io::Result<()> {
    if !replies.is_empty() {
        stream.write_all(replies).await?;
        replies.clear();
    }
    Ok(())
}

struct Consumed {
    bytes: usize,
    after: After,
}

/// Takes one command, or the rest of the message data, from `unread`; `None` if it isn't all here.
fn step(
    unread: &[u8],
    phase: &mut Phase,
    replies: &mut Vec<u8>,
    counters: &Counters,
) -> Option<Consumed> {
    if *phase == Phase::Data {
        let at = memmem::find(unread, b"\r\n.\r\n")?;
        *phase = IDLE;
        Counters::add(&counters.messages);
        replies.extend_from_slice(b"250 2.0.0 Taken\r\n");
        return Some(Consumed {
            bytes: at + 5,
            after: After::More,
        });
    }
    if let Phase::Chunk {
        left,
        last,
        recipients,
    } = *phase
    {
        return chunk(unread, left, last, recipients, phase, replies, counters);
    }
    let length = memchr(b'\n', unread)?;
    let line = unread[..length].strip_suffix(b"\r").unwrap_or_default();
    let after = command(line, phase, replies, counters);
    let bytes = match after {
        After::Data => length - 1,
        _ => length + 1,
    };
    Some(Consumed { bytes, after })
}

/// Takes octets of a chunk; `None` if none is here.
fn chunk(
    unread: &[u8],
    left: usize,
    last: bool,
    recipients: u32,
    phase: &mut Phase,
    replies: &mut Vec<u8>,
    counters: &Counters,
) -> Option<Consumed> {
    let bytes = left.min(unread.len());
    if bytes == 0 && left > 0 {
        return None;
    }
    let left = left - bytes;
    *phase = match (left, last) {
        (0, true) => {
            Counters::add(&counters.messages);
            IDLE
        }
        (0, false) => Phase::Commands {
            mail: true,
            recipients,
        },
        _ => Phase::Chunk {
            left,
            last,
            recipients,
        },
    };
    if left == 0 {
        replies.extend_from_slice(b"250 2.0.0 Taken\r\n");
    }
    Some(Consumed {
        bytes,
        after: After::More,
    })
}

/// Size of a chunk, and whether it is the last.
fn size(line: &[u8]) -> Option<(usize, bool)> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ').skip(1);
    let left = words.next()?.parse().ok()?;
    Some((left, words.next().is_some()))
}

fn command(line: &[u8], phase: &mut Phase, replies: &mut Vec<u8>, counters: &Counters) -> After {
    let Phase::Commands { mail, recipients } = *phase else {
        return After::More;
    };
    let verb = line.get(..4).unwrap_or(line).to_ascii_uppercase();
    let (next, reply): (Phase, &[u8]) = match (verb.as_slice(), mail) {
        (b"EHLO", _) => (IDLE, EHLO),
        (b"HELO", _) => (IDLE, b"250 sink.example.org\r\n"),
        (b"MAIL", false) => {
            let next = Phase::Commands {
                mail: true,
                recipients: 0,
            };
            (next, b"250 2.1.0 Ok\r\n")
        }
        (b"RCPT", true) => {
            Counters::add(&counters.looked_up);
            let (reply, taken) = recipient(line);
            let next = Phase::Commands {
                mail,
                recipients: recipients + u32::from(taken),
            };
            return After::LookUp(reply, next);
        }
        (b"DATA", true) if recipients > 0 => {
            *phase = Phase::Data;
            replies.extend_from_slice(b"354 Go on\r\n");
            return After::Data;
        }
        (b"BDAT", true) if recipients > 0 => {
            let Some((left, last)) = size(line) else {
                replies.extend_from_slice(b"501 5.5.4 A size\r\n");
                return After::More;
            };
            *phase = Phase::Chunk {
                left,
                last,
                recipients,
            };
            return After::More;
        }
        (b"DATA", true) => (*phase, b"554 5.5.1 No valid recipients\r\n"),
        (b"MAIL" | b"RCPT" | b"DATA", _) => (*phase, b"503 5.5.1 Bad sequence\r\n"),
        (b"RSET", _) => (IDLE, b"250 2.0.0 Ok\r\n"),
        (b"NOOP", _) => (*phase, b"250 2.0.0 Ok\r\n"),
        (b"QUIT", _) => {
            replies.extend_from_slice(b"221 2.0.0 Bye\r\n");
            return After::Quit;
        }
        _ => (*phase, b"500 5.5.2 Unknown\r\n"),
    };
    *phase = next;
    replies.extend_from_slice(reply);
    After::More
}

/// The reply to RCPT, and whether the recipient was taken.
fn recipient(line: &[u8]) -> (&'static [u8], bool) {
    let open = memchr(b'<', line).map_or(line.len(), |at| at + 1);
    let path = line.get(open..).unwrap_or_default().to_ascii_lowercase();
    if memmem::find(&path, b"@example.com>").is_some() {
        (b"550 5.7.1 Relaying denied\r\n", false)
    } else if path.starts_with(b"no") {
        (b"550 5.1.1 No such user\r\n", false)
    } else {
        (b"250 2.1.5 Ok\r\n", true)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::wire::Client;

    /// Says `lines` on one connection, in one segment or octet by octet, and returns all codes.
    async fn codes(lines: &[u8], replies: usize, one_by_one: bool) -> Vec<u16> {
        let (address, _) = crate::sink::listen(Duration::ZERO).await.unwrap();
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut client = Client::open(own, address).await.unwrap();
        if one_by_one {
            for octet in lines {
                client.send(&[*octet]).await.unwrap();
                tokio::task::yield_now().await;
            }
        } else {
            client.send(lines).await.unwrap();
        }
        let mut codes = Vec::new();
        for _ in 0..replies {
            codes.push(client.reply().await.unwrap());
        }
        client.send(b"QUIT\r\n").await.unwrap();
        client.expect("QUIT", 221).await.unwrap();
        client.closed().await.unwrap();
        codes
    }

    #[tokio::test]
    async fn any_chunking_gives_the_same_replies() {
        let said = b"MAIL FROM:<>\r\nRCPT TO:<noone@example.org>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n\
            a\r\n..b\r\n.c\r\n\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster@example.com>\r\nDATA\r\nRSET\r\n";
        let wanted = [250, 550, 250, 354, 250, 250, 550, 554, 250];
        assert_eq!(codes(said, wanted.len(), false).await, wanted);
        assert_eq!(codes(said, wanted.len(), true).await, wanted);
    }

    #[tokio::test]
    async fn an_empty_message_ends_too() {
        let said = b"MAIL FROM:<a@b>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n.\r\nNOOP\r\n";
        assert_eq!(codes(said, 5, false).await, [250, 250, 354, 250, 250]);
    }

    #[tokio::test]
    async fn chunks() {
        let said = b"MAIL FROM:<a@b>\r\nRCPT TO:<a@example.org>\r\nBDAT 3\r\na\r\nBDAT 0\r\n\
            BDAT 5 LAST\r\n\r\n.\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@example.org>\r\nBDAT 0 LAST\r\nNOOP\r\n";
        let wanted = [250, 250, 250, 250, 250, 250, 250, 250, 250];
        assert_eq!(codes(said, wanted.len(), false).await, wanted);
        assert_eq!(codes(said, wanted.len(), true).await, wanted);
    }

    #[tokio::test]
    async fn order_is_kept() {
        let said = b"RCPT TO:<a@b>\r\nDATA\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nDATA\r\nFOO\r\n";
        let wanted = [503, 503, 250, 503, 554, 500];
        assert_eq!(codes(said, wanted.len(), false).await, wanted);
    }

    #[tokio::test]
    async fn counters_count() {
        let (address, counters) = crate::sink::listen(Duration::ZERO).await.unwrap();
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut client = Client::open(own, address).await.unwrap();
        let said = b"MAIL FROM:<>\r\nRCPT TO:<no@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n.\r\n";
        client.send(said).await.unwrap();
        for wanted in [250, 550, 250, 354, 250] {
            client.expect("in order", wanted).await.unwrap();
        }
        assert_eq!(counters.line(), "2 1 1 1");
    }
}
