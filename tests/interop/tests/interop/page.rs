//! The page, in a real browser: what it shows is what the figures are, and nothing is asked of anybody
//! else. That mail does not notice who looks, however badly, is in `alone/flood/page.rs`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tarpit_interop::{Browser, Busy, Client, HELD, wait_for};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const TOKEN: &str = "a token of this test";

/// Figures of the page, and where they stand among the metrics.
const SAME: &[(&str, &str)] = &[
    ("held", "tarpit_pit_sessions"),
    (
        "messages-accepted",
        "tarpit_messages_total{outcome=\"accepted\"}",
    ),
    (
        "messages-refused",
        "tarpit_messages_total{outcome=\"refused\"}",
    ),
    (
        "messages-aborted",
        "tarpit_messages_total{outcome=\"aborted\"}",
    ),
    (
        "recipients-accepted",
        "tarpit_recipients_total{outcome=\"accepted\"}",
    ),
    (
        "recipients-refused",
        "tarpit_recipients_total{outcome=\"refused\"}",
    ),
    (
        "recipients-deferred",
        "tarpit_recipients_total{outcome=\"deferred\"}",
    ),
    ("guesses", "tarpit_guesses_total"),
    ("names-learnt", "tarpit_names_learnt_total"),
    ("unseen", "tarpit_unseen_total"),
    ("auth-failures", "tarpit_auth_failures_total"),
    ("harm-seconds", "tarpit_harm_seconds_total"),
    ("harm-hang-ups", "tarpit_harm_hang_ups_total"),
    ("known-senders", "tarpit_known_senders"),
    ("sources-owing", "tarpit_ledger_sources"),
];

fn curl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(arguments)
        .output()
        .context("curl is not there: run `cargo xtask install`")?;
    Ok(String::from_utf8(output.stdout)?)
}

fn status(arguments: &[&str]) -> Result<String> {
    let mut all = vec!["--output", "/dev/null", "--write-out", "%{http_code}"];
    all.extend(arguments);
    curl(&all)
}

fn metrics(page: &str) -> Result<BTreeMap<String, f64>> {
    let text = curl(&[&format!("{page}/metrics")])?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    pairs
        .map(|(name, value)| Ok((name.to_owned(), value.parse()?)))
        .collect()
}

#[test]
fn the_page_shows_what_the_figures_are() -> Result<()> {
    let mut scene = Busy::start("")?;
    let page = scene.page()?;
    let mut browser = Browser::start(None)?;
    browser.open(&format!("{page}/"))?;
    browser.wait("document.getElementById('link').textContent === 'live'")?;
    scene.mail(3, 4)?;
    scene.harm()?;
    scene.harvest(21)?;
    browser.wait(&format!(
        "document.getElementById('held').value === '{HELD}'"
    ))?;
    browser.wait("document.getElementById('harm-hang-ups').value === '1'")?;
    browser.wait("document.getElementById('names-learnt').value === '1'")?;
    let shown = metrics(&page)?;
    for (figure, name) in SAME {
        let expected = shown.get(*name).with_context(|| format!("no {name}"))?;
        let text = browser.value(&format!("document.getElementById('{figure}').value"))?;
        let text = text.as_str().unwrap_or_default();
        let number: f64 = text
            .parse()
            .with_context(|| format!("{figure}: {text:?}"))?;
        ensure!(
            (number - expected).abs() < 0.001,
            "{figure} is {number}, {name} is {expected}"
        );
    }
    let stolen: f64 = browser
        .value("Number(document.getElementById('stolen').value)")?
        .as_f64()
        .context("a number")?;
    let held = shown
        .iter()
        .filter(|(name, _)| name.starts_with("tarpit_held_seconds_total"));
    let held: f64 = held.map(|(_, seconds)| seconds).sum();
    let harm = shown["tarpit_harm_seconds_total"];
    ensure!(
        harm > 1.0 && (stolen + harm - held).abs() < 0.01,
        "{stolen} + {harm} is not {held}"
    );
    ensure!(
        browser.value("document.getElementById('verdict').textContent")? == json!("Mail is well")
    );
    // After the grace time for which they kept their upstream connections.
    let told_apart =
        "document.getElementById('reasons').innerText.includes('unknown recipient\\t24')";
    browser.wait(told_apart)?;
    open_things(&mut browser)?;
    let told = browser.told();
    ensure!(told.complaints.is_empty(), "{:#?}", told.complaints);
    let foreign = told.requests.iter().find(|url| !url.starts_with(&page));
    ensure!(
        foreign.is_none() && told.requests.len() > 5,
        "{:?}",
        told.requests
    );
    scene.gateway.stop()
}

/// A source is explained by one click, and so is a session, with what was said.
fn open_things(browser: &mut Browser) -> Result<()> {
    browser.wait("document.querySelectorAll('#source-rows button').length > 0")?;
    browser.value("document.querySelector('#source-rows button').click()")?;
    browser.wait(
        "document.getElementById('why-text').innerText.includes('What its next RCPT would meet')",
    )?;
    let is_named = "document.activeElement.id === 'why-title'";
    ensure!(
        browser.value(is_named)? == json!(true),
        "the focus is not in the dialog"
    );
    browser.value("document.querySelector('#why form button').click()")?;
    browser.wait("!document.getElementById('why').open")?;
    // The one that was harmed: its session was begun while the page was open.
    browser.value("document.querySelector('#harm-events td:nth-child(3) button').click()")?;
    browser.wait("document.querySelectorAll('ol.talk li').length > 3")?;
    let talk = browser.value("document.querySelector('ol.talk').innerText")?;
    let talk = talk.as_str().unwrap_or_default();
    ensure!(
        talk.contains("RCPT TO:<left.long.ago@example.org>") && talk.contains("the client left"),
        "{talk}"
    );
    browser.value("document.getElementById('why').close()")?;
    Ok(())
}

/// Whatever a client says is text, in the list and when it is opened.
#[test]
fn what_clients_say_is_no_markup() -> Result<()> {
    let scene = Busy::start("")?;
    let mut browser = Browser::start(None)?;
    browser.open(&format!("{}/", scene.page()?))?;
    browser.wait("document.getElementById('link').textContent === 'live'")?;
    let before = "document.title + document.images.length";
    let before = (before, browser.value(before)?);
    let markup = "<img/src=x/onerror=document.title='taken'>";
    let mut client = Client::connect(scene.gateway.port()?)?;
    client.reply()?.expect(220)?;
    client.command(&format!("EHLO {markup}"))?.expect(250)?;
    let sender = format!("MAIL FROM:<\"{markup}\"@example.net>");
    client.command(&sender)?.expect(250)?;
    client.send(format!("RCPT TO:<\"{markup}\"@example.org>\r\n").as_bytes())?;
    client.is_silent(Duration::from_millis(500))?;
    client.reset()?;
    browser.wait("document.querySelectorAll('#session-rows button').length > 0")?;
    browser.value("document.querySelector('#session-rows button').click()")?;
    browser.wait("document.querySelectorAll('ol.talk li').length > 3")?;
    let text = browser.value("document.getElementById('why-text').innerText")?;
    let text = text.as_str().unwrap_or_default();
    ensure!(
        text.matches(markup).count() >= 3,
        "EHLO, MAIL and RCPT are not all shown: {text}"
    );
    ensure!(
        browser.value(before.0)? == before.1,
        "it was taken as markup"
    );
    let told = browser.told();
    ensure!(told.complaints.is_empty(), "{:#?}", told.complaints);
    scene.gateway.stop()
}

/// Every part that a rule of accessibility can be held against by a program: names, headers, no way
/// that only a mouse can go, and nothing that is wider than a phone.
#[test]
fn the_page_can_be_read_by_others() -> Result<()> {
    let mut scene = Busy::start("")?;
    let mut browser = Browser::start(None)?;
    browser.look(360, 700, true)?;
    browser.open(&format!("{}/", scene.page()?))?;
    scene.harvest(21)?;
    browser.wait(&format!(
        "document.getElementById('held').value === '{HELD}'"
    ))?;
    for (what, is_so) in [
        (
            "it has a language",
            "document.documentElement.lang === 'en'",
        ),
        (
            "landmarks",
            "['header','main','footer'].every(name => document.querySelectorAll(`body > ${name}`).length === 1)",
        ),
        (
            "sections have names",
            "[...document.querySelectorAll('section')].every(one => document.getElementById(one.getAttribute('aria-labelledby')).textContent)",
        ),
        (
            "columns have headers",
            "[...document.querySelectorAll('table')].every(one => one.querySelectorAll('thead th[scope=col]').length > 0)",
        ),
        (
            "buttons have names",
            "[...document.querySelectorAll('button')].every(one => one.textContent.trim())",
        ),
        (
            "images have a text",
            "[...document.images].every(one => one.hasAttribute('alt')) && document.getElementById('strip-text').textContent.includes('now 24')",
        ),
        (
            "news is told politely",
            "[...document.querySelectorAll('[role=status]')].length === 2 && !document.querySelector('[aria-live=assertive]')",
        ),
        (
            "headings go down by one",
            "[...document.querySelectorAll('main h1, main h2, main h3')].every(one => one.tagName === 'H2')",
        ),
        (
            "nothing is wider than a phone",
            "document.documentElement.scrollWidth <= 360",
        ),
        (
            "it is dark",
            "getComputedStyle(document.body).backgroundColor === 'rgb(20, 24, 26)'",
        ),
        (
            "who has the focus keeps it",
            "(async () => { const button = document.querySelector('#session-rows button, #source-rows button'); button.focus(); await new Promise(done => setTimeout(done, 2500)); return document.activeElement === button; })()",
        ),
    ] {
        ensure!(browser.value(is_so)? == json!(true), "{what}");
    }
    scene.gateway.stop()
}

#[test]
fn who_does_not_know_the_token_sees_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n"))?;
    let scene = Busy::start(&format!("admin.token_file = \"{}\"", file.display()))?;
    let page = scene.page()?;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for path in [
        "/",
        "/page.js",
        "/events",
        "/v1/explain?of=127.0.0.1",
        "/metrics",
    ] {
        let url = format!("{page}{path}");
        ensure!(status(&[&url])? == "401", "{path}");
        ensure!(
            status(&["--user", "admin:a token of this tesT", &url])? == "401",
            "{path}"
        );
        ensure!(
            status(&[&format!("{url}?token={TOKEN}").replace(' ', "%20")])? == "401",
            "{path}"
        );
        if path != "/events" {
            ensure!(
                status(&["--user", &format!("anybody:{TOKEN}"), &url])? == "200",
                "{path}"
            );
            ensure!(status(&["--header", &bearer, &url])? == "200", "{path}");
        }
        ensure!(
            status(&["--header", "Host: evil.example", "--header", &bearer, &url])? == "421",
            "{path}"
        );
    }
    ensure!(status(&[&format!("{page}/livez")])? == "200");
    let mut browser = Browser::start(Some(TOKEN))?;
    browser.open(&format!("{page}/"))?;
    browser.wait("document.getElementById('link').textContent === 'live'")?;
    scene.mail(1, 1)?;
    browser.wait("document.getElementById('messages-accepted').value === '1'")?;
    scene.gateway.stop()
}

/// A page of somebody else in the administrator's browser takes nobody's place.
#[test]
fn other_pages_are_told_nothing() -> Result<()> {
    let scene = Busy::start("")?;
    let page = scene.page()?;
    for path in [
        "/events",
        "/v1/explain?of=127.0.0.1",
        "/v1/dialogue?of=tp-00000000",
        "/page.js",
    ] {
        let url = format!("{page}{path}");
        for site in ["cross-site", "same-site"] {
            let field = format!("Sec-Fetch-Site: {site}");
            ensure!(
                status(&["--header", &field, &url])? == "403",
                "{path} for {site}"
            );
        }
        ensure!(status(&["--request", "POST", &url])? == "405", "{path}");
    }
    let head = curl(&["--head", &format!("{page}/")])?;
    for field in [
        "content-security-policy: default-src 'none'",
        "x-frame-options: DENY",
        "cache-control: no-store",
    ] {
        ensure!(head.contains(field), "{field}: {head}");
    }
    scene.gateway.stop()
}

/// Somebody who asks for events and reads as little as the system allows.
fn watch(address: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(&address.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // It may be closed on already.
    let _ = stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    Ok(stream)
}

/// The status that it was answered, if it was.
fn answered(stream: &mut TcpStream) -> Option<String> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head).into_owned();
    head.strip_prefix("HTTP/1.1 ").map(str::to_owned)
}

/// Sixteen ask for events and do not read: they have all places, and lose them in time.
#[test]
fn who_does_not_read_loses_the_place() -> Result<()> {
    let scene = Busy::start("")?;
    let page = scene.page()?;
    let address: SocketAddr = page.trim_start_matches("http://").parse()?;
    let mut crowd: Vec<TcpStream> = (0..16).map(|_| watch(address)).collect::<Result<_>>()?;
    for one in &mut crowd {
        ensure!(answered(one).as_deref() == Some("200"));
    }
    let place = || {
        let mut one = watch(address).ok()?;
        let status = answered(&mut one)?;
        (status == "200").then_some(())
    };
    ensure!(place().is_none(), "a seventeenth looks");
    scene.mail(1, 1)?;
    // Two hours would be what the system's own buffers hide.
    let began = Instant::now();
    wait_for(PATIENCE * 3, place).context("those who do not read keep their places")?;
    eprintln!("a place was free again after {:?}", began.elapsed());
    drop(crowd);
    scene.gateway.stop()
}
