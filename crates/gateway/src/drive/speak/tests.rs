//! Clients that do not read: in virtual time where a minute has to pass, and as sessions of a whole
//! gateway.

use socket2::{Domain, SockRef, Socket, Type};
use tarpit_core::Trouble;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::*;
use crate::scene::{House, Server, until};

const GRACE: Duration = Duration::from_secs(5);

/// Far more than two small buffers take.
const TEXT: usize = 1_000_000;

/// A connection with both buffers full, what was said on it, and what is left to be said.
struct Scene {
    client: TcpStream,
    stream: Stream,
    said: Vec<u8>,
    unsent: Vec<u8>,
    half_closed: bool,
    is_deaf: bool,
    stop: watch::Sender<Stop>,
}

impl Scene {
    async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let client = client.await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
        SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
        let said: Vec<u8> = (0..TEXT).map(|at| at.to_le_bytes()[at % 3]).collect();
        let mut scene = Self {
            client,
            stream: Stream::plain(ours),
            unsent: said.clone(),
            said,
            half_closed: false,
            is_deaf: false,
            stop: watch::Sender::new(Stop::No),
        };
        let sent = scene.stream.send(&mut scene.unsent);
        let sent = timeout(Duration::from_secs(1), sent).await;
        assert!(sent.is_err() && !scene.unsent.is_empty(), "{sent:?}");
        scene
    }

    /// An answer that takes so long, and how long it was waited for.
    async fn ask(&mut self, takes: Duration) -> (Asked, Duration) {
        let watch = Watch {
            stop: self.stop.subscribe(),
            grace: GRACE,
            stream: &mut self.stream,
            unsent: &mut self.unsent,
            half_closed: &mut self.half_closed,
            is_deaf: &mut self.is_deaf,
        };
        let question = std::pin::pin!(async move {
            sleep(takes).await;
            Answer::Trouble(Trouble::TimedOut)
        });
        let began = Instant::now();
        (watch.ask(question).await, began.elapsed())
    }
}

/// The timer's own grain.
const SOON: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_wait_for_a_client_that_does_not_read() {
    let mut scene = Scene::set().await;
    let takes = Duration::from_secs(30);
    let (asked, took) = scene.ask(takes).await;
    assert!(matches!(asked, Asked::Answer(_)) && !scene.is_deaf);
    assert!(took < takes + SOON, "{took:?}");
    // And when it reads again, nothing is missing or said twice.
    let mut heard = vec![0; TEXT];
    let hear = scene.client.read_exact(&mut heard);
    let (sent, read) = tokio::join!(scene.stream.send(&mut scene.unsent), hear);
    assert_eq!((sent.unwrap(), read.unwrap()), ((), TEXT));
    assert!(heard == scene.said);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_for_long_is_gone() {
    let mut scene = Scene::set().await;
    let (asked, took) = scene.ask(Duration::from_secs(3600)).await;
    assert!(matches!(asked, Asked::Gone) && scene.is_deaf);
    assert!(took < WRITE_TIMEOUT + GRACE + SOON, "{took:?}");
    // An answer that comes soon after is still heard, but the client will not hear of it.
    let mut scene = Scene::set().await;
    let (asked, _) = scene.ask(WRITE_TIMEOUT + GRACE / 2).await;
    assert!(matches!(asked, Asked::Answer(_)) && scene.is_deaf);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_drain_is_heard_while_something_is_due() {
    let mut scene = Scene::set().await;
    scene.stop.send_replace(Stop::Now);
    let (asked, took) = scene.ask(Duration::from_secs(3600)).await;
    assert!(matches!(asked, Asked::Stopped) && took < SOON, "{took:?}");
}

/// DESIGN promise 2, for sessions that are neither held nor idle: their replies are due, and stay it.
#[tokio::test]
async fn who_does_not_read_keeps_no_upstream_connection() {
    let server = Server::start().await;
    let house = House::with(|config| {
        config.deliveries = vec![server.delivery(Duration::from_millis(100))];
        config.listeners[0].policy.recipients_max = 100_000;
    })
    .await;
    let shared = house.shared();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    // The system gives a connection with large segments megabytes to send from.
    socket.set_tcp_mss(536).unwrap();
    let address = house.gateway.addresses()[0].1;
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut client = TcpStream::from_std(socket.into()).unwrap();
    let talking = tokio::spawn(async move {
        let begin = b"HELO client.example.net\r\nMAIL FROM:<s@example.net>\r\n";
        let mut said = client.write_all(begin).await;
        while said.is_ok() {
            said = client.write_all(b"RCPT TO:<user@example.org>\r\n").await;
        }
    });
    until("it asked for nothing", || server.busy() == 1).await;
    until("it keeps its connection", || server.busy() == 0).await;
    assert_eq!(shared.places.active(), 1, "it should be there still");
    talking.abort();
    assert!(talking.await.is_err_and(|error| error.is_cancelled()));
    crate::scene::empty(&shared).await;
}
