//! DATA in one write with the recipient: whatever the upstream makes of it, nothing is sent that
//! the client has not said, and nothing is delivered that it was not told of.

use super::*;

const PIPELINING: &str = "
    S: 220 up
    C: EHLO gw.example
    S: 250-up|250 PIPELINING
";

/// All three are heard before any is answered.
const GROUP: &str = "
    C: MAIL FROM:<s@example.org>
    C: RCPT TO:<a@x.example>
    C: DATA
";

const BODY: &str = "
    C: hello
    C: .
    S: 250 taken
";

impl World {
    /// RCPT of a client that has said DATA behind it.
    async fn rcpt_and_data(&mut self, serial: u32) -> String {
        self.link.expect_data();
        self.rcpt(&envelope(serial, &[]), "a@x.example").await
    }

    async fn body(&mut self) -> String {
        ended(self.link.end_of_data([b"", b"hello\r\n"], LIMIT).await)
    }
}

#[tokio::test]
async fn one_write_and_messages_in_a_row() {
    let script = &[
        PIPELINING,
        GROUP,
        "S: 250 sender ok|250 a ok|354 go",
        BODY,
        GROUP,
        "S: 250 sender ok|250 a ok|354 go",
        BODY,
        "eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    for serial in [1, 2] {
        assert_eq!(world.rcpt_and_data(serial).await, "250 a ok");
        assert_eq!(
            world.data(&envelope(serial, &["a@x.example"])).await,
            "354 go"
        );
        assert_eq!(world.body().await, "250 taken");
    }
    world.done().await;
}

/// The answer about the recipient does not wait for the one to DATA.
#[tokio::test]
async fn the_recipient_is_answered_first() {
    let script = &[
        PIPELINING,
        GROUP,
        "S: 250 sender ok|250 a ok
        wait
        S: 354 go",
        BODY,
        "eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(world.rcpt_and_data(1).await, "250 a ok");
    world.server.go();
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "354 go");
    assert_eq!(world.body().await, "250 taken");
    world.done().await;
}

#[tokio::test]
async fn a_refused_recipient_and_a_refused_data() {
    let script = &[
        PIPELINING,
        GROUP,
        "S: 250 sender ok|550 5.1.1 no a|554 5.5.1 no valid recipients
        C: RSET
        C: MAIL FROM:<s@example.org>
        C: RCPT TO:<b@x.example>
        S: 250 reset|250 sender ok|250 b ok
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(world.rcpt_and_data(1).await, "550 5.1.1 no a");
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "b@x.example").await,
        "250 b ok"
    );
    world.done().await;
}

/// RFC 2920 §3.1 knows of servers that take data for nobody; a dot would end a message for nobody,
/// or for whom they please.
#[tokio::test]
async fn data_for_nobody_is_left_without_a_dot() {
    let refusals = [
        (
            "S: 250 sender ok|550 5.1.1 no a|354 go\neof",
            "550 5.1.1 no a",
        ),
        (
            "S: 250 sender ok|450 4.2.0 later|354 go\neof",
            "450 4.2.0 later",
        ),
        (
            "S: 550 5.7.1 no sender|503 5.5.1 no|354 go\neof",
            "sender: 550 5.7.1 no sender",
        ),
        // Nonsense in place of a refusal is not believed either.
        (
            "S: 250 sender ok|550 5.1.1 no a|250 ok\neof",
            "550 5.1.1 no a",
        ),
    ];
    for (answers, shown) in refusals {
        let first = &[PIPELINING, GROUP, answers];
        let second = &[
            PIPELINING,
            "
            C: MAIL FROM:<s@example.org>
            C: RCPT TO:<b@x.example>
            S: 250 sender ok|250 b ok
            eof",
        ];
        let mut world = World::new(Identity::None, &[first, second]).await;
        assert_eq!(world.rcpt_and_data(1).await, shown);
        assert!(!world.link.is_connected(), "{answers}");
        let next = world.rcpt(&envelope(2, &[]), "b@x.example").await;
        assert_eq!(next, "250 b ok");
        world.done().await;
    }
}

/// What died before data was sent is said again: no message can be there.
#[tokio::test]
async fn a_connection_that_ends_at_data_is_replaced() {
    for end in ["close", "S: 421 4.3.2 bye\neof"] {
        let first = &[PIPELINING, GROUP, "S: 250 sender ok|250 a ok\n", end];
        let second = &[
            PIPELINING,
            "
            C: MAIL FROM:<s@example.org>
            C: RCPT TO:<a@x.example>
            S: 250 sender ok|250 a ok
            C: DATA
            S: 354 go",
            BODY,
            "eof",
        ];
        let mut world = World::new(Identity::None, &[first, second]).await;
        assert_eq!(world.rcpt_and_data(1).await, "250 a ok");
        assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "354 go");
        assert_eq!(world.body().await, "250 taken");
        world.done().await;
    }
}

#[tokio::test]
async fn a_refusal_of_data_alone_reaches_the_client() {
    let script = &[
        PIPELINING,
        GROUP,
        "S: 250 sender ok|250 a ok|451 4.3.0 not now
        C: RSET
        C: MAIL FROM:<s@example.org>
        C: RCPT TO:<b@x.example>
        S: 250 reset|250 sender ok|250 b ok
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(world.rcpt_and_data(1).await, "250 a ok");
    let refused = world.data(&envelope(1, &["a@x.example"])).await;
    assert_eq!(refused, "451 4.3.0 not now");
    let next = world.rcpt(&envelope(2, &[]), "b@x.example").await;
    assert_eq!(next, "250 b ok");
    world.done().await;
}

/// A client of which something else comes after all: the 354 that is on its way ends with its
/// connection, and no dot.
#[tokio::test]
async fn another_command_than_data() {
    let first = &[PIPELINING, GROUP, "S: 250 sender ok|250 a ok|354 go\neof"];
    let second = &[
        PIPELINING,
        "
        C: MAIL FROM:<s@example.org>
        C: RCPT TO:<b@x.example>
        S: 250 sender ok|250 b ok
        eof",
    ];
    let mut world = World::new(Identity::None, &[first, second]).await;
    assert_eq!(world.rcpt_and_data(1).await, "250 a ok");
    let next = world.rcpt(&envelope(2, &[]), "b@x.example").await;
    assert_eq!(next, "250 b ok");
    world.done().await;
}

#[tokio::test]
async fn held_idle_or_gone_it_is_closed_at_once() {
    for leave in [
        UpstreamLink::let_go,
        UpstreamLink::close,
        UpstreamLink::abort,
    ] {
        let script = &[PIPELINING, GROUP, "S: 250 sender ok|250 a ok|354 go\neof"];
        let mut world = World::new(Identity::None, &[script]).await;
        assert_eq!(world.rcpt_and_data(1).await, "250 a ok");
        leave(&mut world.link);
        closed(&world.upstream).await;
        world.done().await;
    }
}

/// Where a refusal would leave a recipient behind, or the server does not know of groups.
#[tokio::test]
async fn data_waits_for_its_turn_elsewhere() {
    let earlier = &[
        PIPELINING,
        "
        C: MAIL FROM:<s@example.org>
        C: RCPT TO:<b@x.example>
        C: RCPT TO:<a@x.example>
        S: 250 sender ok|250 b ok|250 a ok
        C: DATA
        S: 354 go
        eof",
    ];
    let mut world = World::new(Identity::None, &[earlier]).await;
    world.link.expect_data();
    let one = envelope(1, &["b@x.example"]);
    assert_eq!(world.rcpt(&one, "a@x.example").await, "250 a ok");
    let both = envelope(1, &["b@x.example", "a@x.example"]);
    assert_eq!(world.data(&both).await, "354 go");
    world.done().await;

    let bare = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: DATA
        S: 354 go
        eof",
    ];
    let mut world = World::new(Identity::None, &[bare]).await;
    assert_eq!(world.rcpt_and_data(1).await, "250 a ok");
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "354 go");
    world.done().await;

    // Said for one recipient, it holds for no other.
    let refused = &[
        PIPELINING,
        GROUP,
        "S: 550 no|503 no|554 no
        C: RSET
        C: MAIL FROM:<s@example.org>
        C: RCPT TO:<a@x.example>
        S: 250 reset|250 sender ok|250 a ok
        eof",
    ];
    let mut world = World::new(Identity::None, &[refused]).await;
    assert_eq!(world.rcpt_and_data(1).await, "sender: 550 no");
    assert_eq!(world.rcpt_and_data(1).await, "sender: 550 no");
    let next = world.rcpt(&envelope(2, &[]), "a@x.example").await;
    assert_eq!(next, "250 a ok");
    world.done().await;
}
