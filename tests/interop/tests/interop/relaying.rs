//! Never an open relay: a server that trusts the gateway's address must not become one behind it
//! (DESIGN.md §2, promise 7).

use std::time::Duration;

use anyhow::{Context as _, Result};
use tarpit_interop::{Client, Gateway, Postfix, config, own_address, wait_for};

/// Long enough for a start, a probe and a look at its result.
const PATIENCE: Duration = Duration::from_secs(30);

fn everywhere(port: u16, rest: &str) -> String {
    config(port, "none", rest).replace("127.0.0.1:0", "0.0.0.0:0")
}

/// Waits for the sentence that an administrator will look for.
fn says_why(gateway: &Gateway) -> Result<()> {
    let said = || {
        gateway
            .log()
            .contains("your server trusts this gateway's address")
            .then_some(())
    };
    wait_for(PATIENCE, said).with_context(|| gateway.excerpt())?;
    let log = gateway.log();
    // What to change, in the words of the server that is behind.
    assert!(
        log.contains("mynetworks") && log.contains("identity"),
        "{log}"
    );
    Ok(())
}

#[test]
fn the_stock_networks_of_postfix() -> Result<()> {
    let postfix = Postfix::server().stock_networks().start()?;
    let mut gateway = Gateway::launch(&everywhere(postfix.port(), ""))?;
    says_why(&gateway)?;
    // It may run and try again, or end with an error; it must not listen.
    if gateway.runs() {
        assert_eq!(gateway.listening()?, [], "{}", gateway.excerpt());
    }
    // The probe asks as a stranger would, and sends nothing.
    assert!(!postfix.log().contains("status="), "{}", postfix.log());
    Ok(())
}

/// On loopback only this machine's own clients are served, which the server trusts anyway.
#[test]
fn loopback_is_served_all_the_same() -> Result<()> {
    let postfix = Postfix::server().stock_networks().start()?;
    let two = format!(
        "{}\n[[listener]]\nname = \"wide\"\naddress = \"0.0.0.0:0\"\n",
        config(postfix.port(), "none", "")
    );
    let gateway = Gateway::launch(&two)?;
    says_why(&gateway)?;
    let serves = || Client::hello(gateway.port().ok()?).ok();
    wait_for(PATIENCE, serves).with_context(|| gateway.excerpt())?;
    let open = gateway.listening()?;
    assert!(open.len() == 1 && open[0].ip().is_loopback(), "{open:?}");
    gateway.stop()
}

/// On loopback too, if a proxy there brings clients from elsewhere.
#[test]
fn a_proxy_on_loopback_is_not_served() -> Result<()> {
    let postfix = Postfix::server().stock_networks().start()?;
    for key in ["proxy_protocol", "xclient"] {
        let proxied = config(postfix.port(), "none", "").replace(
            "address = \"127.0.0.1:0\"",
            &format!("address = \"127.0.0.1:0\"\n{key} = [\"127.0.0.0/8\"]"),
        );
        assert!(proxied.contains(key), "{proxied}");
        let mut gateway = Gateway::launch(&proxied)?;
        says_why(&gateway)?;
        if gateway.runs() {
            assert_eq!(gateway.listening()?, [], "{}", gateway.excerpt());
        }
    }
    Ok(())
}

#[test]
fn who_means_it_says_so() -> Result<()> {
    let postfix = Postfix::server().stock_networks().start()?;
    let gateway = Gateway::start(&everywhere(postfix.port(), "upstream_relays = true"))?;
    assert_eq!(gateway.listening()?.len(), 1);
    gateway.stop()
}

#[test]
fn a_server_that_relays_for_nobody() -> Result<()> {
    let postfix = Postfix::server().start()?;
    let gateway = Gateway::start(&everywhere(postfix.port(), ""))?;
    assert_eq!(gateway.listening()?.len(), 1);
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    let reply = client.command("RCPT TO:<victim@example.com>")?;
    assert!(
        reply.code >= 400,
        "relayed: {} {}",
        reply.code,
        reply.text()
    );
    gateway.stop()
}

/// Asked again when the server comes back: settings change at a restart.
#[test]
fn a_server_that_begins_to_relay() -> Result<()> {
    let mut postfix = Postfix::server().start()?;
    let gateway = Gateway::start(&everywhere(postfix.port(), ""))?;
    let port = gateway.port()?;
    postfix.kill();
    let mut client = Client::hello(port)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(451)?;
    drop(client);
    postfix.restart(&[("mynetworks", "127.0.0.0/8")])?;
    says_why(&gateway)?;
    let stranger = own_address().context("the machine has no address outside loopback")?;
    let closed = || match Client::connect_to(stranger, port) {
        Err(_) => Some(()),
        Ok(mut client) => client
            .reply()
            .ok()
            .filter(|reply| reply.code == 421)
            .map(drop),
    };
    wait_for(PATIENCE, closed).with_context(|| gateway.excerpt())?;
    assert!(
        !postfix.log().contains("status="),
        "something was relayed: {}",
        postfix.log()
    );
    gateway.stop()
}

/// Domains that are not ours are refused before the server is asked, once the pit is on.
#[test]
fn other_domains() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let pit = "[tarpit]\nmode = \"enforce\"\ndelay = \"500ms\"";
    let gateway = Gateway::start(&config(postfix.port(), "xclient", pit))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    let reply = client
        .command("RCPT TO:<victim@example.com>")?
        .expect(550)?;
    assert!(reply.text().starts_with("5.7.1"), "{}", reply.text());
    assert!(
        reply.after >= Duration::from_millis(500),
        "{:?}",
        reply.after
    );
    client.command("RCPT TO:<alice@EXAMPLE.org>")?.expect(250)?;
    client.quit()?;
    // What came after it is logged; what came before would be, too.
    postfix.wait_log("disconnect from unknown[127.0.0.1]")?;
    assert!(!postfix.log().contains("victim"), "{}", postfix.log());
    gateway.stop()
}
