//! The line to the maildir as a session uses it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use tarpit_core::Recipient;
use tarpit_smtp::Extensions;

use super::*;

struct Setup {
    root: TempDir,
    store: Arc<MaildirStore>,
}

fn setup() -> Setup {
    let root = tempfile::tempdir().unwrap();
    let recipients = [
        "alice@example.test",
        "bob@example.test",
        "carol@example.org",
    ]
    .map(Into::into);
    let config = config::Maildir {
        root: root.path().join("mail"),
        recipients: recipients.into(),
        size_max: 200_000,
    };
    let store = MaildirStore::new(config, "mx.example.test".into()).unwrap();
    Setup { root, store }
}

impl Setup {
    fn link(&self) -> MaildirLink {
        MaildirLink::new(Arc::clone(&self.store))
    }

    /// What is in a recipient's `new`.
    fn mail(&self, recipient: &str) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.store.path_of(recipient).join("new")) else {
            return Vec::new();
        };
        entries
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect()
    }

    /// How many files there are, whatever their place.
    fn files(&self) -> usize {
        count_files(self.root.path())
    }
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { count_files(&path) } else { 1 })
        .sum()
}

fn who() -> ClientIdentity {
    ClientIdentity {
        address: "127.0.0.9:1025".parse().unwrap(),
        local: "127.0.0.1:25".parse().unwrap(),
        helo: Some("client.example.org".into()),
        esmtp: true,
        secured: false,
        name: None,
    }
}

fn envelope(accepted: &[&str]) -> Envelope {
    Envelope {
        serial: 1,
        reverse_path: "sender@example.org".into(),
        size: None,
        params: Box::default(),
        uses: Extensions::new(),
        binary: false,
        accepted: accepted
            .iter()
            .map(|&path| Recipient::plain(path))
            .collect(),
    }
}

async fn ask(link: &mut MaildirLink, ask: Ask, envelope: &Envelope) -> String {
    match link.ask(&ask, &who(), Some(envelope)).await {
        Answer::Reply(reply) => reply.to_log(),
        other => panic!("{other:?}"),
    }
}

/// DATA, the chunks, and the end.
async fn send(link: &mut MaildirLink, accepted: &[&str], chunks: &[&[u8]]) -> String {
    let answer = ask(link, Ask::Data, &envelope(accepted)).await;
    assert!(answer.starts_with("354 "), "{answer}");
    let (tail, chunks) = chunks.split_last().unwrap();
    for chunk in chunks {
        link.send_data(chunk).await.unwrap();
    }
    link.end_of_data(tail).await.to_log()
}

/// What follows the header fields that we add.
fn body(message: &[u8]) -> &[u8] {
    let end = b" +0000\r\n";
    let at = message
        .windows(end.len())
        .position(|window| window == end)
        .unwrap();
    &message[at + end.len()..]
}

#[tokio::test]
async fn knows_who_exists() {
    let setup = setup();
    let mut link = setup.link();
    for (path, expect) in [
        ("alice@example.test", "250 2.1.5"),
        ("ALICE@Example.TEST", "250 2.1.5"),
        ("\"alice\"@example.test", "250 2.1.5"),
        ("Postmaster", "250 2.1.5"),
        ("postmaster@example.org", "250 2.1.5"),
        ("postmaster@example.net", "550 5.1.1"),
        ("alice@example.org", "550 5.1.1"),
        ("nobody@example.test", "550 5.1.1"),
        ("../alice@example.test", "550 5.1.1"),
        ("alice", "550 5.1.1"),
    ] {
        let answer = ask(&mut link, Ask::Rcpt(Recipient::plain(path)), &envelope(&[])).await;
        assert!(answer.starts_with(expect), "{path}: {answer}");
    }
    assert_eq!(setup.files(), 0);
}

#[tokio::test]
async fn answers_what_it_has_not() {
    let setup = setup();
    let mut link = setup.link();
    let auth = Ask::Auth {
        mechanism: "PLAIN",
        initial: None,
    };
    assert!(
        ask(&mut link, auth, &envelope(&[]))
            .await
            .starts_with("503 5.5.1")
    );
    assert!(
        ask(&mut link, Ask::Data, &envelope(&[]))
            .await
            .starts_with("503 5.5.1")
    );
    assert_eq!(link.send_data(b"x").await, Err(Trouble::Closed));
    assert_eq!(link.end_of_data(b"x").await.code().get(), 503);
}

#[tokio::test]
async fn keeps_every_octet() {
    let setup = setup();
    let chunks: [&[u8]; 5] = [
        b"Subject: x\r\n\r\n..one\r\n.",
        b".",
        b"\r\n...three\r\n\xE4\0\r",
        b"\n",
        b"..end\r\n",
    ];
    let answer = send(&mut setup.link(), &["alice@example.test"], &chunks).await;
    assert!(answer.starts_with("250 2.0.0 Ok: stored as "), "{answer}");
    let mail = setup.mail("alice@example.test");
    assert_eq!(mail.len(), 1);
    assert_eq!(
        body(&mail[0]),
        b"Subject: x\r\n\r\n.one\r\n.\r\n..three\r\n\xE4\0\r\n.end\r\n"
    );
    let head = String::from_utf8_lossy(&mail[0]).into_owned();
    let expect = "Return-Path: <sender@example.org>\r\nDelivered-To: alice@example.test\r\n\
                  Received: from client.example.org ([127.0.0.9])\r\n\tby mx.example.test with ESMTP id ";
    assert!(head.starts_with(expect), "{head}");
    let unique = answer.rsplit(' ').next().unwrap();
    assert!(
        setup
            .store
            .path_of("alice@example.test")
            .join("new")
            .join(unique)
            .is_file(),
        "{answer}"
    );
    assert_eq!(setup.files(), 1);
}

#[tokio::test]
async fn a_body_larger_than_memory_is_the_same_in_every_mailbox() {
    let setup = setup();
    let line = b"0123456789abcdefghijklmnopqrstuvwxyz 0123456789\r\n";
    let large = line.repeat(190_000 / line.len());
    let answer = send(
        &mut setup.link(),
        &["alice@example.test", "carol@example.org"],
        &[&large, line],
    )
    .await;
    assert!(answer.starts_with("250 "), "{answer}");
    let expect = [&large[..], line].concat();
    for recipient in ["alice@example.test", "carol@example.org"] {
        let mail = setup.mail(recipient);
        assert!(body(&mail[0]) == expect, "{recipient}");
        let head = String::from_utf8_lossy(&mail[0][..200]).into_owned();
        assert!(
            head.contains(&format!("Delivered-To: {recipient}\r\n")) && !head.contains("\tfor <"),
            "{head}"
        );
    }
    assert_eq!(setup.files(), 2);
}

#[tokio::test]
async fn two_paths_to_one_mailbox_make_one_copy() {
    let setup = setup();
    let paths = ["alice@example.test", "ALICE@example.test", "postmaster"];
    assert!(
        send(&mut setup.link(), &paths, &[b"x\r\n"])
            .await
            .starts_with("250 ")
    );
    assert_eq!(
        (setup.mail("alice@example.test").len(), setup.files()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_at_its_end() {
    let setup = setup();
    let mut link = setup.link();
    // Dots that were doubled in transit don't count: exactly at the limit, then one over it.
    let fits = [b"..", &b"x".repeat(199_997)[..], b"\r\n"].concat();
    assert!(
        send(&mut link, &["alice@example.test"], &[&fits])
            .await
            .starts_with("250 ")
    );
    let over = [&fits[..199_000], b"xxx\r\n", &fits[199_000..]].concat();
    let answer = send(&mut link, &["alice@example.test"], &[&over, b"more\r\n"]).await;
    assert!(
        answer.starts_with("552 5.3.4") && answer.contains("200000"),
        "{answer}"
    );
    assert_eq!(setup.files(), 1);
    // The session goes on.
    assert!(
        send(&mut link, &["alice@example.test"], &[b"x\r\n"])
            .await
            .starts_with("250 ")
    );
}

#[tokio::test]
async fn one_mailbox_that_fails_fails_all() {
    let setup = setup();
    let broken = setup.store.path_of("bob@example.test");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("new"), "in the way").unwrap();
    let paths = [
        "alice@example.test",
        "bob@example.test",
        "carol@example.org",
    ];
    let answer = send(&mut setup.link(), &paths, &[b"x\r\n"]).await;
    assert!(answer.starts_with("452 4.3.1"), "{answer}");
    assert_eq!(setup.files(), 1, "only the file in the way");
    assert!(
        send(&mut setup.link(), &["alice@example.test"], &[b"x\r\n"])
            .await
            .starts_with("250 ")
    );
}

#[tokio::test]
async fn a_spool_that_fails_is_answered_at_the_end() {
    let setup = setup();
    fs::remove_dir(setup.root.path().join("mail")).unwrap();
    let block = b"x".repeat(spool::MEMORY_MAX);
    let answer = send(
        &mut setup.link(),
        &["alice@example.test"],
        &[&block, &block, b"\r\n"],
    )
    .await;
    assert!(answer.starts_with("452 4.3.1"), "{answer}");
    assert_eq!(setup.files(), 0);
}

#[tokio::test]
async fn an_abort_leaves_nothing() {
    let setup = setup();
    let mut link = setup.link();
    assert!(
        ask(&mut link, Ask::Data, &envelope(&["alice@example.test"]))
            .await
            .starts_with("354 ")
    );
    link.send_data(&b"x".repeat(spool::MEMORY_MAX + 1))
        .await
        .unwrap();
    link.abort();
    assert_eq!(link.send_data(b"y").await, Err(Trouble::Closed));
    assert_eq!(setup.files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_at_once_have_names_of_their_own() {
    let setup = setup();
    let sends = (0..50).map(|_| {
        let mut link = setup.link();
        tokio::spawn(async move {
            send(
                &mut link,
                &["alice@example.test", "bob@example.test"],
                &[b"x\r\n"],
            )
            .await
        })
    });
    for one in sends.collect::<Vec<_>>() {
        let answer = one.await.unwrap();
        assert!(answer.starts_with("250 "), "{answer}");
    }
    assert_eq!(
        (
            setup.mail("alice@example.test").len(),
            setup.mail("bob@example.test").len()
        ),
        (50, 50)
    );
    assert_eq!(setup.files(), 100);
}

#[test]
fn a_name_that_makes_no_folder_is_refused_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let recipient = format!("{}@example.test", "a".repeat(300));
    let config = config::Maildir {
        root: root.path().into(),
        recipients: vec![recipient.into()],
        size_max: 1,
    };
    let error = MaildirStore::new(config, "mx".into()).unwrap_err();
    assert!(error.to_string().contains("313 octets"), "{error}");
}

#[test]
fn paths_stay_below_the_root() {
    let setup = setup();
    let path = setup.store.path_of("../../etc/passwd\0@x");
    assert_eq!(
        path.parent(),
        Some(setup.root.path().join("mail").as_path())
    );
}
