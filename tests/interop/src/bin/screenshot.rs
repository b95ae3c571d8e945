//! The pictures of the page in the README: `cargo xtask screenshot`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tarpit_interop::{Browser, Busy, HELD};

/// How long the page looks on before the next come: a strip chart wants a past, and the first of those
/// who are held have paid by then.
const PAST: Duration = Duration::from_secs(70);

fn mail_for(scene: &Busy, span: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < span {
        scene.mail(5, 2)?;
        std::thread::sleep(Duration::from_secs(2));
    }
    Ok(())
}

fn keep(browser: &mut Browser, path: &str) -> Result<()> {
    browser.wait("document.getElementById('link').textContent === 'live'")?;
    let picture = browser.picture()?;
    std::fs::write(path, &picture).context(path.to_owned())?;
    eprintln!("{path}: {} octets", picture.len());
    Ok(())
}

fn main() -> Result<()> {
    let folder = std::env::args()
        .nth(1)
        .context("usage: screenshot FOLDER")?;
    let mut scene = Busy::start("")?;
    let mut browser = Browser::start(None)?;
    browser.look(1100, 1230, false)?;
    browser.open(&format!("{}/", scene.page()?))?;
    browser.wait("document.getElementById('link').textContent === 'live'")?;
    mail_for(&scene, Duration::from_secs(10))?;
    scene.harvest(21)?;
    mail_for(&scene, PAST)?;
    scene.leave();
    scene.harvest(22)?;
    mail_for(&scene, Duration::from_secs(15))?;
    scene.harm()?;
    browser.wait(&format!(
        "document.getElementById('held').value === '{HELD}'"
    ))?;
    for (name, width, height, is_dark) in [
        ("page-light.png", 1100, 1230, false),
        ("page-dark.png", 1100, 1230, true),
        ("page-phone.png", 390, 1200, false),
    ] {
        browser.look(width, height, is_dark)?;
        keep(&mut browser, &format!("{folder}/{name}"))?;
    }
    browser.look(900, 900, false)?;
    browser.value("document.querySelector('#harm-events td:nth-child(3) button').click()")?;
    browser.wait("document.querySelectorAll('ol.talk li').length > 3")?;
    keep(&mut browser, &format!("{folder}/page-session.png"))?;
    scene.gateway.stop()
}
