//! Who connects to the socket and is no friend, and many at once.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use super::gateway::{Client, Tarpit, write_config};

#[test]
fn what_no_command_says_is_refused() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    let post = |path: &str, more: &str, body: &str| {
        let length = body.len();
        tarpit.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        ))
    };
    let json = "Content-Type: application/json\r\n";
    let off = "{\"mode\":\"off\"}";
    for (answer, status) in [
        (
            post(
                "/v1/mode",
                &format!("{json}Origin: http://evil.example\r\n"),
                off,
            ),
            403,
        ),
        (
            post(
                "/v1/mode",
                &format!("{json}Sec-Fetch-Site: cross-site\r\n"),
                off,
            ),
            403,
        ),
        (post("/v1/mode", "Content-Type: text/plain\r\n", off), 415),
        (post("/v1/mode", json, "{\"mode\":\"off\",\"more\":1}"), 422),
        (post("/v1/mode", json, "{"), 422),
        (post("/v1/mode", json, "{\"mode\":\"on\"}"), 422),
        (post("/v1/mode", json, &"x".repeat(5000)), 400),
        (post("/v1/status", json, ""), 405),
        (post("/v2/status", json, ""), 404),
        (
            tarpit.raw("GET /v1/sources?top=0 HTTP/1.1\r\nHost: x\r\n\r\n"),
            422,
        ),
        (
            tarpit.raw("GET /v1/explain HTTP/1.1\r\nHost: x\r\n\r\n"),
            422,
        ),
        (tarpit.raw("nonsense\r\n\r\n"), 400),
    ] {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {answer}"
        );
    }
    assert_eq!(tarpit.status()["rule"]["mode"], "observe");
}

#[test]
fn who_only_sits_there_keeps_nobody_from_mail_and_goes() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    let idle: Vec<_> = (0..32)
        .map(|_| UnixStream::connect(tarpit.socket()).unwrap())
        .collect();
    let error = tarpit.tarpit(&["status"]);
    assert!(!error.status.success(), "all places are taken");
    Client::connect(tarpit.address).deliver();
    // Their time for a head is over.
    for mut stream in idle {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    tarpit.status();
}

const JSON: &str = "Content-Type: application/json\r\n";

/// A thousand connections, some of which say half a head.
fn crowd(tarpit: &Tarpit) {
    let mut crowd = Vec::new();
    while crowd.len() < 1000 {
        let mut stream = UnixStream::connect(tarpit.socket()).unwrap();
        if crowd.len() % 2 == 0 {
            // It may be closed already.
            let _ = stream.write_all(b"GET /v1/status HT");
        }
        crowd.push(stream);
    }
}

/// What is no request, or one without end; answers that nobody reads, and nobody stays for.
fn nonsense(tarpit: &Tarpit) {
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let endless =
        format!("POST /v1/mode HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 1000000000\r\n\r\n");
    let body = "[".repeat(1_000_000);
    let deep = format!(
        "POST /v1/mode HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\nf4240\r\n{body}"
    );
    let mut unread = Vec::new();
    for round in 0..100_u8 {
        let octets: Vec<u8> = (0..=255)
            .map(|octet: u8| octet.wrapping_mul(round))
            .collect();
        for said in [
            &octets[..],
            long.as_bytes(),
            endless.as_bytes(),
            deep.as_bytes(),
        ] {
            let mut stream = UnixStream::connect(tarpit.socket()).unwrap();
            let _ = stream.write_all(said);
        }
        for path in [
            "/v1/sources?top=1000",
            "/v1/explain?of=127.0.0.1",
            "/v1/status",
        ] {
            let mut stream = UnixStream::connect(tarpit.socket()).unwrap();
            let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            if round < 10 {
                unread.push(stream);
            }
        }
    }
}

/// Asks until there is a place, and answers with the status and what was said.
fn insist(tarpit: &Tarpit, method: &str, path: &str, body: &str) -> (u16, Value) {
    loop {
        let mut stream = UnixStream::connect(tarpit.socket()).unwrap();
        let length = body.len();
        let _ = write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {length}\r\n\r\n{body}"
        );
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, serde_json::from_str(body).unwrap());
        }
    }
}

/// Each hears its own.
fn change_modes(tarpit: &Tarpit) {
    for mode in ["off", "observe"].repeat(20) {
        let (status, done) = insist(
            tarpit,
            "POST",
            "/v1/mode",
            &format!("{{\"mode\":\"{mode}\"}}"),
        );
        assert_eq!(
            (status, &done["rule"]["mode"]),
            (200, &mode.into()),
            "{done}"
        );
    }
}

fn change_exemptions(tarpit: &Tarpit) {
    for number in 0..20 {
        let network = format!("192.0.2.{number}");
        let body = format!("{{\"network\":\"{network}\",\"reason\":\"x\"}}");
        let (status, done) = insist(tarpit, "POST", "/v1/exemptions", &body);
        assert_eq!(status, 200, "{done}");
        let exemptions = done["rule"]["exemptions"].as_array().unwrap();
        assert_eq!(exemptions.len(), number / 2 + 1 + number % 2, "{done}");
        if number % 2 == 1 {
            let path = format!("/v1/exemptions?network={network}");
            assert_eq!(insist(tarpit, "DELETE", &path, "").0, 200);
        }
    }
}

fn reload_what_is_broken(tarpit: &Tarpit) {
    for _ in 0..20 {
        let (status, refusal) = insist(tarpit, "POST", "/v1/reload", "");
        assert_eq!(status, 422, "{refusal}");
        assert!(
            refusal["findings"][0]
                .as_str()
                .unwrap()
                .contains("tarpit.delya")
        );
    }
}

/// A message after the other; the number of them, and the longest that one took.
fn mail(tarpit: &Tarpit, over: &AtomicBool) -> (usize, Duration) {
    let mut client = Client::connect(tarpit.address);
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        client.deliver();
        longest = longest.max(began.elapsed());
        count += 1;
    }
    (count, longest)
}

#[test]
fn mail_does_not_notice_what_is_done_to_the_socket() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
    let tarpit = Tarpit::run("mode = \"observe\"");
    write_config(tarpit.folder.path(), "mode = \"off\"\ndelya = \"5s\"");
    let over = AtomicBool::new(false);
    let (count, longest) = std::thread::scope(|scope| {
        let mail = scope.spawn(|| mail(&tarpit, &over));
        let abuse: [fn(&Tarpit); 5] = [
            crowd,
            nonsense,
            change_modes,
            change_exemptions,
            reload_what_is_broken,
        ];
        let abuse = abuse.map(|one| {
            let tarpit = &tarpit;
            scope.spawn(move || one(tarpit))
        });
        let ended: Vec<_> = abuse.into_iter().map(|one| one.join()).collect();
        over.store(true, Ordering::Relaxed);
        let mail = mail.join().unwrap();
        ended.into_iter().for_each(|one| one.unwrap());
        mail
    });
    // Far longer than the built-in maildir needs for a message, though its disk is shared with much else.
    assert!(
        longest < Duration::from_secs(5),
        "{count} messages, the slowest in {longest:?}"
    );
    let new = tarpit.folder.path().join("mail/alice@example.test/new");
    assert_eq!(std::fs::read_dir(new).unwrap().count(), count);
    let (status, list) = insist(&tarpit, "GET", "/v1/exemptions", "");
    let left = list["exemptions"].as_array().unwrap().len();
    assert_eq!((status, left), (200, 10), "{list}");
    let status = tarpit.status();
    assert_eq!(status["rule"]["mode"], "observe");
}
