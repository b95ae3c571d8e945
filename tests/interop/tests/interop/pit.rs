//! The tar pit of KB 842851 in front of a real server: who waits, for what, and for how long.
//!
//! The delay is 1 s, so that the tests are quick. "At once" means under half of it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use tarpit_interop::{Client, Gateway, Postfix, Reply, config, plain, stuffed};

const DELAY: Duration = Duration::from_secs(1);

fn pit(mode: &str, scope: &str) -> String {
    format!("[tarpit]\nmode = \"{mode}\"\ndelay = \"1s\"\nscope = \"{scope}\"\nhold_max = \"5s\"")
}

#[track_caller]
fn at_once(reply: &Reply) {
    assert!(
        reply.after < DELAY / 2,
        "{} {} took {:?}",
        reply.code,
        reply.text(),
        reply.after
    );
}

/// How much later than the gateway the test may begin to look at the clock, on a busy machine,
/// where it reads the reply apart from sending the command.
const LATE: Duration = Duration::from_millis(200);

#[track_caller]
fn held(reply: &Reply) {
    let fits = reply.after + LATE >= DELAY && reply.after < DELAY * 2;
    assert!(
        fits,
        "{} {} took {:?}",
        reply.code,
        reply.text(),
        reply.after
    );
}

#[track_caller]
fn check(reply: &Reply, waits: bool) {
    if waits {
        held(reply);
    } else {
        at_once(reply);
    }
}

#[test]
fn observe_delays_nothing_and_reports() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    for scope in ["session", "source"] {
        let gateway = Gateway::start(&config(postfix.port(), "xclient", &pit("observe", scope)))?;
        let mut client = Client::hello(gateway.port()?)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        for _ in 0..8 {
            at_once(
                &client
                    .command("RCPT TO:<nobody@example.org>")?
                    .expect(550)?,
            );
        }
        // In `observe` the upstream decides, also on domains that are not ours.
        at_once(
            &client
                .command("RCPT TO:<victim@example.com>")?
                .expect(454)?,
        );
        client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
        client.quit()?;
        let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
        assert_eq!(session.text("mode"), "observe");
        assert!(session.number("held_seconds")? >= 5.0, "{session:?}");
        let holds = gateway.records_of("tarpit::hold");
        assert!(!holds.is_empty() && holds.iter().all(|hold| hold.text("end") == "observed"));
        gateway.stop()?;
    }
    Ok(())
}

#[test]
fn enforce_delays_refusals_and_nothing_else() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(
        postfix.port(),
        "xclient",
        &pit("enforce", "session"),
    ))?;
    let mut client = Client::connect(gateway.port()?)?;
    at_once(&client.reply()?.expect(220)?);
    at_once(&client.command("EHLO client.example.net")?.expect(250)?);
    at_once(&client.command("MAIL FROM:<s@example.net>")?.expect(250)?);
    held(
        &client
            .command("RCPT TO:<nobody@example.org>")?
            .expect(550)?,
    );
    at_once(&client.command("RCPT TO:<alice@example.org>")?.expect(250)?);
    held(
        &client
            .command("RCPT TO:<someone@example.org>")?
            .expect(550)?,
    );
    held(&client.command("NONSENSE")?.expect(500)?);
    at_once(&client.command("DATA")?.expect(354)?);
    client.send(&stuffed(&plain("pit")))?;
    at_once(&client.reply()?.expect(250)?);
    at_once(&client.command("RSET")?.expect(250)?);
    at_once(&client.command("VRFY alice")?.expect(252)?);
    at_once(&client.command("QUIT")?.expect(221)?);
    postfix.wait_mailbox("alice", 1)?;

    let holds = gateway.wait_for_records("tarpit::hold", 3)?;
    assert_eq!(holds[0].text("reason"), "unknown_recipient");
    assert_eq!(
        (holds[0].text("code"), holds[0].text("end")),
        ("550".into(), "paid".into())
    );
    assert_eq!(holds[2].text("reason"), "protocol");
    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert_eq!(session.text("holds"), "3");
    assert_eq!(session.text("session"), holds[0].text("session"));
    gateway.stop()
}

/// `unknown_local_recipient_reject_code = 450`: the pit sees what the reply means.
#[test]
fn an_unknown_name_in_a_temporary_reply() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .set("unknown_virtual_mailbox_reject_code", "450")
        .start()?;
    let gateway = Gateway::start(&config(
        postfix.port(),
        "xclient",
        &pit("enforce", "source"),
    ))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    let reply = client
        .command("RCPT TO:<nobody@example.org>")?
        .expect(450)?;
    assert!(reply.text().starts_with("4.1.1"), "{}", reply.text());
    client.quit()?;
    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert_eq!(session.text("refused"), "1", "{session:?}");
    gateway.stop()
}

/// Replies that are due are sent before a wait begins, and all come in order.
#[test]
fn pipelined_commands_wait_one_by_one() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(
        postfix.port(),
        "xclient",
        &pit("enforce", "session"),
    ))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.send(
        b"MAIL FROM:<s@example.net>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<a@example.org>\r\n\
          RCPT TO:<bob@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n",
    )?;
    at_once(&client.reply()?.expect(250)?);
    at_once(&client.reply()?.expect(250)?);
    held(&client.reply()?.expect(550)?);
    at_once(&client.reply()?.expect(250)?);
    held(&client.reply()?.expect(550)?);
    at_once(&client.reply()?.expect(354)?);
    client.send(&stuffed(&plain("pipelined")))?;
    client.reply()?.expect(250)?;
    client.quit()?;
    postfix.wait_mailbox("alice", 1)?;
    postfix.wait_mailbox("bob", 1)?;
    gateway.stop()
}

/// While one source pays, another one's mail is as fast as ever; and a source's debt follows it
/// from session to session, which a session's does not.
#[test]
fn debt_belongs_to_the_scope() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let bad = Ipv4Addr::new(127, 0, 0, 66);
    for scope in ["session", "source"] {
        let gateway = Gateway::start(&config(postfix.port(), "xclient", &pit("enforce", scope)))?;
        let port = gateway.port()?;
        let mut first = Client::hello_from(bad, port)?;
        let mut second = Client::hello_from(bad, port)?;
        let mut good = Client::hello_from(Ipv4Addr::new(127, 0, 0, 77), port)?;
        for client in [&mut first, &mut second, &mut good] {
            client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        }
        let start = Instant::now();
        first.send(b"RCPT TO:<a@example.org>\r\n")?;
        second.send(b"RCPT TO:<b@example.org>\r\n")?;
        at_once(&good.command("RCPT TO:<alice@example.org>")?.expect(250)?);
        first.reply()?.expect(550)?;
        second.reply()?.expect(550)?;
        let both = start.elapsed();
        let expected = if scope == "session" { DELAY } else { DELAY * 2 };
        assert!(
            both >= expected && both < expected + DELAY,
            "{scope}: {both:?}"
        );
        good.quit()?;
        drop((first, second));
        gateway.stop()?;
    }
    Ok(())
}

#[test]
fn exempt_networks_never_wait() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let exempt = "\n[[exempt]]\nnetwork = \"127.0.0.9/32\"\nreason = \"a partner\"\n";
    let rest = pit("enforce", "source") + exempt;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", &rest))?;
    for (source, waits) in [(9, false), (10, true)] {
        let mut client = Client::hello_from(Ipv4Addr::new(127, 0, 0, source), gateway.port()?)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        let reply = client
            .command("RCPT TO:<nobody@example.org>")?
            .expect(550)?;
        check(&reply, waits);
        client.quit()?;
    }
    gateway.stop()
}

/// A listener may have a mode and a delay of its own.
#[test]
fn one_listener_enforces_and_the_other_observes() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let second = "\n[[listener]]\nname = \"strict\"\naddress = \"127.0.0.1:0\"\n\
                  tarpit.mode = \"enforce\"\ntarpit.delay = \"1s\"\n";
    let gateway = Gateway::start(&config(postfix.port(), "xclient", second))?;
    for (listener, waits) in [("mx", false), ("strict", true)] {
        let mut client = Client::hello(gateway.port_of(listener)?)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        let reply = client
            .command("RCPT TO:<nobody@example.org>")?
            .expect(550)?;
        check(&reply, waits);
        client.quit()?;
    }
    gateway.stop()
}

/// A file of recipients gives a pit to a server that takes every name.
#[test]
fn recipients_from_a_file() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .set("virtual_alias_maps", "static:alice@example.org")
        .start()?;
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("recipients");
    std::fs::write(&list, "alice@example.org # the first\n")?;
    let rest = format!(
        "[recipients]\nsource = \"file\"\nfile = \"{}\"\n{}",
        list.display(),
        pit("enforce", "session")
    );
    let gateway = Gateway::start(&config(postfix.port(), "xclient", &rest))?;
    let ask = |name: &str| -> Result<Reply> {
        let mut client = Client::hello(gateway.port()?)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client.command(&format!("RCPT TO:<{name}@example.org>"))
    };
    at_once(&ask("alice")?.expect(250)?);
    held(&ask("bob")?.expect(550)?);
    std::fs::write(&list, "alice@example.org\nbob@example.org\n")?;
    let taken = tarpit_interop::wait_for(Duration::from_secs(20), || {
        ask("bob").ok().filter(|reply| reply.code == 250)
    });
    assert!(
        taken.is_some(),
        "the new list is not taken: {}",
        gateway.excerpt()
    );
    // A bad list is refused as a whole, and the old one kept.
    std::fs::write(&list, "alice@example.org\nthis is no address\n")?;
    let refused = || gateway.log().contains("this is no address").then_some(());
    assert!(
        tarpit_interop::wait_for(Duration::from_secs(20), refused).is_some(),
        "{}",
        gateway.excerpt()
    );
    at_once(&ask("bob")?.expect(250)?);
    gateway.stop()
}

/// A client whose connection is reset is noticed at once, and its place is free.
#[test]
fn hanging_up_in_the_pit() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let long = "[tarpit]\nmode = \"enforce\"\ndelay = \"60s\"\nhold_max = \"75s\"";
    let gateway = Gateway::start(&config(postfix.port(), "xclient", long))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.send(b"RCPT TO:<nobody@example.org>\r\n")?;
    assert!(client.is_silent(Duration::from_millis(500))?);
    client.reset()?;
    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert_eq!(session.text("end"), "hang_up_held", "{session:?}");
    assert!(session.number("seconds")? < 30.0, "{session:?}");
    gateway.stop()
}

/// Who only has nothing more to say still gets the reply that is due (DESIGN.md §4).
#[test]
fn half_closing_in_the_pit() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(
        postfix.port(),
        "xclient",
        &pit("enforce", "session"),
    ))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.send(b"RCPT TO:<nobody@example.org>\r\n")?;
    client.close_sending_side()?;
    held(&client.reply()?.expect(550)?);
    assert_eq!(client.read_to_close()?, "");
    gateway.wait_for_records("tarpit::session", 1)?;
    gateway.stop()
}
