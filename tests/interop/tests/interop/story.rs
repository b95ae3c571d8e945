//! The administrator's story: observe a day, read the report, try `enforce` with a safety line, ask why
//! somebody waited, spare them, try again, keep it, answer a complaint, and take it all back.
//!
//! A real Postfix is behind. Each step looks at what the command printed and at who waits then.
//! `docs/story.md` shows the same output: this test writes it, and fails when the page is another one
//! (`page.rs`). Hours are seconds here: a guess costs two.

mod page;
mod people;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Gateway, Postfix, Record, config, gateway_binary, wait_for};

use page::Page;
use people::{HARVESTER, Held, LIST, Orders, PARTNER, WANTED};

/// What a guess costs.
const DELAY: Duration = Duration::from_secs(2);

/// Whoever hears a reply sooner has not been held. The machine may be busy.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// How long records take to be in their file, and a mode to be in force.
const PATIENCE: Duration = Duration::from_secs(30);

/// With a pit so small, one process has descriptors for all of it, on any machine.
const PIT: &str = "[pit]\nsessions = 500\n[limits]\nsessions_max = 500\n[records]\nfile = \"records.jsonl\"\n\
                   [tarpit]\nmode = \"observe\"\nscope = \"source\"\ndelay = \"2s\"\nhold_max = \"3500ms\"\n";

/// A gateway, its port, and the page on which all is written down that its administrator does.
struct Story {
    gateway: Gateway,
    port: u16,
    page: Page,
}

impl Story {
    /// `tarpit` with these arguments for this gateway: what it printed.
    fn tarpit(&mut self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?.output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {error}");
        let printed = String::from_utf8(output.stdout)?;
        self.page.ran(arguments, &printed)?;
        Ok(printed)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let records = self.gateway.folder().join("records.jsonl");
        let mut command = Command::new(gateway_binary()?);
        for argument in arguments {
            match *argument {
                page::RECORDS => command.arg(&records),
                page::CONFIG => command.arg(self.config()),
                other => command.arg(other),
            };
        }
        if !arguments.contains(&"--config") {
            command.arg("--config").arg(self.config());
        }
        Ok(command)
    }

    fn config(&self) -> std::path::PathBuf {
        self.gateway.folder().join("tarpit.toml")
    }

    /// Until so many sessions are in the record file.
    fn wait_recorded(&self, sessions: usize) -> Result<()> {
        let file = self.gateway.folder().join("records.jsonl");
        let recorded = || {
            let text = fs::read_to_string(&file).ok()?;
            let count = text.matches("\"target\":\"tarpit::session\"").count();
            (count >= sessions).then_some(())
        };
        wait_for(PATIENCE, recorded).with_context(|| {
            format!(
                "no record of {sessions} sessions:\n{}",
                self.gateway.excerpt()
            )
        })
    }

    /// Until the gateway says so in its log.
    fn wait_said(&self, message: &str) -> Result<()> {
        let said = |record: &Record| record.text("message") == message;
        self.gateway
            .wait_records(|records| records.iter().any(said).then_some(()))
    }
}

/// Everything that is to stand there does.
fn says(printed: &str, facts: &[&str]) -> Result<()> {
    for fact in facts {
        ensure!(printed.contains(fact), "{fact:?} is missing:\n{printed}");
    }
    Ok(())
}

fn nobody_waits(waits: &[Duration]) -> Result<()> {
    ensure!(waits.iter().all(|wait| *wait < AT_ONCE), "{waits:?}");
    Ok(())
}

fn all_wait(waits: &[Duration]) -> Result<()> {
    ensure!(waits.iter().all(|wait| *wait >= DELAY), "{waits:?}");
    Ok(())
}

#[test]
fn a_week_with_the_pit() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", PIT))?;
    let port = gateway.port()?;
    let (file, server) = (
        gateway.folder().join("tarpit.toml").display().to_string(),
        format!("127.0.0.1:{}", postfix.port()),
    );
    let page = Page::new(&[(&file, page::CONFIG), (&server, "127.0.0.1:10025")]);
    let mut story = Story {
        gateway,
        port,
        page,
    };
    observe(&mut story)?;
    report_and_advise(&mut story)?;
    trial_that_trips(&mut story)?;
    explain_and_exempt(&mut story)?;
    trial_that_is_kept(&mut story)?;
    complaint(&mut story)?;
    all_taken_back(&mut story)?;
    // All arrived, and nothing twice: seven from senders, four issues, one order.
    postfix.wait_mailbox("alice", 7 + 4)?;
    postfix.wait_mailbox("bob", 4 + 1)?;
    let Story { gateway, page, .. } = story;
    gateway.stop()?;
    page.compare("docs/story.md")
}

/// A day of traffic in `observe`: nobody waits.
fn observe(story: &mut Story) -> Result<()> {
    let port = story.port;
    for source in WANTED {
        nobody_waits(&people::sends(source, port)?)?;
    }
    for _ in 0..2 {
        nobody_waits(&people::issue(port, 3)?)?;
        nobody_waits(&people::harvest(port, 12)?)?;
    }
    story.wait_recorded(WANTED.len() + 4)?;
    let status = story.tarpit(&["status"])?;
    says(
        &status,
        &["observe, as the configuration says", "would have waited"],
    )
}

fn report_and_advise(story: &mut Story) -> Result<()> {
    let report = story.tarpit(&["report", "--since", "1d"])?;
    let exempt = format!("network = \"{}\"", story.page.address(LIST));
    let (harm, effect) = story
        .page
        .shown(&report)
        .split_once("\nEFFECT\n")
        .map(|(harm, effect)| (harm.to_owned(), effect.to_owned()))
        .context("no effect")?;
    says(
        &harm,
        &["1 of 4 with accepted mail", "what would have been", &exempt],
    )?;
    ensure!(!harm.contains(&story.page.address(HARVESTER)), "{harm}");
    for source in WANTED {
        ensure!(!harm.contains(&story.page.address(source)), "{harm}");
    }
    says(
        &effect,
        &[
            "names that harvesters learnt",
            &story.page.address(HARVESTER),
            "a lower bound",
        ],
    )?;

    let advice = story.tarpit(&["advise", page::RECORDS, "--config", page::CONFIG])?;
    says(
        &advice,
        &[
            "scope = \"session\"",
            "scope = \"source\"",
            "teaches the least",
            "No hold was real yet",
        ],
    )
}

/// The list's old names make its server wait, although all know it: the trial ends by itself.
fn trial_that_trips(story: &mut Story) -> Result<()> {
    let port = story.port;
    let arguments = ["mode", "enforce", "--for", "1h", "--trip", "3s", "--wait"];
    let trial = Trial::begin(story, &arguments)?;
    let harvester = Held::guesses(HARVESTER, port)?;
    nobody_waits(&people::sends(WANTED[0], port)?)?;
    let waits = people::issue(port, 6)?;
    all_wait(&waits[..2])?;
    ensure!(waits[5] < AT_ONCE, "the trial goes on: {waits:?}");
    harvester.hears()?;
    let printed = trial.verdict(story, &arguments)?;
    says(
        &printed,
        &[
            "the mode is enforce for 3600 s",
            "the trial is over",
            "allowed were 3 s",
            "The mode is observe now",
        ],
    )?;
    says(&story.page.shown(&printed), &[&story.page.address(LIST)])?;
    // And it is: nobody waits any more.
    nobody_waits(&people::harvest(port, 2)?)?;
    // Day, trial, and the two guesses.
    story.wait_recorded(7 + 3 + 1)?;
    let status = story.tarpit(&["status"])?;
    says(&status, &["observe", "verdict", "would have been"])
}

/// A command that waits for the trial's end, beside what happens meanwhile.
struct Trial(Child);

impl Trial {
    fn begin(story: &Story, arguments: &[&str]) -> Result<Self> {
        let mut command = story.command(arguments)?;
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        story.wait_said("changed by command")?;
        Ok(Self(child))
    }

    /// What it printed in all; it failed, since the trial did.
    fn verdict(self, story: &mut Story, arguments: &[&str]) -> Result<String> {
        let output = self.0.wait_with_output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1),
            "{}: {error}",
            output.status
        );
        let printed = String::from_utf8(output.stdout)?;
        story.page.ran(arguments, &printed)?;
        Ok(printed)
    }
}

fn explain_and_exempt(story: &mut Story) -> Result<()> {
    let list = LIST.to_string();
    let told = story.tarpit(&["explain", &list])?;
    says(
        &told,
        &[
            "known sender: yes",
            "unknown_recipient",
            "tarpit exempt add",
        ],
    )?;
    let reason = "our customers' newsletter; its list is old";
    let done = story.tarpit(&["exempt", "add", &list, "--reason", reason])?;
    says(&done, &[&list])?;
    says(
        &story.tarpit(&["exempt", "list"])?,
        &[&list, reason, "by command"],
    )
}

/// The same traffic: the list goes through, the harvester waits.
fn trial_that_is_kept(story: &mut Story) -> Result<()> {
    let port = story.port;
    story.tarpit(&["mode", "enforce", "--for", "1h", "--trip", "3s"])?;
    let harvester = Held::guesses(HARVESTER, port)?;
    nobody_waits(&people::issue(port, 6)?)?;
    for source in WANTED {
        nobody_waits(&people::sends(source, port)?)?;
    }
    harvester.hears()?;
    story.wait_recorded(11 + 5)?;
    let status = story.tarpit(&["status"])?;
    says(&status, &["a trial", "known senders waited 0s of 3s"])?;
    let done = story.tarpit(&["confirm"])?;
    says(&done, &["the mode stays enforce"])?;
    all_wait(&people::harvest(port, 2)?)
}

/// A new partner sends to names of last year over many connections, and is told to come again.
fn complaint(story: &mut Story) -> Result<()> {
    let port = story.port;
    let (others, heard) = Orders::come(port)?;
    ensure!(heard.code == 450, "{heard:?}");
    let text = heard.text();
    story
        .page
        .heard(&["RCPT TO:<bob@example.org>", &format!("450 {text}")]);
    let (_, name) = text.rsplit_once('[').context("no name in the reply")?;
    let name = name.trim_end_matches(']');
    ensure!(name.starts_with("tp-"), "{text}");
    story.wait_recorded_session(name)?;
    let told = story.tarpit(&["explain", name])?;
    let partner = PARTNER.to_string();
    says(
        &told,
        &[
            &partner,
            "orders.example.net",
            "450 or 454 unseen once",
            "known sender: no",
            "tarpit forgive",
        ],
    )?;
    let done = story.tarpit(&["forgive", &partner])?;
    says(&done, &[&partner, "owes nothing now"])?;
    nobody_waits(&people::order(port)?)?;
    others.end()
}

impl Story {
    fn wait_recorded_session(&self, name: &str) -> Result<()> {
        let ended = |record: &Record| {
            record.target() == "tarpit::session" && record.text("session") == name
        };
        self.gateway
            .wait_records(|records| records.iter().any(ended).then_some(()))
    }
}

/// Who is held hears it at once, and nobody waits any more.
fn all_taken_back(story: &mut Story) -> Result<()> {
    let port = story.port;
    let harvester = Held::guesses(HARVESTER, port)?;
    let done = story.tarpit(&["mode", "off"])?;
    says(&done, &["the mode is off, by command"])?;
    let waited = harvester.hears()?;
    ensure!(waited < DELAY, "it waited for {waited:?}");
    nobody_waits(&people::harvest(port, 3)?)
}
