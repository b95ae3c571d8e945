//! STARTTLS towards the upstream, and what is injected behind its 220.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::dial::dial;
use super::*;
use crate::config::UpstreamTls;

const LIMIT: Duration = Duration::from_secs(10);

/// A connection to a server that has greeted, and its other end.
async fn greeted() -> (Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = Arc::default();
    let (dialled, accepted) = tokio::join!(dial(address, None, LIMIT, &own), listener.accept());
    let ((stream, near_end), mut server) = (dialled.unwrap(), accepted.unwrap().0);
    let mut wire = Wire::new(stream, near_end);
    server.write_all(b"220 up\r\n").await.unwrap();
    wire.reply(LIMIT).await.unwrap();
    (wire, server)
}

fn opportunistic() -> ClientTls {
    ClientTls::new(&UpstreamTls::Opportunistic)
        .unwrap()
        .unwrap()
}

/// The server says this to STARTTLS.
async fn ask(wire: &mut Wire, server: &mut TcpStream, said: &[u8]) {
    let answer = async {
        let mut line = [0; 10];
        server.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"STARTTLS\r\n");
        server.write_all(said).await.unwrap();
    };
    let (reply, ()) = tokio::join!(wire.command(b"STARTTLS\r\n", LIMIT), answer);
    assert_eq!(reply.unwrap().code().get(), 220);
}

#[tokio::test]
async fn replies_behind_the_220_are_no_replies() {
    for injected in ["250-up\r\n250 AUTH PLAIN\r\n", "250 hal", "\r\n"] {
        let (mut wire, mut server) = greeted().await;
        ask(
            &mut wire,
            &mut server,
            format!("220 go\r\n{injected}").as_bytes(),
        )
        .await;
        let failure = wire.start_tls(&opportunistic(), LIMIT).await.unwrap_err();
        assert_eq!(failure.as_str(), "injected", "{injected:?}");
        // Not a single octet of ours: there is nobody to speak TLS with.
        drop(wire);
        let mut heard = Vec::new();
        let _ = server.read_to_end(&mut heard).await;
        assert!(heard.is_empty(), "{heard:?}");
    }
}

#[tokio::test]
async fn replies_that_come_later_are_no_tls() {
    let (mut wire, mut server) = greeted().await;
    ask(&mut wire, &mut server, b"220 go\r\n").await;
    server
        .write_all(b"250-up\r\n250 AUTH PLAIN\r\n")
        .await
        .unwrap();
    let failure = wire.start_tls(&opportunistic(), LIMIT).await.unwrap_err();
    assert_eq!(failure.as_str(), "no_tls");
}

#[tokio::test]
async fn a_command_that_waits_for_its_reply_is_in_the_way() {
    let (mut wire, _server) = greeted().await;
    wire.send(b"STARTTLS\r\n", 1).await.unwrap();
    let failure = wire.start_tls(&opportunistic(), LIMIT).await.unwrap_err();
    assert_eq!(failure.as_str(), "injected");
}
