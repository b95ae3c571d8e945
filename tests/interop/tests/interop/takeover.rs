//! `tarpit import` on the files of real servers, and Tarpit on what it prints.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Client, Gateway, Postfix, config_of_package, plain, received_part, stuffed, wait_message,
};

/// What `tarpit import` prints; it needs no hand.
fn imported(server: &str, file: &Path) -> Result<String> {
    let file = file.to_str().context("a path in UTF-8")?;
    let output = Gateway::command(&["import", server, file])?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Postfix runs with its file, Tarpit with what came of it: the check passes, mail arrives, a wrong
/// guess is refused at once, since nothing is slowed yet.
#[test]
fn a_running_postfix() -> Result<()> {
    let postfix = Postfix::server()
        .set("smtpd_error_sleep_time", "8s")
        .start()?;
    let [(_, folder), ..] = postfix.environment();
    let text = imported("postfix", &Path::new(&folder).join("main.cf"))?;
    ensure!(text.contains("delay = \"8s\""), "{text}");
    let upstream = format!("address = \"127.0.0.1:{}\"", postfix.port());
    ensure!(text.contains(&upstream), "no {upstream} in:\n{text}");
    let text = text.replace("\"[::]:2525\"", "\"127.0.0.1:0\"");

    let place = tempfile::tempdir()?;
    let file = place.path().join("tarpit.toml");
    fs::write(&file, &text)?;
    let file = file.to_str().context("a path in UTF-8")?;
    let checked = Gateway::command(&["check", "--config", file])?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(checked.status.success(), "{said}");

    let gateway = Gateway::start(&text)?;
    let mut client = Client::connect(gateway.port()?)?;
    client.reply()?.expect(220)?;
    client.command("EHLO client.example.net")?.expect(250)?;
    let message = plain("taken over");
    client
        .deliver("s@example.net", &["alice@example.org"], &stuffed(&message))?
        .expect(250)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    let begun = std::time::Instant::now();
    client
        .command("RCPT TO:<nobody@example.org>")?
        .expect_class(5)?;
    ensure!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    client.quit()?;
    let found = wait_message(&postfix, "alice", "taken over")?;
    ensure!(received_part(&found) == message, "the message was changed");
    gateway.stop()?;
    Ok(())
}

/// The whole configuration that Debian's Exim comes with, and the settings that debconf writes.
#[test]
fn the_exim_of_the_package() -> Result<()> {
    let place = tempfile::tempdir()?;
    let template = config_of_package("exim", "etc/exim4/exim4.conf.template")?;
    fs::copy(&template, place.path().join("exim4.conf.template"))?;
    let settings = place.path().join("update-exim4.conf.conf");
    fs::write(
        &settings,
        "dc_eximconfig_configtype='internet'\ndc_other_hostnames='mail.example.org;example.org'\n\
         dc_local_interfaces=''\ndc_relay_domains='example.net'\ndc_relay_nets=''\ndc_use_split_config='false'\n\
         MAIN_HARDCODE_PRIMARY_HOSTNAME='mail.example.org'\n",
    )?;
    let text = imported("exim", &settings)?;
    // Debian's ACL takes mail for its lists alone, and that is seen.
    let domains = "\ndomains = [\"mail.example.org\", \"example.org\", \"example.net\"]";
    ensure!(text.contains(domains), "{text}");
    ensure!(text.contains("\nhostname = \"mail.example.org\""), "{text}");
    Ok(())
}

/// The main.cf that Debian's Postfix comes with, with the name that the package's script adds.
#[test]
fn the_postfix_of_the_package() -> Result<()> {
    let place = tempfile::tempdir()?;
    let shipped = config_of_package("postfix", "usr/share/postfix/main.cf.debian")?;
    let text = format!(
        "{}\nmyhostname = mail.example.org\n",
        fs::read_to_string(shipped)?
    );
    fs::write(place.path().join("main.cf"), text)?;
    let master = config_of_package("postfix", "usr/share/postfix/master.cf.dist")?;
    fs::copy(master, place.path().join("master.cf"))?;
    let text = imported("postfix", &place.path().join("main.cf"))?;
    ensure!(text.contains("\naddress = \"127.0.0.1:25\""), "{text}");
    ensure!(
        text.contains("\ndomains = [\"mail.example.org\"]"),
        "{text}"
    );
    Ok(())
}
