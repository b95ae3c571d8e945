//! Who is held, or was: nothing that it says or does gets lost, and nobody else waits for it.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tarpit_gateway::config::ListenerTls;

use crate::client::{Client, run};
use crate::stage::Stage;

/// It was held for a command that there is not, has heard why, and may go on.
fn held_once(client: &mut Client) {
    client.expect("220");
    client.ask("EHLO a.example", "250");
    client.ask("NONSENSE", "500");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farewell_in_a_hold_is_heard_behind_what_was_said() {
    let stage = Stage::set(ListenerTls::Off, |_| ()).await;
    let address = stage.address();
    let client = run(move || {
        let mut client = Client::connect(address);
        held_once(&mut client);
        client.send(b"NONSENSE\r\n");
        client.send(b"NOOP\r\n");
        client.leave(Shutdown::Write);
        client.expect("500");
        client.expect("250");
        assert_eq!(client.rest(), b"");
        client.address
    })
    .await;
    assert_eq!(stage.session(client).await["end"], "hang_up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farewell_that_comes_together_with_a_command_is_heard() {
    let stage = Stage::set(ListenerTls::Off, |_| ()).await;
    let address = stage.address();
    let clients = run(move || {
        [&b"NOOP\r\n"[..], b"NONSENSE\r\n"].map(|last| {
            let mut client = Client::connect(address);
            held_once(&mut client);
            // Both go in one packet.
            client.cork();
            client.send(last);
            client.leave(Shutdown::Write);
            assert_eq!(client.reply().get(3..4), Some(" "));
            assert_eq!(client.rest(), b"");
            client.address
        })
    })
    .await;
    for client in clients {
        assert_eq!(stage.session(client).await["end"], "hang_up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_end_lets_others_have_their_turn() {
    let stage = Stage::set(ListenerTls::Off, |_| ()).await;
    let address = stage.address();
    run(move || {
        let mut endless = Client::connect(address);
        held_once(&mut endless);
        let is_over = Arc::new(AtomicBool::new(false));
        let sender = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                let junk = vec![b'x'; 256 * 1024];
                while !is_over.load(Ordering::Relaxed) && endless.try_send(&junk) {}
            }
        });
        // There may be several lanes; some of these are in the same.
        let mut others: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
        for other in &mut others {
            other.expect("220");
            other.send(b"NONSENSE\r\n");
        }
        let replies: Vec<String> = others.iter_mut().map(Client::reply).collect();
        is_over.store(true, Ordering::Relaxed);
        sender.join().unwrap();
        assert!(
            replies.iter().all(|reply| reply.starts_with("500")),
            "{replies:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_end_are_slowed() {
    const COMMANDS: usize = 1024 + 4 * 32;
    let stage = Stage::set(ListenerTls::Off, |_| ()).await;
    let address = stage.address();
    run(move || {
        let mut client = Client::connect(address);
        held_once(&mut client);
        let started = Instant::now();
        client.send(&b"NOOP\r\n".repeat(COMMANDS));
        for _ in 0..COMMANDS {
            client.expect("250");
        }
        client.ask("QUIT", "221");
        assert!(started.elapsed() >= Duration::from_millis(200));
    })
    .await;
}

/// What it may do was a matter of its listener; another one may allow more.
#[tokio::test(flavor = "multi_thread")]
async fn who_came_by_a_listener_that_is_gone_is_shown_out() {
    let stage = Stage::set(ListenerTls::Off, |config| {
        let mut other = config.listeners[0].clone();
        other.name = "other".into();
        config.listeners.push(other);
    })
    .await;
    let other = stage
        .gateway
        .addresses()
        .into_iter()
        .find(|(name, _)| **name == *"other");
    let address = other.unwrap().1;
    let mut client = run(move || {
        let mut client = Client::connect(address);
        held_once(&mut client);
        client.ask("MAIL FROM:<>", "250");
        client
    })
    .await;
    let mut config = stage.config.clone();
    config.listeners.pop();
    for reload in ["first", "second"] {
        config.hostname = format!("{reload}.example.org").into();
        stage.gateway.handle().reload(config.clone()).await.unwrap();
        client = run(move || {
            client.ask("NOOP", if reload == "first" { "250" } else { "421" });
            client
        })
        .await;
    }
    assert_eq!(stage.session(client.address).await["end"], "drained");
}

/// Those who are let go in numbers take no places from those who come.
#[tokio::test(flavor = "multi_thread")]
async fn a_pit_that_is_emptied_takes_no_place_from_mail() {
    const HELD: usize = 60;
    let stage = Stage::set(ListenerTls::Off, |config| {
        config.listeners[0].policy.delay = Duration::from_secs(60);
        config.listeners[0].policy.hold_max = Duration::from_secs(60);
    })
    .await;
    let address = stage.address();
    let mut held = run(move || {
        let mut held: Vec<Client> = (0..HELD).map(|_| Client::connect(address)).collect();
        for client in &mut held {
            client.expect("220");
            // What comes behind is not read: a connection that is closed with it is reset.
            client.send(b"NONSENSE\r\nNOOP\r\n");
        }
        held
    })
    .await;
    let mut config = stage.config.clone();
    config.limits.sessions_max = 5;
    config.limits.pit_sessions_max = 1;
    stage.gateway.handle().reload(config).await.unwrap();
    run(move || {
        for client in &mut held {
            client.expect("421");
        }
        let mut mail = Client::connect(address);
        mail.expect("220");
    })
    .await;
}

/// What TLS has decrypted of a record waits with the session, and nothing tells that it is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_one_record_is_answered_in_turn() {
    let stage = Stage::set(ListenerTls::Implicit, |_| ()).await;
    let address = stage.address();
    let client = run(move || {
        let mut client = Client::connect(address);
        client.secure().unwrap();
        client.expect("220");
        let started = Instant::now();
        let mut commands = b"NONSENSE\r\n".to_vec();
        commands.extend(b"NOOP\r\n".repeat(200));
        commands.extend(b"NONSENSE\r\nQUIT\r\n");
        client.send(&commands);
        client.expect("500");
        for _ in 0..200 {
            client.expect("250");
        }
        client.expect("500");
        assert!(started.elapsed() >= Duration::from_millis(600));
        client.expect("221");
        assert_eq!(client.rest(), b"");
        client.address
    })
    .await;
    let record = stage.session(client).await;
    assert_eq!((&*record["end"], &*record["holds"]), ("quit", "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_resets_is_written_down_once_and_leaves_no_count() {
    let stage = Stage::set(ListenerTls::Off, |config| {
        config.listeners[0].policy.delay = Duration::from_secs(60);
        config.listeners[0].policy.hold_max = Duration::from_secs(60);
    })
    .await;
    let address = stage.address();
    let clients = run(move || {
        let clients: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
        let addresses: Vec<_> = clients.iter().map(|client| client.address).collect();
        for mut client in clients {
            client.expect("220");
            client.ask("EHLO a.example", "250");
            client.send(b"NONSENSE\r\nNOOP\r\n");
            client.reset();
        }
        addresses
    })
    .await;
    for client in clients {
        let record = stage.session(client).await;
        assert!(record["end"].starts_with("hang_up"), "{record:?}");
    }
    // It ends as soon as there is no session left.
    stage.gateway.handle().drain();
    let ended = tokio::time::timeout(crate::stage::LATE / 2, stage.gateway.wait()).await;
    assert!(ended.is_ok());
}

/// A session is kept in few octets, whatever its proxy says of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_much_to_say_about_tls_is_held_as_others() {
    let tlv = |kind: u8, value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[kind, length[0], length[1]], value].concat()
    };
    let version = tlv(0x21, b"TLSv1.3");
    let cipher = tlv(0x23, "Ü".repeat(500).as_bytes());
    let tls = tlv(0x20, &[&[1, 0, 0, 0, 0][..], &version, &cipher].concat());
    let addresses = [127, 0, 0, 9, 127, 0, 0, 1, 100, 0, 0, 25];
    let length = u16::try_from(addresses.len() + tls.len()).unwrap();
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
    let header = [&start[..], &length.to_be_bytes(), &addresses, &tls].concat();
    let stage = Stage::set(ListenerTls::Off, |config| {
        config.listeners[0].proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let address = stage.address();
    run(move || {
        let mut client = Client::connect(address);
        client.send(&header);
        held_once(&mut client);
        client.ask("QUIT", "221");
    })
    .await;
    let record = stage.session("127.0.0.9:25600".parse().unwrap()).await;
    assert!(record["proxy_tls"].contains("TLSv1.3"), "{record:?}");
}
