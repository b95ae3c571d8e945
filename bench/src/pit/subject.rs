//! What is put to the test as a pit. The herd goes to one address, wanted mail to another or the
//! same, and some processes bear the cost.
//!
//! A pit that is no mail server (the floor) is measured beside a gateway whose own pit is empty, so
//! that mail takes the same way in all rows.

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use tarpit_interop::free_port;

use super::floor::Floor;
use super::{machine, rival};
use crate::gateway::{Gateway, Reference, Settings};
use crate::tls::Certificate;

/// Which pit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The bare epoll loop
    Floor,
    /// The gateway
    Tarpit,
    /// Postfix as it comes
    Postfix,
    /// Postfix with its limit of processes raised
    PostfixRaised,
    /// Exim as it comes
    Exim,
    /// Exim with its limit of connections raised
    EximRaised,
    /// Haraka with its tarpit plugin
    Haraka,
    /// nginx's mail proxy with `Auth-Wait`
    Nginx,
}

impl Kind {
    /// As the table has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "bare epoll loop",
            Self::Tarpit => "Tarpit",
            Self::Postfix => "Postfix, as it comes",
            Self::PostfixRaised => "Postfix, raised",
            Self::Exim => "Exim, as it comes",
            Self::EximRaised => "Exim, raised",
            Self::Haraka => "Haraka, tarpit plugin",
            Self::Nginx => "nginx mail, Auth-Wait",
        }
    }

    /// The other servers.
    pub(crate) const RIVALS: [Self; 6] = [
        Self::Postfix,
        Self::PostfixRaised,
        Self::Exim,
        Self::EximRaised,
        Self::Haraka,
        Self::Nginx,
    ];

    /// Whether it is somebody else's server.
    pub(crate) fn is_rival(self) -> bool {
        Self::RIVALS.contains(&self)
    }

    /// User memory for each session, in KiB and generously, where it is what bounds a case.
    pub(crate) const fn kib_each(self) -> u64 {
        match self {
            Self::Postfix | Self::PostfixRaised => 1300,
            Self::Exim | Self::EximRaised => 300,
            Self::Haraka | Self::Nginx => 20,
            Self::Floor | Self::Tarpit => 0,
        }
    }
}

/// How it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// The reply comes whole when it is due.
    Silent,
    /// It comes octet by octet.
    Stutter,
}

/// What a subject is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Sessions that it is to have room for.
    pub(crate) held: u64,
    /// How long it holds.
    pub(crate) hold: Duration,
    /// How it says what is due.
    pub(crate) holding: Holding,
    /// It asks the server whether a name exists.
    pub(crate) asks: bool,
    /// Where wanted mail goes in the end.
    pub(crate) sink: SocketAddr,
    /// Who says that to a mail proxy.
    pub(crate) authority: SocketAddr,
    /// With STARTTLS.
    pub(crate) certificate: Option<&'a Certificate>,
    /// The gateway's binary.
    pub(crate) tarpit: &'a Path,
}

/// A running pit. Dropping it ends it.
pub(crate) struct Subject {
    /// Where the herd goes.
    pub(crate) pit: SocketAddr,
    /// Where wanted mail goes.
    pub(crate) mail: SocketAddr,
    /// Where it shows its figures.
    pub(crate) admin: Option<SocketAddr>,
    /// What can be said about it beforehand, as that it can't have so much room.
    pub(crate) remark: Option<String>,
    pub(super) cost: Cost,
    /// What runs, to be ended with it.
    #[expect(dead_code, reason = "held for its Drop")]
    pub(super) running: Box<dyn Any + Send>,
}

/// Keepers outlive their front, so that nobody held is lost. Here they would hold on into the next
/// case.
struct Keepers {
    front: u32,
}

impl Drop for Keepers {
    fn drop(&mut self) {
        for process in machine::family(self.front) {
            if let Some(id) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                // Who has ended by itself needs it no more.
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}

/// Whose memory and processor time count.
pub(super) enum Cost {
    /// A process with all that it starts.
    Family(u32),
    /// These.
    Processes(Vec<u32>),
}

impl Subject {
    /// Starts one and waits until it serves.
    pub(crate) async fn start(kind: Kind, wanted: &Wanted<'_>) -> Result<Self> {
        match kind {
            Kind::Floor => {
                let floor = Floor::start(wanted.held, wanted.hold)?;
                let gateway = gateway(&Wanted { held: 0, ..*wanted }).await?;
                Ok(Self {
                    pit: floor.address,
                    mail: gateway.mail,
                    admin: None,
                    remark: None,
                    cost: Cost::Processes(floor.processes()),
                    running: Box::new((floor, gateway)),
                })
            }
            Kind::Tarpit => gateway(wanted).await,
            other => rival::start(other, wanted),
        }
    }

    /// The processes that bear the cost, as they are now.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match &self.cost {
            Cost::Family(first) => machine::family(*first),
            Cost::Processes(processes) => processes.clone(),
        }
    }
}

/// Sessions beside those in the pit: some to come in, and wanted mail.
const BESIDE: u64 = 2000;

/// What the gateway may take for each in its pit, in octets: more than it should, since it is to be
/// measured and not to be bounded here.
const OCTETS_EACH: u64 = 8192;

async fn gateway(wanted: &Wanted<'_>) -> Result<Subject> {
    let folder = tempfile::Builder::new()
        .prefix("tarpit-bench-pit-")
        .tempdir()?;
    let recipients = folder.path().join("recipients");
    std::fs::write(&recipients, "user@example.org\n").context("the file of recipients")?;
    let reference = Reference::of(wanted.tarpit)?;
    let admin = if reference.knows("admin.address") {
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
    } else {
        None
    };
    let settings = settings(wanted, &reference, &recipients, admin)?;
    let gateway = Gateway::start(wanted.tarpit, &settings).await?;
    let has_keepers = reference.knows("pit.sessions");
    let descriptors = machine::descriptors();
    let remark = (wanted.held >= descriptors && !has_keepers)
        .then(|| format!("one process of {descriptors} descriptors"));
    Ok(Subject {
        pit: gateway.address,
        mail: gateway.address,
        admin,
        remark,
        cost: Cost::Family(gateway.id()),
        running: Box::new((
            Keepers {
                front: gateway.id(),
            },
            gateway,
            folder,
        )),
    })
}

/// The whole configuration of the gateway, in one place.
fn settings(
    wanted: &Wanted<'_>,
    reference: &Reference,
    recipients: &Path,
    admin: Option<SocketAddr>,
) -> Result<Settings> {
    let admin = admin.map_or_else(String::new, |address| {
        format!("[admin]\naddress = \"{address}\"\n")
    });
    // A quarter more than will come: what sheds above a water mark is not to be measured.
    let held = wanted.held * 5 / 4;
    let mut pit = String::new();
    let mut sessions = held + BESIDE;
    if let Some(greatest) = reference.greatest("pit.sessions") {
        pit = format!("[pit]\nsessions = {}\n", (held + BESIDE).min(greatest));
        if let Some(greatest) = reference.greatest("pit.memory") {
            let memory = (held + BESIDE) * OCTETS_EACH;
            pit.push_str(&format!("memory = {}\n", memory.min(greatest)));
        }
        // The pit has a quota of its own, so the others need no room for it.
        sessions = BESIDE * 5;
    }
    let most = |option| reference.greatest(option).unwrap_or(u64::MAX);
    let sessions = sessions.min(most("limits.sessions_max"));
    let per_source = (held + BESIDE).min(most("limits.sessions_per_source_max"));
    // A million held come from 20,000 addresses, fifty each; and each guesses more than twenty
    // times.
    let limits = format!(
        "sessions_max = {sessions}\nsessions_per_source_max = {per_source}\n\
         ledger_sources_max = {}\nerrors_max = 1000\nsession_timeout = \"24h\"",
        sessions.max(200_000)
    );
    let folder = recipients.parent().unwrap_or(recipients);
    // Keepers of another gateway that has ended, with whom they still hold, are none of this one's.
    let keepers = if reference.knows("keepers.directory") {
        format!("[keepers]\ndirectory = {folder:?}\n")
    } else {
        String::new()
    };
    let tarpit_more = match wanted.holding {
        Holding::Silent => "",
        Holding::Stutter => "hold = \"stutter\"",
    };
    // Guesses are refused by the file, so that no upstream is asked for them, unless it is to be.
    let recipients = if wanted.asks {
        String::new()
    } else {
        format!("[recipients]\nsource = \"file\"\nfile = {recipients:?}\n")
    };
    Ok(Settings {
        scope: "session",
        delay_seconds: u32::try_from(wanted.hold.as_secs())?,
        certificate: wanted
            .certificate
            .map_or_else(String::new, Certificate::to_toml),
        tarpit_more,
        limits,
        more: format!("{recipients}\n{pit}\n{admin}\n{keepers}"),
        ..Settings::new(wanted.sink)
    })
}
