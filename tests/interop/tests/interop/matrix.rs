//! Every client through the gateway to every server, with every protection: the table of what
//! works. Each cell prints one line. The same without the gateway shows that a red cell is the
//! gateway's fault, and not that of the tests.

mod cell;
mod servers;

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use tarpit_interop::{Certificates, Courier, Gateway, Tls, Way};

use cell::{Cell, table};
use servers::{AIOSMTPD, BuiltIn, EXIM, HARAKA, OPENSMTPD, POSTFIX, Upstream};

/// Each client by each way, each from an address of its own.
fn cells(certificates: &Certificates, port: impl Fn(Tls) -> Option<u16>) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (column, tls) in (1..).zip(Tls::ALL) {
        for (row, courier) in (1..).zip(Courier::ALL) {
            let Some(port) = port(tls) else { continue };
            cells.push(Cell {
                courier,
                way: Way {
                    port,
                    tls,
                    source: Ipv4Addr::new(127, 0, column, row),
                    authority: certificates.authority(),
                },
            });
        }
    }
    cells
}

fn direct(upstream: &Upstream) -> Result<()> {
    let certificates = Certificates::new()?;
    let server = (upstream.start)(&certificates.issue(&["mail.example.org"])?)?;
    // With a certificate, it has both.
    let cells = cells(&certificates, |tls| match tls {
        Tls::Plain => Some(server.port()),
        Tls::StartTls => server.implicit_port().map(|_| server.port()),
        Tls::Implicit => server.implicit_port(),
    });
    table(cells, upstream, server.as_ref())
}

/// A gateway with a certificate, a listener for each way, and `behind` in its configuration.
fn gateway(certificates: &Certificates, behind: &str) -> Result<Gateway> {
    let pair = certificates.issue(&["gate.example.org"])?;
    Gateway::start(&format!(
        r#"hostname = "gate.example.org"
domains = ["example.org"]

[[listener]]
name = "mx"
address = "127.0.0.1:0"

[[listener]]
name = "smtps"
address = "127.0.0.1:0"
tls = "implicit"

[[certificate]]
chain = "{}"
key = "{}"

{behind}
"#,
        pair.chain.display(),
        pair.key.display()
    ))
}

/// The cells of a gateway made by [`gateway`].
fn gateway_cells(gateway: &Gateway, certificates: &Certificates) -> Result<Vec<Cell>> {
    let (mx, smtps) = (gateway.port_of("mx")?, gateway.port_of("smtps")?);
    Ok(cells(certificates, |tls| match tls {
        Tls::Plain | Tls::StartTls => Some(mx),
        Tls::Implicit => Some(smtps),
    }))
}

fn through(upstream: &Upstream) -> Result<()> {
    let certificates = Certificates::new()?;
    let server = (upstream.start)(&certificates.issue(&["mail.example.org"])?)?;
    let port = match upstream.identity {
        "proxy-v2" => server.proxy_port().context("no port for PROXY")?,
        _ => server.port(),
    };
    let behind = format!(
        "[[upstream]]\naddress = \"127.0.0.1:{port}\"\nidentity = \"{}\"",
        upstream.identity
    );
    let gateway = gateway(&certificates, &behind)?;
    let cells = gateway_cells(&gateway, &certificates)?;
    let result = table(cells, upstream, server.as_ref());
    result.with_context(|| format!("the gateway's log:\n{}", gateway.excerpt()))?;
    gateway.stop()
}

#[test]
fn postfix_direct() -> Result<()> {
    direct(&POSTFIX)
}

#[test]
fn exim_direct() -> Result<()> {
    direct(&EXIM)
}

#[test]
fn opensmtpd_direct() -> Result<()> {
    direct(&OPENSMTPD)
}

#[test]
fn haraka_direct() -> Result<()> {
    direct(&HARAKA)
}

#[test]
fn aiosmtpd_direct() -> Result<()> {
    direct(&AIOSMTPD)
}

#[test]
fn postfix_through_the_gateway() -> Result<()> {
    through(&POSTFIX)
}

#[test]
fn exim_through_the_gateway() -> Result<()> {
    through(&EXIM)
}

#[test]
fn opensmtpd_through_the_gateway() -> Result<()> {
    through(&OPENSMTPD)
}

#[test]
fn haraka_through_the_gateway() -> Result<()> {
    through(&HARAKA)
}

#[test]
fn aiosmtpd_through_the_gateway() -> Result<()> {
    through(&AIOSMTPD)
}

/// The only server here that takes BINARYMIME.
#[test]
fn built_in_maildir() -> Result<()> {
    let certificates = Certificates::new()?;
    let maildir = BuiltIn::new()?;
    let gateway = gateway(&certificates, &maildir.settings())?;
    let cells = gateway_cells(&gateway, &certificates)?;
    let result = table(cells, &maildir.abilities(), &maildir);
    result.with_context(|| format!("the gateway's log:\n{}", gateway.excerpt()))?;
    gateway.stop()
}
