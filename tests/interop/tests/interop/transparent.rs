//! The upstream sees the client's own address, since the connection comes from it; and a gateway that
//! connects to itself notices. Between network namespaces, with the commands of docs/transparent.md.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Behind, Client, Gateway, Net, Postfix, plain, received_part, repository, stuffed,
};

/// Runs the commands of the page's block that begins with `# NAME`, as they stand there.
fn run_block(name: &str) -> Result<()> {
    let page = std::fs::read_to_string(repository().join("docs/transparent.md"))?;
    let start = format!("```sh\n# {name}\n");
    let (_, rest) = page
        .split_once(&start)
        .with_context(|| format!("docs/transparent.md has no block {name}"))?;
    let (block, _) = rest.split_once("```").context("the block has no end")?;
    for line in block.lines() {
        shell(line)?;
    }
    Ok(())
}

/// As a shell does it, but for `;`, which nft wants for itself.
fn shell(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty line")?;
    let output = Command::new(program).args(words).output()?;
    ensure!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Listens on every address; asks the server at `addresses`, a TOML list.
fn config(addresses: &str) -> String {
    format!(
        "hostname = \"gate.example.org\"\ndomains = [\"example.org\"]\n\
         [[listener]]\nname = \"mx\"\naddress = \"[::]:0\"\n\
         [[upstream]]\naddress = [{addresses}]\nidentity = \"transparent\"\nconnect_timeout = \"2s\"\n"
    )
}

fn hello(server: IpAddr, port: u16) -> Result<Client> {
    let mut client = Client::connect_to(server, port)?;
    client.reply()?.expect(220)?;
    client.command("EHLO client.example.net")?.expect(250)?;
    Ok(client)
}

/// Sends a message to the gateway at `server`.
fn deliver(server: IpAddr, port: u16, tag: &str) -> Result<Vec<u8>> {
    let message = plain(tag);
    let mut client = hello(server, port)?;
    client
        .deliver("s@example.net", &["alice@example.org"], &stuffed(&message))?
        .expect(250)?;
    client.quit()?;
    Ok(message)
}

#[test]
fn the_upstream_sees_the_client() -> Result<()> {
    let net = Net::new()?;
    let behind = net.behind()?;
    behind.run(|| {
        let postfix = Postfix::server().mx().start()?;
        run_block("mail-server")?;
        net.on_server(|| {
            run_block("gateway")?;
            let addresses = format!("\"{}:25\", \"[fd00::2]:25\"", Behind::ADDRESS);
            let gateway = Gateway::start(&config(&addresses))?;
            let port = gateway.port()?;
            let servers: [IpAddr; 2] = [Net::SERVER.into(), Net::SERVER_V6.into()];
            for (server, client) in servers.into_iter().zip(["192.0.2.2", "2001:db8::2"]) {
                let before = postfix.mailbox("alice")?.len();
                let message = net.from_outside(|| deliver(server, port, "transparent"))?;
                let stored = postfix.wait_mailbox("alice", before + 1)?;
                let stored = stored.last().context("no message")?;
                ensure!(received_part(stored) == message, "changed on the way");
                let head = String::from_utf8_lossy(stored).into_owned();
                ensure!(
                    head.contains(&format!("[{client}]"))
                        || head.contains(&format!("[IPv6:{client}]")),
                    "{head}"
                );
                ensure!(head.contains("from client.example.net ("), "{head}");
                postfix.wait_log(&format!("connect from unknown[{client}]"))?;
            }
            let log = postfix.log();
            for ours in ["[10.0.0.1]", "[fd00::1]"] {
                ensure!(
                    !log.contains(&format!("client=unknown{ours}")),
                    "as the gateway: {log}"
                );
            }
            // It tries other ways, too, from its own address.
            let checked = Gateway::check(&config(&addresses))?;
            let said = String::from_utf8_lossy(&checked.stdout).into_owned();
            ensure!(checked.status.success(), "{said}");
            ensure!(
                said.contains("Identity: it takes connections from the client's address"),
                "{said}"
            );
            ensure!(!said.contains("this machine's own address"), "{said}");
            gateway.stop()?;
            run_block("gateway-undo")
        })
    })
}

/// Without the way back there is no mail, and never mail in the gateway's own name.
#[test]
fn without_the_routing_nothing_goes_through() -> Result<()> {
    let net = Net::new()?;
    let behind = net.behind()?;
    behind.run(|| {
        let postfix = Postfix::server().mx().start()?;
        run_block("mail-server")?;
        net.on_server(|| {
            let addresses = format!("\"{}:25\"", Behind::ADDRESS);
            let gateway = Gateway::start(&config(&addresses))?;
            let port = gateway.port()?;
            net.from_outside(|| {
                let mut client = hello(Net::SERVER.into(), port)?;
                client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
                client.command("RCPT TO:<alice@example.org>")?.expect(451)?;
                client.quit()?;
                Ok(())
            })?;
            ensure!(postfix.mailbox("alice")?.is_empty(), "{}", postfix.log());
            gateway.stop()
        })
    })
}

#[test]
fn the_upstream_on_the_same_machine_sees_the_client() -> Result<()> {
    let net = Net::new()?;
    net.on_server(|| {
        let postfix = Postfix::server().start()?;
        run_block("same-machine")?;
        let gateway = Gateway::start(&config(&format!("\"127.0.0.1:{}\"", postfix.port())))?;
        let port = gateway.port()?;
        let message = net.from_outside(|| deliver(Net::SERVER.into(), port, "same"))?;
        let stored = postfix.wait_mailbox("alice", 1)?;
        ensure!(received_part(&stored[0]) == message, "changed on the way");
        postfix.wait_log("connect from unknown[192.0.2.2]")?;
        gateway.stop()
    })
}

/// The way to the upstream leads back to the gateway, by a redirect that no configuration shows.
#[test]
fn a_loop_through_ourselves_ends_at_its_first_turn() -> Result<()> {
    let net = Net::new()?;
    net.on_server(|| {
        for line in [
            "nft add table ip loop",
            "nft add chain ip loop output { type nat hook output priority -100 ; policy accept ; }",
            "nft add rule ip loop output ip daddr 192.0.2.99 tcp dport 25 redirect to :2525",
        ] {
            shell(line)?;
        }
        let gateway = Gateway::start(
            "hostname = \"gate.example.org\"\ndomains = [\"example.org\"]\n\
             [[listener]]\nname = \"mx\"\naddress = \"0.0.0.0:2525\"\n\
             [[upstream]]\naddress = \"192.0.2.99:25\"\n",
        )?;
        gateway.wait_records(|records| {
            let says = |text: &str| {
                records
                    .iter()
                    .any(|record| record.text("message").contains(text))
            };
            says("connected to itself").then_some(())
        })?;
        gateway.stop()
    })
}
