//! A message in chunks: as chunks, or as DATA.

use tarpit_core::{Chunk, DataEnd};

use super::*;

/// A greeting that offers CHUNKING.
const CHUNKING: &str = "
    S: 220 up
    C: EHLO gw.example
    S: 250-up
    S: 250 CHUNKING
";

const RCPT: &str = "
    C: RCPT TO:<a@x.example>
    S: 250 a ok
";

const FIRST: Chunk = chunk(3, true, false);
const LAST: Chunk = chunk(3, false, true);
const ONLY: Chunk = chunk(3, true, true);

const fn chunk(size: u64, first: bool, last: bool) -> Chunk {
    Chunk {
        size,
        last,
        first,
        pass: true,
    }
}

/// A world in which the recipient was accepted.
async fn ready(script: &[&str]) -> World {
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    world
}

impl World {
    /// Opens a chunk, sends its octets, and awaits its reply.
    async fn chunk(&mut self, chunk: Chunk, octets: &[u8]) -> String {
        let envelope = envelope(1, &["a@x.example"]);
        let opened = self
            .link
            .open_chunk(&chunk, &self.who, self.claim, Some(&envelope), LIMIT)
            .await;
        if let Err(answer) = opened {
            return format!("not opened: {}", shown(&answer));
        }
        for octet in octets.chunks(2) {
            if let Err(stopped) = self.link.send_chunk(octet, LIMIT).await {
                return format!("{stopped:?}");
            }
        }
        match self.link.end_chunk(LIMIT).await {
            DataEnd::Reply(reply) => reply.to_log(),
            other => format!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn chunks_go_through_one_by_one() {
    let script = &[
        CHUNKING,
        MAIL,
        RCPT,
        "
        C: BDAT 3
        C: .
        S: 250 2.0.0 3 octets
        C: BDAT 0
        S: 250 2.0.0 0 octets
        C: BDAT 3 LAST
        C: b
        S: 250 2.0.0 queued as 4XY
        eof",
    ];
    let mut world = ready(script).await;
    assert_eq!(world.chunk(FIRST, b".\r\n").await, "250 2.0.0 3 octets");
    world.link.let_go();
    assert!(world.link.is_in_message(), "not in the middle of a message");
    assert_eq!(
        world.chunk(chunk(0, false, false), b"").await,
        "250 2.0.0 0 octets"
    );
    assert_eq!(world.chunk(LAST, b"b\r\n").await, "250 2.0.0 queued as 4XY");
    assert!(world.link.is_connected() && !world.link.is_in_message());
    world.done().await;
}

/// It was offered, and this connection does not have it: the content becomes DATA.
#[tokio::test]
async fn chunks_become_data_where_they_must() {
    let script = &[
        BARE,
        MAIL,
        RCPT,
        "
        C: DATA
        S: 354 go
        C: ..
        C: b
        C: .
        S: 250 2.0.0 queued as 4XY
        eof",
    ];
    let mut world = ready(script).await;
    assert_eq!(
        world.chunk(FIRST, b".\r\n").await,
        "250 2.0.0 3 octets received"
    );
    assert_eq!(
        world.chunk(chunk(1, false, true), b"b").await,
        "250 2.0.0 queued as 4XY"
    );
    world.done().await;
}

#[tokio::test]
async fn what_can_be_no_data_is_not_sent_as_such() {
    for (octets, says) in [
        (&b"\nab"[..], "BareNewline"),
        (b"\rab", "BareNewline"),
        (b"\r\r\n", "BareNewline"),
    ] {
        let script = &[BARE, MAIL, RCPT, "C: DATA\nS: 354 go\neof"];
        let mut world = ready(script).await;
        assert_eq!(world.chunk(chunk(3, true, true), octets).await, says);
        world.link.abort();
        world.done().await;
    }
    let script = &[
        BARE,
        MAIL,
        RCPT,
        "C: RSET\nS: 250 ok\nC: QUIT\nS: 221 bye\neof",
    ];
    let mut world = ready(script).await;
    let mut binary = envelope(1, &["a@x.example"]);
    binary.binary = true;
    let opened = world
        .link
        .open_chunk(&FIRST, &world.who, world.claim, Some(&binary), LIMIT)
        .await;
    assert_eq!(shown(&opened.unwrap_err()), "lacks");
    world.done().await;
}

#[tokio::test]
async fn a_chunk_that_fails_ends_the_message() {
    let script = &[
        CHUNKING,
        MAIL,
        RCPT,
        "
        C: BDAT 3
        C: a
        S: 452 4.3.1 full
        C: RSET
        S: 250 reset",
        MAIL,
        RCPT,
        "eof",
    ];
    let mut world = ready(script).await;
    assert_eq!(world.chunk(FIRST, b"a\r\n").await, "452 4.3.1 full");
    assert_eq!(
        world.chunk(LAST, b"b\r\n").await,
        "not opened: closed",
        "no second half"
    );
    assert_eq!(
        world.rcpt(&envelope(2, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.done().await;
}

#[tokio::test]
async fn a_lost_connection_is_told_by_when_it_was_lost() {
    for (end, chunk, expected) in [
        ("close", FIRST, "Lost { trouble: Closed, after_dot: false }"),
        (
            "S: 421 bye\nclose",
            FIRST,
            "Lost { trouble: Closed, after_dot: false }",
        ),
        (
            "S: 354 what\neof",
            FIRST,
            "Lost { trouble: Garbage, after_dot: false }",
        ),
        ("close", ONLY, "Lost { trouble: Closed, after_dot: true }"),
        ("S: 421 4.3.2 bye\nclose", ONLY, "451 4.3.0 4.3.2 bye"),
        (
            "S: 354 what\neof",
            ONLY,
            "Lost { trouble: Garbage, after_dot: true }",
        ),
    ] {
        let line = if chunk.last {
            "C: BDAT 3 LAST\nC: a\n"
        } else {
            "C: BDAT 3\nC: a\n"
        };
        let mut world = ready(&[CHUNKING, MAIL, RCPT, line, end]).await;
        let found = world.chunk(chunk, b"a\r\n").await;
        assert!(
            found == expected || (expected.starts_with("451") && found.starts_with("451")),
            "{end}: {found}"
        );
        assert!(!world.link.is_connected());
        world.done().await;
    }
}

#[tokio::test]
async fn giving_up_closes_without_a_word() {
    let script = &[
        CHUNKING,
        MAIL,
        RCPT,
        "
        C: BDAT 3
        C: a
        S: 250 ok
        eof",
    ];
    let mut world = ready(script).await;
    assert_eq!(world.chunk(FIRST, b"a\r\n").await, "250 ok");
    world.link.abort_message();
    assert!(!world.link.is_connected());
    world.done().await;
}

/// What came before a chunk is no answer to it: not even a yes.
#[tokio::test]
async fn what_nobody_asked_for_is_no_reply_to_the_next_chunk() {
    for (stray, early) in [
        ("250 2.0.0 queued as 4XY", None),
        ("421 4.4.2 timeout", None),
        ("452 4.3.1 full", Some("452 4.3.1 full")),
    ] {
        let first = format!("C: BDAT 3\nC: .\nS: 250 2.0.0 3 octets|{stray}\neof");
        let mut world = ready(&[CHUNKING, MAIL, RCPT, &first]).await;
        assert_eq!(world.chunk(FIRST, b".\r\n").await, "250 2.0.0 3 octets");
        assert_eq!(world.chunk(LAST, b"b\r\n").await, "Trouble(Closed)");
        let reply = world.link.early_reply().await;
        assert_eq!(reply.map(|reply| reply.to_log()).as_deref(), early);
        world.link.abort();
        world.done().await;
    }
    let first = "C: BDAT 3\nC: .\nS: 250 2.0.0 3 octets|250 2.0.0 queued as 4XY\neof";
    let mut world = ready(&[CHUNKING, MAIL, RCPT, first]).await;
    world.chunk(FIRST, b".\r\n").await;
    assert_eq!(
        world.chunk(chunk(0, false, true), b"").await,
        "Lost { trouble: Closed, after_dot: false }"
    );
    world.done().await;
}
