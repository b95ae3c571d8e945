//! A pit that is too full: those who teach the least are let go, their debt stays, and the log says
//! why it began and when it ended.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tarpit_interop::{Client, FaultServer, Gateway, config, page_of};

/// A session that is held for its wrong guess. `number`: each comes from a source of its own.
fn held(port: u16, number: u8, ahead: &str) -> Result<Client> {
    let mut client = Client::hello_from(Ipv4Addr::new(127, 21, 1, number), port)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.send(format!("RCPT TO:<guess{number}@example.org>\r\n{ahead}").as_bytes())?;
    Ok(client)
}

#[test]
fn the_longest_held_are_let_go_and_the_others_wait_on() -> Result<()> {
    let server = FaultServer::start()?;
    let rest = "[tarpit]\nmode = \"enforce\"\ndelay = \"8s\"\n[pit]\nsessions = 20\n\
                [admin]\naddress = \"127.0.0.1:0\"";
    let gateway = Gateway::start(&config(server.port(), "none", rest))?;
    let port = gateway.port()?;
    let began = Instant::now();
    let mut first = Vec::new();
    for number in 0..5 {
        first.push(held(port, number, "")?);
    }
    // The next ones are younger by whole seconds, which is what age is counted in.
    std::thread::sleep(Duration::from_millis(2100));
    let mut later = Vec::new();
    for number in 5..21 {
        later.push(held(port, number, "")?);
    }
    // With the twenty-first the pit is over its quota, and three of the first go: 18 are left.
    let ends = gateway.wait_records(|records| {
        let ended = |record: &&tarpit_interop::Record| {
            record.target() == "tarpit::pit"
                && record.text("message").contains("no longer strained")
        };
        records.iter().find(ended).map(|record| record.text("shed"))
    })?;
    ensure!(ends == "3", "{ends} shed");
    let mut shed = 0;
    for mut client in first {
        let reply = client.reply()?;
        if reply.code == 421 {
            ensure!(reply.text().contains("4.3.2"), "{}", reply.text());
            shed += 1;
        } else {
            reply.expect(550)?;
            ensure!(
                began.elapsed() >= Duration::from_secs(8),
                "a reply came early"
            );
        }
    }
    ensure!(shed == 3, "{shed} of the first were shed");
    for mut client in later {
        client.reply()?.expect(550)?;
    }
    let records = gateway.wait_for_records("tarpit::hold", 21)?;
    let of = |end: &str| {
        records
            .iter()
            .filter(|record| record.text("end") == end)
            .count()
    };
    ensure!(
        (of("shed"), of("paid")) == (3, 18),
        "{} shed, {} paid",
        of("shed"),
        of("paid")
    );
    for record in records.iter().filter(|record| record.text("end") == "shed") {
        let held = record.number("held_seconds")?;
        ensure!((2.0..7.0).contains(&held), "shed after {held} s");
    }
    let figures = format!("{}/metrics", page_of(&gateway)?);
    let output = Command::new("curl").args(["--silent", &figures]).output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        text.contains("tarpit_pit_strains_total{reason=\"sessions\"} 1\n"),
        "{text}"
    );
    gateway.stop()
}

#[test]
fn those_with_unread_input_do_not_fill_the_memory() -> Result<()> {
    let server = FaultServer::start()?;
    // Two hundred and fifty-six pages.
    let rest = "[tarpit]\nmode = \"enforce\"\ndelay = \"20s\"\n[pit]\nmemory = 1_048_576\n\
                [limits]\nheld_unread_max = 512";
    let gateway = Gateway::start(&config(server.port(), "none", rest))?;
    let port = gateway.port()?;
    let mut clients = Vec::new();
    for number in 0..40 {
        // More than is read ahead: the rest stays in the kernel.
        clients.push(held(port, number, &"NOOP\r\n".repeat(8000))?);
    }
    let reason = gateway.wait_records(|records| {
        let began = |record: &&tarpit_interop::Record| {
            record.target() == "tarpit::pit" && record.text("message").contains("is strained")
        };
        records
            .iter()
            .find(began)
            .map(|record| record.text("reason"))
    })?;
    ensure!(reason == "memory", "{reason}");
    drop(clients);
    gateway.stop()
}
