//! Mail servers as clients: each takes the messages from us, and sends them on as it likes.

use anyhow::{Context as _, Result};

use super::{Form, Letter, Relay, Tls, Way};
use crate::{Client, Exim, MailServer, OpenSmtpd, Postfix, stuffed};

pub(super) fn postfix(way: &Way, letters: &[Letter]) -> Result<Relay> {
    let level = match way.tls {
        Tls::Plain => "none",
        Tls::StartTls | Tls::Implicit => "secure",
    };
    let wrapper = if way.tls == Tls::Implicit {
        "yes"
    } else {
        "no"
    };
    let relay = Postfix::relaying_to(way.port)
        .set("mynetworks", "127.0.0.0/8")
        .set("smtp_bind_address", &way.source.to_string())
        .set("smtp_tls_security_level", level)
        .set("smtp_tls_wrappermode", wrapper)
        .set(
            "smtp_tls_secure_cert_match",
            "gate.example.org mail.example.org",
        )
        .set("smtp_tls_CAfile", &way.authority.to_string_lossy())
        .set("smtp_tls_loglevel", "1")
        // It would break long lines.
        .set("smtp_line_length_limit", "0")
        .start()?;
    inject(&relay, letters)?;
    Ok(Relay(Some(Box::new(relay))))
}

pub(super) fn exim(way: &Way, letters: &[Letter]) -> Result<Relay> {
    let relay = Exim::relaying(way)?;
    inject(&relay, letters)?;
    Ok(Relay(Some(Box::new(relay))))
}

pub(super) fn opensmtpd(way: &Way, letters: &[Letter]) -> Result<Relay> {
    let scheme = match way.tls {
        Tls::Plain => "smtp+notls",
        Tls::StartTls => "smtp+tls",
        Tls::Implicit => "smtps",
    };
    let authority = (way.tls != Tls::Plain).then_some(way.authority.as_path());
    let relay = OpenSmtpd::relaying_to(
        &format!("{scheme}://127.0.0.1:{}", way.port),
        &way.source.to_string(),
        authority,
    )?;
    inject(&relay, letters)?;
    Ok(Relay(Some(Box::new(relay))))
}

fn inject(relay: &dyn MailServer, letters: &[Letter]) -> Result<()> {
    let mut client = Client::hello(relay.port())?;
    for letter in letters {
        let utf8 = if letter.form == Form::Utf8 {
            " SMTPUTF8"
        } else {
            ""
        };
        let mail = format!("MAIL FROM:<{}> BODY=8BITMIME{utf8}", letter.from);
        client.command(&mail)?.expect(250).context("relay: MAIL")?;
        let to = format!("RCPT TO:<{}>", letter.to);
        client.command(&to)?.expect(250).context("relay: RCPT")?;
        client.command("DATA")?.expect(354)?;
        client.send(&stuffed(&letter.message))?;
        client.reply()?.expect(250).context("relay: message")?;
    }
    client.quit()
}
