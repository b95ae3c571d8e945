//! An upgrade while three hundred clients wait: each hears what is due when it is due, from the new
//! process, and goes on there; what its source owes has gone along.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Certificates, Client, Gateway, Postfix, config, plain, stuffed};

const DELAY: Duration = Duration::from_secs(20);

/// What comes later than this after the command is late: a second, and the time that the server
/// behind takes for its answer.
const LATE: Duration = Duration::from_millis(1500);

/// How long the old process may take to end: its sessions that are in progress are short.
const LEAVING: Duration = Duration::from_secs(15);

const HELD: u16 = 300;

/// A client that waits for the refusal of its guess.
struct Held {
    source: Ipv4Addr,
    client: Client,
    since: Instant,
}

impl Held {
    fn new(number: u16, port: u16) -> Result<Self> {
        let [high, low] = number.to_be_bytes();
        let source = Ipv4Addr::new(127, 31, high, low);
        let mut client = Client::hello_from(source, port)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        let since = Instant::now();
        client.send(b"RCPT TO:<nobody@example.org>\r\n")?;
        Ok(Self {
            source,
            client,
            since,
        })
    }

    fn refused_after(&mut self, span: Duration) -> Result<()> {
        self.client.reply()?.expect(550)?;
        let waited = self.since.elapsed();
        ensure!(
            waited >= span && waited < span + LATE,
            "{} waited for {waited:?}",
            self.source
        );
        Ok(())
    }
}

/// The same over TLS. It is told to come again.
fn told_to_come_again(
    port: u16,
    certificates: &Certificates,
    upgrade: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-quiet", "-starttls", "smtp", "-bind"])
        .args(["127.31.9.9:0", "-CAfile"])
        .arg(certificates.authority())
        .args(["-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("openssl")?;
    let mut input = openssl.stdin.take().context("no input")?;
    input.write_all(
        b"EHLO client.example.net\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<nobody@example.org>\r\n",
    )?;
    std::thread::sleep(Duration::from_secs(1));
    let upgraded = upgrade();
    let mut said = String::new();
    let mut output = openssl.stdout.take().context("no output")?;
    output.read_to_string(&mut said)?;
    drop(input);
    openssl.wait()?;
    upgraded?;
    let last = said.lines().last().unwrap_or_default();
    ensure!(last.starts_with("421 4.3.2"), "{said}");
    ensure!(!said.contains("\n550"), "{said}");
    Ok(())
}

/// Mail beside, one message after the other until it is over: how many.
fn mail(port: u16, number: u8, over: &AtomicBool) -> Result<usize> {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let mut client = Client::hello_from(Ipv4Addr::new(127, 31, 8, number), port)?;
        let wire = stuffed(&plain(&format!("wanted-{number}-{count}")));
        client
            .deliver("s@example.net", &["alice@example.org"], &wire)?
            .expect(250)?;
        client.quit()?;
        count += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(count)
}

fn upgrade(gateway: &Gateway) -> Result<()> {
    let file = gateway.folder().join("tarpit.toml");
    let output = Gateway::command(&["upgrade", "--config", &file.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}\n{}", gateway.excerpt());
    Ok(())
}

#[test]
fn who_waits_goes_along() -> Result<()> {
    let certificates = Certificates::new()?;
    let pair = certificates.issue(&["gate.example.org"])?;
    let postfix = Postfix::server().xclient().start()?;
    let rest = format!(
        "[tarpit]\nmode = \"enforce\"\ndelay = \"{}s\"\nscope = \"source\"\n\
         [[certificate]]\nchain = {:?}\nkey = {:?}\n",
        DELAY.as_secs(),
        pair.chain,
        pair.key
    );
    let mut gateway = Gateway::start(&config(postfix.port(), "xclient", &rest))?;
    let port = gateway.port()?;
    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| -> Result<usize> {
        let over = &over;
        let senders: Vec<_> = (1..=5)
            .map(|number| scope.spawn(move || mail(port, number, over)))
            .collect();
        let outcome = waited(port, &mut gateway, &certificates);
        over.store(true, Ordering::Relaxed);
        let counts = senders
            .into_iter()
            .map(|sender| sender.join().expect("a sender panicked"));
        let sent = counts.sum::<Result<usize>>();
        outcome?;
        sent
    })?;
    let came = postfix.wait_mailbox("alice", sent)?.len();
    ensure!(came == sent && sent > 50, "{sent} sent, {came} came");
    let came = postfix.wait_mailbox("bob", HELD.into())?.len();
    ensure!(came == usize::from(HELD), "{came} from those who waited");
    Ok(())
}

fn waited(port: u16, gateway: &mut Gateway, certificates: &Certificates) -> Result<()> {
    let mut held = Vec::new();
    for number in 1..=HELD {
        held.push(Held::new(number, port)?);
    }
    told_to_come_again(port, certificates, || upgrade(gateway))?;
    gateway.wait(LEAVING)?;
    // The old process is gone, so whatever comes now is the successor's.
    let first = held.first().context("nobody is held")?;
    ensure!(
        first.since.elapsed() < DELAY,
        "too slow: the first is due before the old process has ended"
    );
    // A second session of a source that owes: its guess waits for the debt, and then for its own.
    let since = first.since;
    let source = first.source;
    let mut second = Client::hello_from(source, port)?;
    second.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    second.send(b"RCPT TO:<other@example.org>\r\n")?;
    let mut second = Held {
        source,
        client: second,
        since,
    };
    for one in &mut held {
        one.refused_after(DELAY)?;
    }
    second.refused_after(DELAY * 2)?;
    for mut one in held {
        one.client
            .command("RCPT TO:<bob@example.org>")?
            .expect(250)?;
        one.client.command("DATA")?.expect(354)?;
        one.client.send(&stuffed(&plain("patient")))?;
        one.client.reply()?.expect(250)?;
        one.client.quit()?;
    }
    let carried = gateway.wait_records(|records| {
        let mut records = records.iter();
        let one = records.find(|one| one.text("message").contains("went to the successor"))?;
        one.number("sessions").ok()
    })?;
    ensure!(carried >= f64::from(HELD), "{carried} were handed over");
    Ok(())
}
