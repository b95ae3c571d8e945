//! SMTP smuggling (CVE-2023-51764 to 51766, SEC Consult 2023): never two messages where one was
//! sent, whatever stands where an end of data might be read.
//!
//! The list is that of SEC Consult's scanners, with the confusions of other reports added. Each is
//! tried in the middle of a message, at its start and behind one that is too large, cut into two
//! packets at each of its octets, and over the boundary of two chunks. The Postfix behind the
//! gateway is one that falls for it: [`the_attack_works_without_the_gateway`] shows so.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Client, Exim, FaultServer, Gateway, MailServer, Postfix, config, wait_for, wait_message,
};

/// What another server may take for an end of data. None holds CRLF . CRLF, the only one there is
/// (RFC 5321 §4.1.1.4).
const CONFUSIONS: &[&str] = &[
    "\n.\n",
    "\n.\r",
    "\r.\n",
    "\r.\r",
    "\n.\r\n",
    "\r.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\n..\n",
    "\n..\r\n",
    "\r\n..\n",
    "\r\n..\r\n",
    "\n\r.\n\r",
    "\r\n. \r\n",
    "\r\n.\t\r\n",
    "\r\n.\x0b\r\n",
    "\r\n \r\n.\n",
    "\u{85}.\u{85}",
];

/// Octets over the announced SIZE, in the one placement that is about it.
const TOO_LARGE: usize = 80_000;
const SIZE_MAX: usize = 70_000;

/// Between two packets, so that the gateway reads them one by one. It need not: all cuts are tried.
const GAP: Duration = Duration::from_millis(2);

/// How long deliveries may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// In which a second message would have come as well.
const MOMENT: Duration = Duration::from_millis(1500);

/// Sessions of one server at once.
const AT_ONCE: usize = 8;

/// Where in the message it stands, and how that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Placement {
    Middle,
    Start,
    BehindTooMuch,
    Chunks,
}

/// One attack.
struct Attack {
    tag: String,
    confusion: &'static str,
    placement: Placement,
    /// The message, with what may end it and the commands behind.
    octets: Vec<u8>,
    /// Where it is cut in two; `None` for no cut.
    cut: Option<usize>,
    told: u16,
}

impl std::fmt::Debug for Attack {
    /// Without its octets, which follow from these.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            tag,
            confusion,
            placement,
            cut,
            told,
            ..
        } = self;
        write!(
            out,
            "{tag}: {confusion:?}, {placement:?}, cut at {cut:?}, told {told}"
        )
    }
}

fn header(tag: &str) -> String {
    format!(
        "From: <sender@example.net>\r\nTo: <alice@example.org>\r\nSubject: {tag}\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{tag}@example.net>\r\n\r\n"
    )
}

/// All attacks on one server. `prefix` keeps the tags of servers apart.
fn attacks(prefix: &str, chunks: bool) -> Vec<Attack> {
    let mut attacks = Vec::new();
    let mut placements = vec![
        Placement::Middle,
        Placement::Start,
        Placement::BehindTooMuch,
    ];
    if chunks {
        placements.push(Placement::Chunks);
    }
    for (number, confusion) in CONFUSIONS.iter().enumerate() {
        for placement in &placements {
            let cuts = if *placement == Placement::BehindTooMuch {
                0
            } else {
                confusion.len() + 2
            };
            for cut in 0..=cuts {
                let tag = format!("{prefix}-{number}-{}-{cut}", *placement as u8);
                attacks.push(attack(tag, confusion, *placement, cut));
            }
        }
    }
    attacks
}

fn attack(tag: String, confusion: &'static str, placement: Placement, cut: usize) -> Attack {
    let mut octets = match placement {
        // Behind the 354 the server stands at the start of a line.
        Placement::Start => Vec::new(),
        Placement::Middle | Placement::Chunks => (header(&tag) + "outer").into_bytes(),
        Placement::BehindTooMuch => {
            let line = "the quick brown fox jumps over the lazy dog 0123456789 01234\r\n";
            (header(&tag) + &line.repeat(TOO_LARGE / line.len() + 1) + "outer").into_bytes()
        }
    };
    let at_start = confusion.trim_start_matches(['\r', '\n']);
    // Dot and CRLF at the start are an end of data indeed, of an empty message.
    let is_end = at_start.starts_with(".\r\n");
    let confusing = if placement == Placement::Start && !is_end {
        at_start
    } else {
        confusion
    };
    let before = octets.len();
    octets.extend_from_slice(confusing.as_bytes());
    let smuggled = format!(
        "MAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n{}smuggled\r\n",
        header(&format!("evil-{tag}"))
    );
    octets.extend_from_slice(smuggled.as_bytes());
    // From right before it to right behind it, and no cut at all.
    let cut = (cut > 0).then(|| before.saturating_sub(1) + cut - 1);
    Attack {
        tag,
        confusion,
        placement,
        octets,
        cut: cut.filter(|cut| *cut > 0),
        told: 0,
    }
}

/// Carries one out. Exactly one reply comes to the message, whatever it holds.
fn carry_out(port: u16, attack: &Attack) -> Result<u16> {
    let mut client = Client::hello(port)?;
    client
        .command("MAIL FROM:<sender@example.net>")?
        .expect(250)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    let (first, second) = attack.octets.split_at(attack.cut.unwrap_or(0));
    let told = if attack.placement == Placement::Chunks {
        in_chunks(&mut client, first, second)?
    } else {
        client.command("DATA")?.expect(354)?;
        if !first.is_empty() {
            client.send(first)?;
            thread::sleep(GAP);
        }
        client.send(second)?;
        client.send(b"\r\n.\r\n")?;
        client.reply()?
    };
    // Of all commands only this one gets 252: anything else would be a reply to what was smuggled.
    client.command("VRFY alice")?.expect(252).with_context(|| {
        format!(
            "{attack:?}: a second reply, after {} {}",
            told.code,
            told.text()
        )
    })?;
    client.quit()?;
    Ok(told.code)
}

fn in_chunks(client: &mut Client, first: &[u8], second: &[u8]) -> Result<tarpit_interop::Reply> {
    if !first.is_empty() {
        client.send(format!("BDAT {}\r\n", first.len()).as_bytes())?;
        client.send(first)?;
        let reply = client.reply()?;
        if reply.code != 250 {
            return Ok(reply);
        }
    }
    client.send(format!("BDAT {} LAST\r\n", second.len()).as_bytes())?;
    client.send(second)?;
    client.reply()
}

/// Carries all of them out, several at once; each knows then what it was told.
fn carry_out_all(port: u16, attacks: Vec<Attack>) -> Result<Vec<Attack>> {
    let left = Mutex::new(attacks);
    let done = Mutex::new(Vec::new());
    let take = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let worker = || -> Result<()> {
        while let Some(mut attack) = take() {
            attack.told = carry_out(port, &attack).with_context(|| format!("{attack:?}"))?;
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(attack);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<(), anyhow::Error>(())
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What lies in the mailbox: each message there was sent as one, and each that was acknowledged is
/// there. Servers deliver behind their 250, so what is to come is waited for; then comes a moment in
/// which more would come.
fn judge(folder: &Path, attacks: &[Attack], name: &str) -> Result<()> {
    let all_there = || {
        let stored = stored(folder).ok()?;
        let there = |attack: &Attack| attack.told / 100 != 2 || copies(attack, &stored).0 > 0;
        attacks.iter().all(there).then_some(())
    };
    let _ = wait_for(PATIENCE, all_there);
    thread::sleep(MOMENT);
    let stored = stored(folder)?;
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    for attack in attacks {
        let (all, alone) = copies(attack, &stored);
        if all != usize::from(attack.told / 100 == 2) || alone != 0 {
            wrong.push(format!("{attack:?}: delivered {all}, by itself {alone}"));
        }
        lines.push(((attack.placement, attack.confusion), attack.told));
    }
    print_table(name, lines);
    let count = wrong.len();
    ensure!(
        count == 0,
        "{name}: {count} are wrong:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

fn stored(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    // Gone in between is fine: a server moves files.
    let files = entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path()).ok());
    Ok(files
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .collect())
}

/// How many messages hold what was to be smuggled, and how many of these by itself: with an
/// envelope of its own.
fn copies(attack: &Attack, stored: &[String]) -> (usize, usize) {
    let evil = format!("Message-ID: <evil-{}@example.net>", attack.tag);
    let holding = stored.iter().filter(|text| text.contains(&evil));
    let (mut all, mut alone) = (0, 0);
    for text in holding {
        all += 1;
        alone += usize::from(is_evil(text));
    }
    (all, alone)
}

/// Whether this is the smuggled message: all servers here say first whom it came from.
fn is_evil(text: &str) -> bool {
    let mut trace = text.lines().take(2);
    trace.any(|line| line.starts_with("Return-") && line.contains("evil@example.net"))
}

/// One line a case; its cuts are counted.
fn print_table(name: &str, mut lines: Vec<((Placement, &'static str), u16)>) {
    lines.sort_unstable();
    for case in lines.chunk_by(|one, other| one.0 == other.0) {
        let Some(((placement, confusion), _)) = case.first() else {
            continue;
        };
        let mut told: Vec<u16> = case.iter().map(|(_, code)| *code).collect();
        told.dedup();
        println!(
            "{name:<20} {:<14} {:<20} {:>2} ways: told {told:?}, never two messages",
            format!("{placement:?}"),
            format!("{confusion:?}"),
            case.len(),
        );
    }
}

/// The configuration with the listener's rule for bare newlines.
fn with_rule(config: &str, rule: &str) -> String {
    let address = "address = \"127.0.0.1:0\"\n";
    config.replacen(address, &format!("{address}bare_newline = \"{rule}\"\n"), 1)
}

/// Runs all attacks through a gateway with `config`, by both rules.
fn withstands(name: &str, config: &str, folder: &Path) -> Result<()> {
    for rule in ["reject", "normalize"] {
        let gateway = Gateway::start(&with_rule(config, rule))?;
        let port = gateway.port()?;
        served(port)?;
        let mut client = Client::connect(port)?;
        client.reply()?.expect(220)?;
        let offer = client.command("EHLO client.example.net")?.text();
        let attacks = attacks(
            &format!("{name}-{rule}").replace([',', ' '], ""),
            offer.contains("CHUNKING"),
        );
        ensure!(
            attacks
                .iter()
                .all(|attack| !attack.octets.windows(5).any(|five| five == b"\r\n.\r\n")),
            "that is an end of data"
        );
        let attacks = carry_out_all(port, attacks)?;
        judge(folder, &attacks, &format!("{name}, {rule}"))?;
        let refused = |attack: &&Attack| attack.told / 100 == 5;
        let is_data = |attack: &&Attack| attack.placement == Placement::Middle;
        let has_bare_lf = |attack: &&Attack| attack.confusion == "\n.\n";
        let bare: Vec<_> = attacks.iter().filter(is_data).filter(has_bare_lf).collect();
        let count = bare.iter().filter(|attack| refused(attack)).count();
        let expected = if rule == "reject" { bare.len() } else { 0 };
        ensure!(
            count == expected,
            "{name}, {rule}: LF.LF was refused {count} times"
        );
        gateway.stop()?;
    }
    Ok(())
}

/// Waits until the gateway has learnt what the upstream offers.
fn served(port: u16) -> Result<()> {
    let greeted = || Client::hello(port).ok();
    wait_for(Duration::from_secs(30), greeted).context("never served")?;
    Ok(())
}

/// A Postfix that reads data as all did before 2023.
fn gullible(discard: &str) -> Result<Postfix> {
    Postfix::server()
        .set("smtpd_forbid_bare_newline", "no")
        .set("message_size_limit", &SIZE_MAX.to_string())
        .set("smtpd_discard_ehlo_keywords", discard)
        .start()
}

/// If this fails, the matrix shows nothing.
#[test]
fn the_attack_works_without_the_gateway() -> Result<()> {
    let postfix = gullible("")?;
    let mut client = Client::hello(postfix.port())?;
    let attack = attack("direct".to_owned(), "\n.\n", Placement::Middle, 0);
    client.begin("sender@example.net", &["alice@example.org"])?;
    client.send(&attack.octets)?;
    client.send(b"\r\n.\r\n")?;
    for code in [250, 250, 250, 354, 250] {
        client.reply()?.expect(code)?;
    }
    let evil = wait_message(&postfix, "alice", "evil-direct")?;
    assert!(is_evil(&String::from_utf8_lossy(&evil)));
    wait_message(&postfix, "alice", "direct")?;
    Ok(())
}

#[test]
fn nothing_is_smuggled_to_postfix() -> Result<()> {
    let postfix = gullible("")?;
    let folder = MailServer::mailbox(&postfix, "alice");
    withstands("postfix", &config(postfix.port(), "none", ""), &folder)
}

/// Chunks were announced, and the connection at hand takes none: they become DATA, for a server that
/// takes LF . CRLF for an end. What can't be DATA is refused.
#[test]
fn nothing_is_smuggled_by_chunks_that_become_data() -> Result<()> {
    let server = FaultServer::start()?;
    server.offer(&["PIPELINING", "8BITMIME", "CHUNKING"]);
    let gateway = Gateway::start(&config(server.port(), "none", ""))?;
    let port = gateway.port()?;
    served(port)?;
    server.offer(&["PIPELINING", "8BITMIME"]);
    let mut chosen = attacks("converted", true);
    chosen.retain(|attack| attack.placement == Placement::Chunks);
    let attacks = carry_out_all(port, chosen)?;
    let stored = server.messages();
    let stored = stored.iter().map(|text| String::from_utf8_lossy(text));
    let stored: Vec<String> = stored.map(|text| text.into_owned()).collect();
    let mut lines = Vec::new();
    for attack in &attacks {
        let (all, _) = copies(attack, &stored);
        let evil = header(&format!("evil-{}", attack.tag));
        let alone = stored.iter().filter(|text| text.starts_with(&evil)).count();
        ensure!(
            alone == 0 && all == usize::from(attack.told == 250),
            "{attack:?}: {all}, {alone}"
        );
        let is_bare = attack.confusion.replace("\r\n", "").contains(['\r', '\n']);
        ensure!(is_bare == (attack.told != 250), "{attack:?}");
        lines.push(((attack.placement, attack.confusion), attack.told));
    }
    let sent_as_data = server
        .commands()
        .iter()
        .filter(|line| *line == "DATA")
        .count();
    ensure!(sent_as_data > 0, "no chunk became DATA");
    print_table("chunks into data", lines);
    gateway.stop()
}

/// What is not taken is not announced.
#[test]
fn nothing_is_smuggled_to_postfix_without_chunks() -> Result<()> {
    let postfix = gullible("chunking")?;
    let folder = MailServer::mailbox(&postfix, "alice");
    withstands(
        "postfix, no chunks",
        &config(postfix.port(), "none", ""),
        &folder,
    )
}

#[test]
fn nothing_is_smuggled_to_exim() -> Result<()> {
    let exim = Exim::start("alice", "secret")?;
    let folder = MailServer::mailbox(&exim, "alice");
    withstands("exim", &config(exim.port(), "none", ""), &folder)
}

#[test]
fn nothing_is_smuggled_into_the_maildir() -> Result<()> {
    let mail = tempfile::tempdir()?;
    let config = format!(
        "hostname = \"gate.example.org\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
         [maildir]\nroot = {:?}\nrecipients = [\"alice@example.org\"]\nsize_max = {SIZE_MAX}\n",
        mail.path()
    );
    let folder = mail.path().join("alice@example.org/new");
    withstands("maildir", &config, &folder)
}
