//! What a secure stream can do as well as a plain one.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};

use socket2::SockRef;

use super::{LIMIT, anybody, read, secure, secure_by, sockets};
use crate::stream::{Left, Stream, Written};
use crate::tls::VERSIONS;

/// Both kinds, as (server, client).
async fn kinds() -> [(Stream, Stream); 2] {
    [sockets().await, secure().await]
}

/// FIN without `close_notify`.
fn cut(stream: &Stream) {
    let tcp = SockRef::from(stream.tcp());
    tcp.shutdown(std::net::Shutdown::Write).unwrap();
}

#[tokio::test]
async fn closing_is_told_from_being_cut_off() {
    for version in VERSIONS {
        let (mut server, mut client) = secure_by(&anybody(&[version])).await;
        client.write_all(b"QUIT\r\n").await.unwrap();
        client.shut_down();
        assert_eq!(read(&mut server).await.unwrap(), b"QUIT\r\n");
        assert_eq!(read(&mut server).await.unwrap(), b"");
        // The other direction is still open (RFC 8446 §6.1).
        server.write_all(b"221 \r\n").await.unwrap();
        assert_eq!(read(&mut client).await.unwrap(), b"221 \r\n");

        let (mut server, mut client) = secure_by(&anybody(&[version])).await;
        client.write_all(b"QUIT\r\n").await.unwrap();
        cut(&client);
        assert_eq!(read(&mut server).await.unwrap(), b"QUIT\r\n");
        let error = read(&mut server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn nothing_is_heard_after_the_end() {
    let (mut server, mut client) = secure().await;
    client.write_all(b"one").await.unwrap();
    client.close_notify();
    // A record of application data, as anyone on the way could add it.
    let plain = client.tcp();
    plain
        .try_write(&[23, 3, 3, 0, 3, b't', b'w', b'o'])
        .unwrap();
    cut(&client);
    assert_eq!(read(&mut server).await.unwrap(), b"one");
    assert_eq!(read(&mut server).await.unwrap(), b"");
    assert_eq!(read(&mut server).await.unwrap(), b"");
}

#[tokio::test]
async fn a_changed_record_is_no_data() {
    let (mut server, client) = secure().await;
    client.tcp().try_write(&[23, 3, 3, 0, 24]).unwrap();
    client.tcp().try_write(&[b'x'; 24]).unwrap();
    let error = read(&mut server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn quiet_until_somebody_speaks() {
    for (mut server, mut client) in kinds().await {
        // A ticket may be there; it does not count.
        assert!(client.is_quiet());
        assert!(client.is_quiet());
        server.write_all(b"421 \r\n").await.unwrap();
        until(|| !client.is_quiet()).await;
        assert!(!client.is_quiet());
        // Looking took nothing away.
        assert_eq!(read(&mut client).await.unwrap(), b"421 \r\n");
        assert!(client.is_quiet());
        server.shut_down();
        until(|| !client.is_quiet()).await;
    }
}

#[tokio::test]
async fn what_is_there_is_read_without_waiting() {
    for (mut server, mut client) in kinds().await {
        let mut bytes = b"and ".to_vec();
        let error = client.try_read_into(&mut bytes, 16).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(bytes, b"and ");
        server.write_all(b"so").await.unwrap();
        until(|| client.try_read_into(&mut bytes, 16).is_ok()).await;
        assert_eq!(bytes, b"and so");
    }
}

#[tokio::test]
async fn a_watched_client_loses_nothing() {
    for (mut server, mut client) in kinds().await {
        client.write_all(b"one").await.unwrap();
        // Nobody leaves: the watch goes on although there are bytes.
        let watched = async {
            tokio::select! {
                left = server.left() => Err(left),
                () = async { for _ in 0..100 { tokio::task::yield_now().await; } } => Ok(()),
            }
        };
        watched.await.unwrap();
        assert_eq!(read(&mut server).await.unwrap(), b"one");
        let (said, _) = tokio::join!(read(&mut server), client.write_all(b"two"));
        assert_eq!(said.unwrap(), b"two");
        client.write_all(b"three").await.unwrap();
        client.shut_down();
        let left = tokio::time::timeout(LIMIT, server.left()).await;
        assert_eq!(left, Ok(Left::Fin));
        assert_eq!(read(&mut server).await.unwrap(), b"three");
        assert_eq!(read(&mut server).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_reset_is_seen_behind_bytes() {
    for (mut server, mut client) in kinds().await {
        client.write_all(b"one").await.unwrap();
        let tcp = SockRef::from(client.tcp());
        tcp.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        let left = tokio::time::timeout(LIMIT, server.left()).await;
        assert_eq!(left, Ok(Left::Reset));
    }
}

/// Octets that repeat late.
fn octets(count: usize) -> Vec<u8> {
    let mix = |index: usize| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0];
    (0..count).map(mix).collect()
}

/// Writes all to a peer that says nothing, but for a ticket. How many octets were on their way.
async fn write(stream: &mut Stream, mut pieces: &mut [IoSlice<'_>]) -> usize {
    let mut count = 0;
    while stream.write_or_hear(&mut pieces, &mut count).await.unwrap() == Written::Heard {
        let error = stream.try_read_into(&mut Vec::new(), 16).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    count
}

/// As in the pit: without a runtime, there and back, with a record that has not come whole.
#[tokio::test]
async fn out_of_the_runtime_and_back() {
    for version in VERSIONS {
        let (server, mut client) = secure_by(&anybody(&[version])).await;
        let (tcp, secure) = server.into_parts().unwrap();
        let mut secure = secure.unwrap();
        secure.rest();
        assert!(secure.is_still());
        assert!(secure.octets() <= 1536, "{}", secure.octets());
        let error = secure.read_now(&tcp, &mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        client.write_all(b"NOOP\r\nRSET\r\n").await.unwrap();
        let mut bytes = [0; 6];
        until(|| secure.read_now(&tcp, &mut bytes).is_ok()).await;
        assert_eq!(&bytes, b"NOOP\r\n");
        // What was read ahead does not show at the socket.
        assert!(!secure.is_still());
        assert_eq!(secure.write_now(&tcp, b"250 \r\n").unwrap(), 6);
        secure.flush_now(&tcp).unwrap();
        assert_eq!(read(&mut client).await.unwrap(), b"250 \r\n");
        secure.rest();
        // The rest of the record is there, and what comes meanwhile is noticed.
        client.write_all(b"QUIT\r\n").await.unwrap();
        let mut server = Stream::from_parts(tcp, Some(secure)).unwrap();
        assert!(!server.is_quiet());
        assert_eq!(read(&mut server).await.unwrap(), b"RSET\r\n");
        assert_eq!(read(&mut server).await.unwrap(), b"QUIT\r\n");
        server.write_all(b"221 \r\n").await.unwrap();
        server.shut_down();
        assert_eq!(read(&mut client).await.unwrap(), b"221 \r\n");
        assert_eq!(read(&mut client).await.unwrap(), b"");
    }
}

/// A client that takes nothing: what was taken in waits, and no more is taken.
#[tokio::test]
async fn a_full_socket_without_a_runtime() {
    let (server, mut client) = secure().await;
    let (tcp, secure) = server.into_parts().unwrap();
    let mut secure = secure.unwrap();
    let (part, mut count) = (octets(100_000), 0);
    loop {
        match secure.write_now(&tcp, &part) {
            Ok(taken) => count += taken,
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert!(!secure.is_still());
    // 64 KiB of plaintext in five records, and no spare room.
    assert!(secure.octets() < 70_000, "{}", secure.octets());
    let mut got = 0;
    let mut buffer = Vec::new();
    while got < count {
        let _ = secure.flush_now(&tcp);
        got += client.read_into(&mut buffer, 65_536).await.unwrap();
        buffer.clear();
    }
    assert_eq!(got, count);
}

/// More than sockets and records hold, in pieces, read with buffers of each size.
#[tokio::test]
async fn large_data_arrives_whole() {
    let sent = octets(3 * 1024 * 1024 + 17);
    for size in [512, 16 * 1024, 64 * 1024] {
        for (mut server, mut client) in kinds().await {
            let writing = async {
                for (index, part) in sent.chunks(100_003).enumerate() {
                    let (first, second) = part.split_at(index * 7 % part.len());
                    let mut pieces = [first, &[], second].map(IoSlice::new);
                    assert_eq!(write(&mut client, &mut pieces).await, part.len());
                }
                client.shut_down();
            };
            let read = async {
                let (mut buffer, mut got) = (vec![0; size], Vec::new());
                loop {
                    let read = poll_fn(|context| server.poll_read(context, &mut buffer));
                    match read.await.unwrap() {
                        0 => return got,
                        count => got.extend_from_slice(&buffer[..count]),
                    }
                }
            };
            let ((), got) = tokio::join!(writing, read);
            assert!(got == sent, "{} of {} octets", got.len(), sent.len());
        }
    }
}

/// The peer does not read, and says why: the writer hears it, and goes on where it stopped.
#[tokio::test]
async fn a_writer_hears() {
    let sent = octets(16 * 1024 * 1024);
    for (mut server, mut client) in kinds().await {
        let mut pieces = [IoSlice::new(&sent)];
        let (mut pieces, mut count) = (&mut pieces[..], 0);
        server.write_all(b"452 \r\n").await.unwrap();
        let mut heard = Vec::new();
        loop {
            let rest = client.write_or_hear(&mut pieces, &mut count).await.unwrap();
            assert_eq!(rest, Written::Heard, "nobody reads");
            // A ticket alone is nothing.
            if client.try_read_into(&mut heard, 16).is_ok() {
                break;
            }
        }
        assert_eq!(heard, b"452 \r\n");
        assert!(count < sent.len());
        let mut got = Vec::new();
        let writing = async {
            count += write(&mut client, pieces).await;
            client.shut_down();
        };
        let read = async { while server.read_into(&mut got, 65_536).await.unwrap() > 0 {} };
        tokio::join!(writing, read);
        assert!(got == sent && count == sent.len());
    }
}

/// What the system delivers in its own time.
async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("it comes");
}
