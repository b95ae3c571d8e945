//! A gateway with something to see: mail, guesses, sessions that are held, and harm.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{Client, FaultServer, Gateway};

/// Sessions of the scene that are held.
pub const HELD: u16 = 24;

/// The address of a gateway's page, without the slash.
///
/// # Errors
/// When it has none.
pub fn page_of(gateway: &Gateway) -> Result<String> {
    let url = gateway.wait_records(|records| {
        let mut shown = records.iter();
        let shown = shown.find(|record| record.text("message") == "figures are shown")?;
        Some(shown.text("url"))
    })?;
    let page = url.strip_suffix("/metrics").map(str::to_owned);
    page.context("an address")
}

/// A gateway before a server that takes everything, and the clients that it holds.
#[derive(Debug)]
pub struct Busy {
    /// The gateway.
    pub gateway: Gateway,
    held: Vec<Client>,
    _server: FaultServer,
    _folder: TempDir,
}

impl Busy {
    /// Starts it; nobody has come yet. `more` goes into the configuration.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(more: &str) -> Result<Self> {
        let server = FaultServer::start()?;
        let folder = tempfile::tempdir()?;
        let names = folder.path().join("names.txt");
        fs::write(
            &names,
            "alice@example.org\nbob@example.org\ncarol@example.org\n",
        )?;
        let config = format!(
            r#"hostname = "gate.example.org"
domains = ["example.org"]
admin.address = "127.0.0.1:0"
{more}

[[listener]]
name = "mx"
address = "127.0.0.1:0"

[[upstream]]
name = "behind"
address = "127.0.0.1:{}"
identity = "none"

[recipients]
source = "file"
file = "{}"

[tarpit]
mode = "enforce"
delay = "60s"
hold_max = "75s"
scope = "source"

[keepers]
directory = "{}"
"#,
            server.port(),
            names.display(),
            // Other gateways of this user may have keepers, whose sessions would be shown here too.
            folder.path().display()
        );
        Ok(Self {
            gateway: Gateway::start(&config)?,
            held: Vec::new(),
            _server: server,
            _folder: folder,
        })
    }

    /// The address of its page, without the slash.
    ///
    /// # Errors
    /// When it has none.
    pub fn page(&self) -> Result<String> {
        page_of(&self.gateway)
    }

    /// Senders of wanted mail, each with so many messages.
    ///
    /// # Errors
    /// When one is not accepted.
    pub fn mail(&self, senders: u8, messages: u32) -> Result<()> {
        for number in 0..senders {
            let source = Ipv4Addr::new(127, 20, 0, number + 1);
            let mut client = Client::hello_from(source, self.gateway.port()?)?;
            for _ in 0..messages {
                let text = b"Subject: x\r\n\r\nText\r\n.\r\n";
                let to = ["alice@example.org", "bob@example.org"];
                client.deliver("s@example.net", &to, text)?.expect(250)?;
            }
            client.quit()?;
        }
        Ok(())
    }

    /// One of them guesses wrong, waits for a moment, and hangs up: harm.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn harm(&self) -> Result<()> {
        let mut client = Client::hello_from(Ipv4Addr::new(127, 20, 0, 1), self.gateway.port()?)?;
        client
            .command("MAIL FROM:<news@example.net>")?
            .expect(250)?;
        client.send(b"RCPT TO:<left.long.ago@example.org>\r\n")?;
        // Is held, and says nothing.
        client.is_silent(Duration::from_millis(1500))?;
        client.reset()
    }

    /// Harvesters of 127.`network`.0.0/16: [`HELD`] are held, each after a name that exists, and one
    /// that hung up.
    ///
    /// # Errors
    /// When one is not let in.
    pub fn harvest(&mut self, network: u8) -> Result<()> {
        for number in 0..=HELD {
            let [high, low] = number.to_be_bytes();
            let source = Ipv4Addr::new(127, network, high, low + 1);
            let mut client = Client::hello_from(source, self.gateway.port()?)?;
            client.command("MAIL FROM:<x@example.com>")?.expect(250)?;
            client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
            client.send(format!("RCPT TO:<guess{number}@example.org>\r\n").as_bytes())?;
            if number < HELD {
                self.held.push(client);
            } else {
                client.is_silent(Duration::from_millis(300))?;
                client.reset()?;
            }
        }
        Ok(())
    }

    /// Those who were held hang up.
    pub fn leave(&mut self) {
        self.held.clear();
    }
}
