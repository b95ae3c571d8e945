//! A gateway, the binary that ships, and what stands behind it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tarpit_interop::{Certificates, Gateway, Postfix, config, received_part};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::case::{Commit, Registry, find_token};
use crate::point::World;
use crate::script::{ALICE, BOB};
use crate::stream::{NAME, Tls};
use crate::upstream::Upstream;

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between looks at whether it serves, or rests.
const LOOK: Duration = Duration::from_millis(5);

/// Caps that no run here reaches, and a grace time that a stall is longer than.
const ROOMY: &str = "connections_max = 5000\nconnections_per_source_max = 4000\n\
    connections_reserved = 100\ngrace = \"100ms\"\n";

const LIMITS: &str = "[limits]\nsessions_per_source_max = 100000\nerrors_max = 1000\n";

/// A gateway and its upstream.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) registry: Arc<Registry>,
    pub(crate) port: u16,
    config: String,
    gateway: Option<Gateway>,
    behind: Behind,
    _certificates: Certificates,
}

/// What stands behind the gateway.
#[derive(Debug)]
enum Behind {
    Scripted(#[expect(dead_code, reason = "ends when dropped")] Upstream),
    Maildir(TempDir),
    Postfix(Box<Postfix>),
}

impl Stage {
    /// Starts both, and waits until clients are greeted.
    pub(crate) async fn start(world: World) -> Result<Self> {
        let registry = Arc::new(Registry::default());
        let certificates = Certificates::new()?;
        let (behind, config) = match world {
            World::Maildir => {
                let folder = in_memory()?;
                let text = maildir_config(&folder.path().to_string_lossy());
                (Behind::Maildir(folder), text)
            }
            World::Postfix => {
                let postfix = tokio::task::block_in_place(|| Postfix::server().start())?;
                let text = config(postfix.port(), "none", "grace = \"100ms\"\n");
                (Behind::Postfix(Box::new(postfix)), text)
            }
            World::Told | World::Killed | World::Pooled | World::Held | World::Secured => {
                let told = is_told(world);
                let upstream = Upstream::start(Arc::clone(&registry), told).await?;
                let mut text = scripted_config(world, upstream.port);
                if world == World::Secured {
                    text += &secure(&registry, &certificates)?;
                }
                (Behind::Scripted(upstream), text)
            }
        };
        let mut stage = Self {
            world,
            registry,
            port: 0,
            config,
            gateway: None,
            behind,
            _certificates: certificates,
        };
        stage.restart().await?;
        Ok(stage)
    }

    /// Kills the gateway (SIGKILL), if it runs, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // Not while this thread's other tasks wait: each is told by the system, not by us.
        tokio::task::block_in_place(|| self.gateway = None);
    }

    /// Starts the gateway anew; how long that took until it greeted.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.kill();
        let start = Instant::now();
        let gateway = tokio::task::block_in_place(|| Gateway::start(&self.config))?;
        self.port = gateway.port()?;
        self.gateway = Some(gateway);
        // Until its probe is through, it says 421.
        loop {
            let mut greeting = [0; 3];
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.read_exact(&mut greeting).await?;
            if &greeting == b"220" {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                let log = self.gateway.as_ref().map(Gateway::excerpt);
                anyhow::bail!("the gateway never serves:\n{}", log.unwrap_or_default());
            }
            sleep(LOOK).await;
        }
    }

    /// Ends the gateway in good order; fails if it panicked.
    pub(crate) fn stop(mut self) -> Result<()> {
        let gateway = self.gateway.take().context("no gateway")?;
        tokio::task::block_in_place(|| gateway.stop())
    }

    /// Reads the mailboxes, if these are the gateway's own, into the journals of their cases.
    pub(crate) fn collect(&self) -> Result<Vec<String>> {
        let mut strays = Vec::new();
        for recipient in [ALICE, BOB] {
            for stored in self.mailbox(recipient)? {
                strays.extend(self.deliver(recipient, &stored));
            }
        }
        Ok(strays)
    }

    /// What was delivered to `recipient` since the last look; to Postfix, ever.
    fn mailbox(&self, recipient: &str) -> Result<Vec<Vec<u8>>> {
        let folder = match &self.behind {
            Behind::Scripted(_) => return Ok(Vec::new()),
            Behind::Postfix(postfix) => {
                postfix.wait_queue_empty()?;
                let user = recipient.split('@').next().unwrap_or_default();
                return postfix.mailbox(user);
            }
            Behind::Maildir(folder) => folder.path().join(recipient).join("new"),
        };
        let mut messages = Vec::new();
        if folder.exists() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                messages.push(std::fs::read(&path)?);
                std::fs::remove_file(&path)?;
            }
        }
        Ok(messages)
    }

    /// One copy of a message. What is wrong, if it can't belong to any.
    fn deliver(&self, recipient: &str, stored: &[u8]) -> Option<String> {
        let found = find_token(stored).and_then(|token| self.registry.message(&token));
        let Some((case, message)) = found else {
            let text = String::from_utf8_lossy(stored);
            return Some(format!("a message of nobody: {text:?}"));
        };
        let content = case.script.messages[message].content.as_deref();
        let exact = content == Some(&*received_part(stored));
        let mut journal = case.journal();
        let has_copy = |commit: &Commit| commit.recipients.iter().any(|one| one == recipient);
        let other_copy = journal
            .commits
            .iter_mut()
            .find(|commit| commit.message == message && !has_copy(commit));
        if let Some(commit) = other_copy {
            commit.recipients.push(recipient.to_owned());
            commit.exact &= exact;
        } else {
            journal.commits.push(Commit {
                message,
                recipients: vec![recipient.to_owned()],
                exact,
                answered: None,
            });
        }
        None
    }
}

/// A folder in memory, where there is one: a kill needs no disk, and syncing to one is slow.
fn in_memory() -> Result<TempDir> {
    let mut folder = tempfile::Builder::new();
    folder.prefix("tarpit-cuts-");
    let made = folder.tempdir_in("/dev/shm").or_else(|_| folder.tempdir());
    made.context("a folder for mail")
}

fn scripted_config(world: World, port: u16) -> String {
    let identity = if is_told(world) { "proxy-v2" } else { "none" };
    let pit = if world == World::Held {
        "[tarpit]\nmode = \"enforce\"\ndelay = \"250ms\"\n"
    } else {
        "[tarpit]\nmode = \"off\"\n"
    };
    let tls = if world == World::Secured {
        "tls = \"opportunistic\"\n"
    } else {
        ""
    };
    config(port, identity, &format!("{ROOMY}{tls}\n{pit}\n{LIMITS}"))
}

/// Whether the upstream is told who the client is.
fn is_told(world: World) -> bool {
    matches!(world, World::Told | World::Killed | World::Secured)
}

/// Gives the scripted peers what they need for TLS; what the gateway's configuration needs.
fn secure(registry: &Registry, certificates: &Certificates) -> Result<String> {
    let pair = certificates.issue(&[NAME])?;
    let tls = Tls::new(certificates, &pair)?;
    let is_new = registry.tls.set(tls).is_ok();
    anyhow::ensure!(is_new, "a registry serves one world");
    Ok(format!(
        "\n[[certificate]]\nchain = {:?}\nkey = {:?}\n",
        pair.chain, pair.key
    ))
}

fn maildir_config(root: &str) -> String {
    format!(
        "hostname = \"gate.example.org\"\ndomains = [\"example.org\"]\n\n[[listener]]\n\
         name = \"mx\"\naddress = \"127.0.0.1:0\"\n\n[maildir]\nroot = \"{root}\"\n\
         recipients = [\"{ALICE}\", \"{BOB}\"]\n\n[tarpit]\nmode = \"off\"\n\n{LIMITS}"
    )
}
