//! The recipes, against the real servers: each block is run as `tarpit recipe` prints it, in a
//! network namespace, so that it is about port 25. Way b has more tests in `redirect.rs`.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Client, Exim, Group, MailServer, Net, OpenSmtpd, Postfix, Service, Site, haproxy, plain,
    received_part, stuffed, wait_for, wait_message,
};

const BASE: &str = "hostname = \"gate.example.org\"\ndomains = [\"example.org\"]\n\
     [tarpit]\nmode = \"enforce\"\n";

/// What an administrator has who only installed the package.
const TABLES: &str = "[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:2525\"\n\
     [[upstream]]\naddress = \"127.0.0.1:25\"\n";

const GATE: &str = "gate.example.org";
const SERVER: IpAddr = IpAddr::V4(Net::SERVER);

/// Waits until port 25 is answered by `name`, as seen from outside.
fn wait_greeting(net: &Net, name: &str) -> Result<()> {
    net.from_outside(|| {
        let mut last = String::new();
        let seen = wait_for(Duration::from_secs(15), || {
            let mut client = Client::connect_to(SERVER, 25).ok()?;
            last = client.reply().ok()?.text();
            last.starts_with(name).then_some(())
        });
        seen.with_context(|| format!("{name} does not answer on port 25; last: {last:?}"))
    })
}

/// Mail from outside arrives unchanged, strangers can't relay, and the server knows the client.
fn mail_passes(net: &Net, server: &dyn MailServer, subject: &str) -> Result<()> {
    let message = plain(subject);
    net.from_outside(|| {
        let mut client = Client::connect_to(SERVER, 25)?;
        client.reply()?.expect(220)?;
        client.command("EHLO client.example.net")?.expect(250)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client.command("RCPT TO:<x@example.com>")?.expect_class(5)?;
        client.command("RSET")?.expect(250)?;
        client
            .deliver("s@example.net", &["alice@example.org"], &stuffed(&message))?
            .expect(250)?;
        client.quit()
    })?;
    let found = wait_message(server, "alice", subject)?;
    ensure!(received_part(&found) == message, "the message was changed");
    let head = String::from_utf8_lossy(&found).into_owned();
    ensure!(
        head.contains(&format!("[{}]", Net::OUTSIDE)),
        "the server doesn't know the client:\n{head}"
    );
    Ok(())
}

/// `systemctl` is told exactly this by a block.
fn expect_told(told: &[String], wanted: &[&str]) -> Result<()> {
    ensure!(told == wanted, "{told:?}, not {wanted:?}");
    Ok(())
}

/// What the recipe's own check says of the result: nothing that blocks.
fn checked(site: &Site, server: &str, way: &str) -> Result<()> {
    site.run(&site.recipe(server, way, "check")?, &[]).map(drop)
}

#[test]
fn postfix_way_a_and_back() -> Result<()> {
    let net = Net::new()?;
    net.on_server(|| {
        let postfix = Postfix::server().stock_networks().mx().start()?;
        let site = Site::new(BASE, TABLES)?;
        site.notes("postfix")?;
        let environment = postfix.environment();
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        wait_greeting(&net, "mail.example.org")?;
        site.run(&site.recipe("postfix", "a", "mta")?, &environment)?;
        postfix.reload()?;
        site.adopt("postfix", "a")?;
        checked(&site, "postfix", "a")?;
        let told = site.run(&site.recipe("postfix", "a", "go")?, &environment)?;
        expect_told(
            &told,
            &[
                "postfix reload",
                "systemctl enable tarpit",
                "systemctl restart tarpit",
            ],
        )?;
        postfix.reload()?;
        let service = site.start()?;
        wait_greeting(&net, GATE)?;
        mail_passes(&net, &postfix, "through")?;
        service.stop()?;
        let told = site.run(&site.recipe("postfix", "a", "back")?, &environment)?;
        expect_told(&told, &["systemctl disable --now tarpit", "postfix reload"])?;
        postfix.reload()?;
        wait_greeting(&net, "mail.example.org")?;
        Ok(())
    })
}

/// A server that is configured by lines in its file, and started again for it.
struct Kind {
    name: &'static str,
    greeting: &'static str,
    restart: &'static str,
    /// How it listens before Tarpit comes.
    before: &'static str,
    start: fn(&str) -> Result<Box<dyn MailServer>>,
}

const EXIM: Kind = Kind {
    name: "exim",
    greeting: "exim.example.org",
    restart: "systemctl restart exim4",
    before: "daemon_smtp_ports = 25\n",
    start: |listen| Ok(Box::new(Exim::listening(listen)?)),
};

const OPENSMTPD: Kind = Kind {
    name: "opensmtpd",
    // It greets with the name of the machine.
    greeting: "",
    restart: "systemctl restart opensmtpd",
    before: "listen on 0.0.0.0 port 25\n",
    start: |listen| {
        let port = listen.split("port ").nth(1).context("no port")?;
        let port = port.split_whitespace().next().context("no port")?;
        Ok(Box::new(OpenSmtpd::listening(listen, port.parse()?)?))
    },
};

impl Kind {
    fn site(&self) -> Result<Site> {
        let site = Site::new(BASE, TABLES)?;
        // Its check of its own file; the start is one, too.
        site.notes("smtpd")?;
        Ok(site)
    }

    /// Runs a block; `smtpd -n` in it changes nothing.
    fn run(&self, site: &Site, way: &str, part: &str) -> Result<Vec<String>> {
        let mut told = site.run(&site.recipe(self.name, way, part)?, &[])?;
        told.retain(|line| line != "smtpd -n");
        Ok(told)
    }

    fn way_a(&self) -> Result<()> {
        let net = Net::new()?;
        net.on_server(|| {
            let server = (self.start)(self.before)?;
            let site = self.site()?;
            wait_greeting(&net, self.greeting)?;
            let listen = site.recipe(self.name, "a", "mta")?;
            site.adopt(self.name, "a")?;
            let told = self.run(&site, "a", "go")?;
            let tarpit = ["systemctl enable tarpit", "systemctl restart tarpit"];
            expect_told(&told, &[&[self.restart], &tarpit[..]].concat())?;
            drop(server);
            let server = (self.start)(&listen)?;
            let service = site.start()?;
            wait_greeting(&net, GATE)?;
            checked(&site, self.name, "a")?;
            mail_passes(&net, &*server, "through")?;
            let told = self.run(&site, "a", "back")?;
            expect_told(&told, &["systemctl disable --now tarpit", self.restart])?;
            service.stop()?;
            drop(server);
            let _server = (self.start)(self.before)?;
            wait_greeting(&net, self.greeting)
        })
    }

    fn way_b(&self) -> Result<()> {
        let net = Net::new()?;
        net.on_server(|| {
            let site = self.site()?;
            let more = site.recipe(self.name, "b", "mta")?;
            // Exim's block stands for the old lines, OpenSMTPD's is one more.
            let listen = if more.contains("]:25 ") {
                more
            } else {
                format!("{}{more}", self.before)
            };
            let server = (self.start)(&listen)?;
            site.adopt(self.name, "b")?;
            let told = self.run(&site, "b", "go")?;
            let tarpit = [
                "systemctl daemon-reload",
                "systemctl enable tarpit",
                "systemctl restart tarpit",
            ];
            expect_told(&told, &[&[self.restart], &tarpit[..]].concat())?;
            wait_greeting(&net, self.greeting)?;
            let service = site.start()?;
            wait_greeting(&net, GATE)?;
            checked(&site, self.name, "b")?;
            mail_passes(&net, &*server, "through")?;
            service.stop()?;
            wait_greeting(&net, self.greeting)?;
            mail_passes(&net, &*server, "straight")?;
            let told = self.run(&site, "b", "back")?;
            let wanted = [
                "systemctl disable --now tarpit",
                "systemctl daemon-reload",
                self.restart,
            ];
            expect_told(&told, &wanted)
        })
    }
}

#[test]
fn exim_way_a_and_back() -> Result<()> {
    EXIM.way_a()
}

#[test]
fn exim_way_b_and_back() -> Result<()> {
    EXIM.way_b()
}

#[test]
fn opensmtpd_way_a_and_back() -> Result<()> {
    OPENSMTPD.way_a()
}

#[test]
fn opensmtpd_way_b_and_back() -> Result<()> {
    OPENSMTPD.way_b()
}

/// HAProxy in front, with the mail server as the one that stands by.
fn behind_haproxy(way: &str) -> Result<()> {
    let net = Net::new()?;
    net.on_server(|| {
        let postfix = Postfix::server().xclient().start()?;
        let tables = TABLES.replace("127.0.0.1:25\"", &format!("127.0.0.1:{}\"", postfix.port()));
        let site = Site::new(BASE, &format!("{tables}identity = \"xclient\"\n"))?;
        site.adopt("haproxy", way)?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, site.recipe("haproxy", way, "mta")?)?;
        let checked = haproxy()?.arg("-c").arg("-f").arg(&file).output()?;
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        ensure!(
            checked.status.success() && !said.contains("ALERT"),
            "{said}"
        );
        let service: Service = site.start()?;
        let mut command = haproxy()?;
        command.arg("-db").arg("-f").arg(&file);
        let output = fs::File::create(folder.path().join("log"))?;
        let _proxy = Group::spawn_with_output(&command, &output)?;
        wait_greeting(&net, GATE)?;
        mail_passes(&net, &postfix, "through")?;
        service.stop()?;
        if way == "b" {
            wait_greeting(&net, "mail.example.org")?;
        }
        Ok(())
    })
}

#[test]
fn haproxy_way_a() -> Result<()> {
    behind_haproxy("a")
}

#[test]
fn haproxy_way_b() -> Result<()> {
    behind_haproxy("b")
}
