//! A browser: Debian's Chromium without a window, told what to do over pipes.
//!
//! It speaks the DevTools protocol on its descriptors 3 and 4 (`--remote-debugging-pipe`), one JSON
//! text after the other, each ended by NUL. `--dump-dom` was rejected: with a stream of events that
//! never ends there is no moment at which the page is done, and nothing tells of errors on the way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Group;

/// How long a browser may take for an answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One tab of a browser. The browser ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    next: u64,
    password: Option<String>,
    told: Told,
    _process: Group,
    _profile: TempDir,
}

/// What the browser told of the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Errors and warnings: of scripts, of the network, of what a policy forbids.
    pub complaints: Vec<String>,
    /// Addresses that were asked for.
    pub requests: Vec<String>,
}

impl Browser {
    /// Starts it, with an empty tab. `password` is what it says where it is asked for one.
    ///
    /// # Errors
    /// When it is not installed, or doesn't answer.
    pub fn start(password: Option<&str>) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            // Without a sandbox, since tests may run as root; what it shows is ours.
            "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
             --disable-background-networking --disable-component-update --disable-sync --user-data-dir='{}' \
             --remote-debugging-pipe 3<&0 4>&1 </dev/null >/dev/null 2>&1",
            profile.path().display()
        ));
        let mut process = Group::spawn_with_dialogue(&command)?;
        let child = process.child();
        let commands = child.stdin.take().context("a pipe")?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                if let Ok(message) = serde_json::from_slice(&message)
                    && sender.send(message).is_err()
                {
                    return;
                }
            }
        });
        let mut browser = Self {
            commands,
            messages,
            session: String::new(),
            next: 0,
            password: password.map(str::to_owned),
            told: Told::default(),
            _process: process,
            _profile: profile,
        };
        let target = browser
            .call("Target.createTarget", json!({ "url": "about:blank" }))
            .context("chromium does not answer: run `cargo xtask install`")?;
        let attached = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        )?;
        browser.session = attached["sessionId"]
            .as_str()
            .context("a session")?
            .to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        let asked = browser.password.is_some();
        browser.call("Fetch.enable", json!({ "handleAuthRequests": asked }))?;
        Ok(browser)
    }

    /// Opens an address, and waits until the page is there.
    ///
    /// # Errors
    /// When it can't be had.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let opened = self.call("Page.navigate", json!({ "url": url }))?;
        ensure!(
            opened["errorText"].is_null(),
            "{url}: {}",
            opened["errorText"]
        );
        self.wait("document.readyState === 'complete'")
    }

    /// The value of an expression in the page.
    ///
    /// # Errors
    /// When it throws.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let found = self.call("Runtime.evaluate", parameters)?;
        ensure!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        Ok(found["result"]["value"].clone())
    }

    /// Waits until an expression is true in the page.
    ///
    /// # Errors
    /// When it does not become so.
    pub fn wait(&mut self, expression: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.value(expression)? != json!(true) {
            if Instant::now() > end {
                let text = self.value("document.body.innerText")?;
                bail!("{expression} does not become true; the page says: {text}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The window's size, and whether its user likes it dark.
    ///
    /// # Errors
    /// When the browser doesn't take it.
    pub fn look(&mut self, width: u32, height: u32, is_dark: bool) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features)?;
        self.call("Emulation.setScrollbarsHidden", json!({ "hidden": true }))?;
        Ok(())
    }

    /// What is seen, as PNG.
    ///
    /// # Errors
    /// When there is no picture.
    pub fn picture(&mut self) -> Result<Vec<u8>> {
        let taken = self.call(
            "Page.captureScreenshot",
            json!({ "format": "png", "optimizeForSpeed": false }),
        )?;
        decode(taken["data"].as_str().context("a picture")?)
    }

    /// What it told so far.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.told
    }

    fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let id = self.send(method, parameters)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left);
            let message = message.with_context(|| format!("no answer to {method}"))?;
            if message["id"] == json!(id) {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                return Ok(message["result"].clone());
            }
            self.hear(&message)?;
        }
    }

    fn send(&mut self, method: &str, parameters: Value) -> Result<u64> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.commands.write_all(&text)?;
        self.commands.flush()?;
        Ok(self.next)
    }

    /// Something happened.
    fn hear(&mut self, message: &Value) -> Result<()> {
        let parameters = &message["params"];
        let complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(&parameters["exceptionDetails"]),
            Some("Runtime.consoleAPICalled") => Some(&parameters["args"]),
            Some("Log.entryAdded") => Some(&parameters["entry"]),
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                self.told.requests.push(url.to_owned());
                None
            }
            Some("Fetch.requestPaused") => {
                let request = json!({ "requestId": parameters["requestId"] });
                self.send("Fetch.continueRequest", request)?;
                None
            }
            Some("Fetch.authRequired") => {
                let answer = json!({
                    "response": "ProvideCredentials", "username": "admin", "password": self.password,
                });
                let request = json!({
                    "requestId": parameters["requestId"], "authChallengeResponse": answer,
                });
                self.send("Fetch.continueWithAuth", request)?;
                None
            }
            _ => None,
        };
        self.told.complaints.extend(complaint.map(Value::to_string));
        Ok(())
    }
}

/// Base 64 (RFC 4648 §4).
fn decode(text: &str) -> Result<Vec<u8>> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut octets = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').chars() {
        let value = ALPHABET.find(letter).context("base 64")?;
        bits = (bits << 6 | u32::try_from(value)?) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xff)?);
        }
    }
    Ok(octets)
}
