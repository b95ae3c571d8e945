//! The page and the figures under abuse, all of it at once: a thousand who ask for events and do not
//! read, and others who guess the token, come by a foreign name, or ask for too much.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{page_of, wait_for};

use super::Stage;
use super::crowd::{Crowd, Flood, Sources};

const TOKEN: &str = "the token of this test";

/// Who look at once: `SUBSCRIBERS_MAX` of the page.
const PLACES: usize = 16;

/// What strangers say, each in turn.
fn wrong() -> [String; 4] {
    let (guess, long) = ("the token of this tesT", "x".repeat(100_000));
    [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {guess}\r\n\r\n"),
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        format!(
            "GET /events HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        ),
        format!("GET /v1/explain?of={long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ]
}

/// What they were answered.
#[derive(Default)]
struct Answers {
    refused: AtomicU64,
    shown: AtomicU64,
}

impl Answers {
    fn note(&self, answer: &[u8]) {
        let count = match answer.strip_prefix(b"HTTP/1.1 ") {
            Some([b'4', ..]) => &self.refused,
            Some([b'2', ..]) => &self.shown,
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn ask(port: u16, request: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // Whoever is cut off in the middle has an answer all the same.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.take(100_000).read_to_end(&mut answer);
    Ok(answer)
}

fn strangers(port: u16, answers: &Arc<Answers>) -> Flood {
    let (wrong, answers) = (wrong(), Arc::clone(answers));
    Flood::run(wrong.len(), move |number| {
        if let Ok(answer) = ask(port, &wrong[number]) {
            answers.note(&answer);
        }
    })
}

#[test]
fn those_who_look() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN)?;
    let stage = Stage::set(&format!(
        "[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = {file:?}"
    ))?;
    let page = page_of(&stage.gateway)?;
    let port = page.rsplit(':').next().context("a port")?.parse()?;
    let knows = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let answers = Arc::<Answers>::default();
    let events = format!("GET /events HTTP/1.1\r\n{knows}");
    stage.compare("a thousand who look, and strangers", || {
        let crowd = Crowd::ask(port, 1000, Sources::new(21), events.as_bytes())?;
        let looking = crowd.hear(b"HTTP/1.1 200")?;
        ensure!(looking == PLACES, "{looking} of a thousand look");
        Ok((crowd, strangers(port, &answers)))
    })?;
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (refused, shown) = (of(&answers.refused), of(&answers.shown));
    println!("{refused} strangers were refused");
    ensure!(
        refused > 100 && shown == 0,
        "{refused} refused, {shown} not"
    );
    // Who knows the token gets in again, and has a place as soon as one who left is missed.
    let metrics = ask(port, &format!("GET /metrics HTTP/1.1\r\n{knows}"))?;
    ensure!(metrics.starts_with(b"HTTP/1.1 200"));
    let again = || {
        let one = Crowd::ask(port, 1, Sources::new(21), events.as_bytes()).ok()?;
        (one.hear(b"HTTP/1.1 200").ok()? == 1).then_some(())
    };
    wait_for(Duration::from_secs(60), again).context("their places are not free again")?;
    stage.gateway.stop()
}
