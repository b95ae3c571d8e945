//! Way b of the recipes: the mail server keeps port 25, and a redirect that belongs to Tarpit's unit
//! sends outside traffic to Tarpit. Stopped, crashed or killed: mail goes straight to the mail server.
//!
//! The shipped unit and drop-in are read by a stand-in for systemd, which runs their lines.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Client, Net, Postfix, Service, Site, plain, received_part, repository, stuffed, wait_for,
};

/// What an administrator has before the recipe.
const BASE: &str = "hostname = \"gate.example.org\"\ndomains = [\"example.org\"]\n\
     [tarpit]\nmode = \"enforce\"\ndelay = \"20s\"\n[limits]\nsessions_per_source_max = 1000\n";

const GATE: &str = "gate.example.org";
const MTA: &str = "mail.example.org";

/// Postfix on port 25 as its package leaves it, and Tarpit beside it with a redirect.
struct Place {
    // First, since the service's end runs commands.
    service: Service,
    postfix: Postfix,
    site: Site,
}

fn place() -> Result<Place> {
    let postfix = Postfix::server().stock_networks().mx().start()?;
    let site = Site::new(
        BASE,
        "[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:2525\"\n[[upstream]]\naddress = \"127.0.0.1:25\"\n",
    )?;
    site.notes("postfix")?;
    let environment = postfix.environment();
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let told = site.run(&site.recipe("postfix", "b", "mta")?, &environment)?;
    ensure!(told == ["postfix reload"], "{told:?}");
    postfix.reload()?;
    site.adopt("postfix", "b")?;
    let told = site.run(&site.recipe("postfix", "b", "go")?, &environment)?;
    ensure!(
        told == [
            "systemctl daemon-reload",
            "systemctl enable tarpit",
            "systemctl restart tarpit"
        ],
        "{told:?}"
    );
    Ok(Place {
        service: site.start()?,
        postfix,
        site,
    })
}

/// Who greets a new connection to port 25, by name; nobody, if it is refused.
fn greeting(address: IpAddr) -> Option<(Client, String)> {
    let mut client = Client::connect_to(address, 25).ok()?;
    let greeting = client.reply().ok()?;
    let name = greeting.text().split(' ').next()?.to_owned();
    Some((client, name))
}

fn expect_greeting(address: IpAddr, name: &str) -> Result<Client> {
    let (client, found) = greeting(address).context("nobody answers on port 25")?;
    ensure!(found == name, "{found} answers, not {name}");
    Ok(client)
}

const SERVER: IpAddr = IpAddr::V4(Net::SERVER);

/// The promise of way b, by force: SIGKILL among a hundred sessions, some of them in the pit, some in
/// the middle of a message.
#[test]
fn killed_among_a_hundred_sessions() -> Result<()> {
    let net = Net::new()?;
    net.on_server(|| {
        let place = place()?;
        let sessions = net.from_outside(|| {
            let mut sessions = Vec::new();
            for number in 0..100 {
                let mut client = expect_greeting(SERVER, GATE)?;
                client.command("EHLO client.example.net")?.expect(250)?;
                client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
                // A source has 20 connections to the mail server at most.
                match number % 10 {
                    1..=5 => client.send(b"RCPT TO:<nobody@example.org>\r\n")?,
                    0 => {
                        client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
                        client.command("DATA")?.expect(354)?;
                        client.send(b"Subject: lost\r\n\r\nhalf a mess")?;
                    }
                    _ => {}
                }
                sessions.push(client);
            }
            Ok(sessions)
        })?;
        let process = place.service.wait_active()?.to_string();
        let start = Instant::now();
        let killed = std::process::Command::new("kill")
            .args(["-s", "KILL", &process])
            .status()?;
        ensure!(killed.success(), "kill: {killed}");
        let took = net.from_outside(|| {
            let seen = wait_for(Duration::from_secs(10), || {
                greeting(SERVER).filter(|(_, name)| name == MTA)
            });
            let (mut client, _) = seen.context("the mail server never answers")?;
            let took = start.elapsed();
            // Not only its greeting: it takes mail.
            client.command("EHLO client.example.net")?.expect(250)?;
            let wire = stuffed(&plain("straight"));
            client
                .deliver("s@example.net", &["bob@example.org"], &wire)?
                .expect(250)?;
            Ok(took)
        })?;
        println!("the mail server answers {took:?} after SIGKILL");
        ensure!(took < Duration::from_secs(2), "{took:?}");
        // What was cut is neither acknowledged nor delivered.
        net.from_outside(|| {
            for mut session in sessions {
                ensure!(
                    !session.read_to_close()?.contains("250"),
                    "a late acknowledgement"
                );
            }
            Ok(())
        })?;
        // And it comes back by itself.
        place.service.wait_active()?;
        net.from_outside(|| expect_greeting(SERVER, GATE).map(drop))?;
        ensure!(rules()?.matches("redirect to").count() == 1, "{}", rules()?);
        place.postfix.wait_mailbox("bob", 1)?;
        ensure!(
            place.postfix.mailbox("alice")?.is_empty(),
            "half a message was delivered"
        );
        place.service.stop()
    })
}

/// A stop in good order: who comes after it gets the mail server at once, who is being served is
/// served to the end.
#[test]
fn a_stop_lets_running_transactions_finish() -> Result<()> {
    let net = Net::new()?;
    net.on_server(|| {
        let place = place()?;
        let message = plain("drained");
        let wire = stuffed(&message);
        let (start, rest) = wire.split_at(wire.len() / 2);
        let mut client = net.from_outside(|| {
            let mut client = expect_greeting(SERVER, GATE)?;
            client.command("EHLO client.example.net")?.expect(250)?;
            client.begin("s@example.net", &["alice@example.org"])?;
            client.send(start)?;
            Ok(client)
        })?;
        place.service.begin_stop();
        net.from_outside(|| {
            let begun = Instant::now();
            let seen = wait_for(Duration::from_secs(10), || {
                greeting(SERVER).filter(|(_, name)| name == MTA)
            });
            seen.context("the mail server never answers while Tarpit drains")?;
            let took = begun.elapsed();
            ensure!(took < Duration::from_secs(2), "{took:?}");
            // The rest of the message, by the old connection.
            client.send(rest)?;
            let reply = client.reply().with_context(|| place.service.log())?;
            reply.expect(250)?;
            Ok(())
        })?;
        place.service.stop()?;
        let stored = place.postfix.wait_mailbox("alice", 1)?;
        assert_eq!(received_part(&stored[0]), message);
        ensure!(
            !rules()?.contains("tarpit"),
            "the table is left: {}",
            rules()?
        );
        Ok(())
    })
}

/// The redirect is for those outside alone: neither Tarpit's own connections nor those of the
/// machine's own programs are sent round; and it tells the mail server who the client is.
#[test]
fn only_connections_from_outside_are_redirected() -> Result<()> {
    let net = Net::new()?;
    net.on_server(|| {
        let place = place()?;
        for own in [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            SERVER,
            IpAddr::V6(Net::SERVER_V6),
        ] {
            expect_greeting(own, MTA).with_context(|| format!("from inside to {own}"))?;
        }
        net.from_outside(|| {
            expect_greeting(IpAddr::V6(Net::SERVER_V6), GATE)?;
            let mut client = expect_greeting(SERVER, GATE)?;
            client.command("EHLO client.example.net")?.expect(250)?;
            let wire = stuffed(&plain("through"));
            client
                .deliver("s@example.net", &["alice@example.org"], &wire)?
                .expect(250)?;
            // Stock Postfix trusts loopback; behind the recipe's service it must not.
            client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
            client.command("RCPT TO:<x@example.com>")?.expect_class(5)?;
            Ok(())
        })?;
        let stored = place.postfix.wait_mailbox("alice", 1)?;
        let head = String::from_utf8_lossy(&stored[0]).into_owned();
        ensure!(head.contains(&format!("[{}]", Net::OUTSIDE)), "{head}");
        place.service.stop()
    })
}

/// The way back leaves the mail server as it was.
#[test]
fn the_way_back_of_b() -> Result<()> {
    let net = Net::new()?;
    net.on_server(|| {
        let Place {
            service,
            postfix,
            site,
        } = place()?;
        let environment = postfix.environment();
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        service.stop()?;
        let told = site.run(&site.recipe("postfix", "b", "back")?, &environment)?;
        ensure!(
            told == [
                "systemctl disable --now tarpit",
                "systemctl daemon-reload",
                "postfix reload"
            ],
            "{told:?}"
        );
        postfix.reload()?;
        net.from_outside(|| expect_greeting(SERVER, MTA).map(drop))?;
        ensure!(
            wait_for(Duration::from_secs(10), || {
                Client::connect(10_025).is_err().then_some(())
            })
            .is_some(),
            "the service for Tarpit is still there"
        );
        Ok(())
    })
}

/// What is shipped is what the recipe prints, so the tests above are about the package too.
#[test]
fn the_shipped_drop_in_is_that_of_the_recipe() -> Result<()> {
    let site = Site::new(
        BASE,
        "[[listener]]\nname = \"mx\"\naddress = \"[::]:2525\"\n[[upstream]]\naddress = \"127.0.0.1:10025\"\n",
    )?;
    let shipped = repository().join("packaging/systemd/tarpit-redirect.conf");
    assert_eq!(
        site.recipe("exim", "b", "redirect")?,
        fs::read_to_string(shipped)?
    );
    Ok(())
}

fn rules() -> Result<String> {
    let output = std::process::Command::new("/usr/sbin/nft")
        .args(["list", "ruleset"])
        .output();
    let output = output.context("nftables is not there: run `cargo xtask install`")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
