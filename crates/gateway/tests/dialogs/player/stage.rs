//! Sets the stage: an upstream, a gateway in front of it, clients.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tarpit_core::Prefixes;
use tarpit_core::policy::Policy;
use tarpit_gateway::Gateway;
use tarpit_gateway::config::{
    Addresses, Balance, BareNewline, Config, Delivery, Exemption, Identity, Limits, Listener,
    ListenerTls, Recipients, Upstream, UpstreamTls,
};
use tarpit_smtp::Reply;
use tarpit_testkit::{Dialog, HELD_UNREAD_MAX, Outcome, Settings, Step};
use tokio::sync::{mpsc, watch};

use super::{Checked, Part, Player};
use crate::certificate;
use crate::client::Client;
use crate::time::{LATE, Metronome, scaled};
use crate::upstream::{self, Script};

/// Longer than any dialogue: limits that are not what is shown.
const NEVER: Duration = Duration::from_secs(3600);

pub(super) async fn set(dialog: &Dialog) -> Result<Player, String> {
    let failed = |error: std::io::Error| error.to_string();
    let (questions, asked) = mpsc::unbounded_channel();
    let (in_data, fate) = watch::channel(None);
    let script = Arc::new(Script {
        ehlo: dialog.settings.ehlo(),
        senders: refused_senders(dialog),
        greeting: Mutex::new(None),
        questions,
        in_data: fate,
    });
    let (address, upstream) = upstream::start(Arc::clone(&script)).await.map_err(failed)?;
    let network = Network::next();
    let folder = tempfile::tempdir().map_err(failed)?;
    let config = config(&dialog.settings, network, address, folder.path()).map_err(failed)?;
    let gateway = Gateway::start(config)
        .await
        .map_err(|error| error.to_string())?;
    *script.greeting.lock().unwrap() = refused_greeting(dialog);
    Ok(Player {
        network,
        line: 0,
        implicit_tls: dialog.settings.implicit_tls,
        gathers: dialog
            .steps
            .iter()
            .any(|placed| matches!(placed.step, Step::Tls(_))),
        late: Vec::new(),
        gateway,
        upstream,
        clock: Metronome::start(),
        clients: Vec::new(),
        current: 0,
        asked,
        questions: Vec::new(),
        in_data,
        xclient: dialog.settings.door.xclient,
        _folder: folder,
    })
}

impl Player {
    pub(super) async fn open(&mut self, from: IpAddr) -> Checked {
        let (_, to) = self
            .gateway
            .addresses()
            .into_iter()
            .next()
            .ok_or("the gateway has no listener")?;
        let mut client = Client::connect(self.network.address(from), to)
            .await
            .map_err(|error| error.to_string())?;
        if self.implicit_tls {
            client.secure().await?;
        }
        self.current = self.clients.len();
        self.clients.push(Part {
            client,
            sent: Vec::new(),
            unsent: Vec::new(),
            open: None,
            data: None,
            mail: None,
            left: false,
            end: None,
            holds: Vec::new(),
            fields: Vec::new(),
            message: None,
        });
        Ok(())
    }

    /// Everybody leaves; then the records are there.
    pub(super) async fn finish(&mut self) -> Checked {
        self.nothing()?;
        while let Ok(question) = self.asked.try_recv() {
            self.questions.push(question);
        }
        // The gateway looks again whether an upstream is well that refused everybody.
        self.questions
            .retain(|question| question.text != "GREETING");
        if let Some(question) = self.questions.first() {
            return Err(format!(
                "the upstream was asked {:?}, which the dialogue does not know of",
                question.text
            ));
        }
        self.asked.close();
        for part in &mut self.clients {
            part.client.hang_up().await;
            part.open = None;
        }
        let checked = self.check_records().await;
        self.gateway.handle().drain();
        let drained = tokio::time::timeout(LATE, self.gateway.wait()).await;
        self.upstream.abort();
        checked?;
        drained.map_err(|_| "sessions stay although all clients have left".to_owned())
    }
}

/// The loopback network of one play: no other has these addresses, so that its records can be told
/// from those of other gateways, whose clients may have the same port.
#[derive(Clone, Copy)]
pub(super) struct Network(u16);

impl Network {
    fn next() -> Self {
        static LAST: AtomicU16 = AtomicU16::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// All its addresses.
    fn whole(self) -> ipnet::IpNet {
        let [high, low] = self.0.to_be_bytes();
        let network = Ipv4Addr::new(127, 128 | high, low, 0);
        ipnet::Ipv4Net::new_assert(network, 24).into()
    }

    /// Each documentation address is a loopback address of its own: another client, another source.
    pub(super) fn address(self, of: IpAddr) -> IpAddr {
        let [high, low] = self.0.to_be_bytes();
        match of {
            IpAddr::V4(of) => Ipv4Addr::new(127, 128 | high, low, of.octets()[3]).into(),
            IpAddr::V6(_) => of,
        }
    }
}

fn config(
    settings: &Settings,
    network: Network,
    upstream: std::net::SocketAddr,
    folder: &Path,
) -> std::io::Result<Config> {
    let recipients = match &settings.recipients {
        None => Recipients::Upstream,
        Some(names) => {
            let file = folder.join("recipients");
            std::fs::write(&file, names.join("\n"))?;
            Recipients::File(file)
        }
    };
    let tls = listener_tls(settings);
    let certificates = match tls {
        ListenerTls::Off => Vec::new(),
        _ => vec![certificate::write(folder)?],
    };
    let exempt = settings.exempt.iter().map(|address| Exemption {
        network: network.address(*address).into(),
        reason: "the dialogue says so".into(),
        until: None,
    });
    Ok(Config {
        hostname: "mx.example.org".into(),
        listeners: vec![listener(settings, network, tls)],
        certificates,
        deliveries: vec![Delivery::Upstream(Upstream {
            name: "script".into(),
            addresses: vec![upstream],
            balance: Balance::Order,
            tls: UpstreamTls::Off,
            identity: Identity::None,
            relays: settings.strict,
            connections_max: 100,
            connections_per_source_max: 100,
            connections_reserved: 0,
            messages_per_connection_max: 10,
            grace: scaled(settings.grace),
            connect_timeout: LATE,
        })],
        domains: settings
            .domains
            .iter()
            .map(|domain| domain.as_str().into())
            .collect(),
        recipients,
        exempt: exempt.collect(),
        prefixes: Prefixes::default(),
        addresses: Addresses::Full,
        limits: limits(settings),
    })
}

fn listener_tls(settings: &Settings) -> ListenerTls {
    match (settings.implicit_tls, settings.door.starttls) {
        (true, _) => ListenerTls::Implicit,
        (false, true) => ListenerTls::StartTls,
        (false, false) => ListenerTls::Off,
    }
}

fn listener(settings: &Settings, network: Network, tls: ListenerTls) -> Listener {
    let policy = &settings.policy;
    let policy = Policy {
        delay: scaled(policy.delay),
        hold_max: scaled(policy.hold_max),
        pace: scaled(policy.pace),
        ..policy.clone()
    };
    let trusted = if settings.door.xclient {
        vec![network.whole()]
    } else {
        Vec::new()
    };
    Listener {
        name: "mx".into(),
        address: ([127, 0, 0, 1], 0).into(),
        policy,
        small_window: false,
        delivery: 0,
        kind: settings.door.kind,
        tls,
        auth_plaintext: settings.door.auth_plain,
        bare_newline: BareNewline::Reject,
        normalize: Vec::new(),
        passthrough: Vec::new(),
        proxy_protocol: Vec::new(),
        xclient: trusted,
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        sessions_max: 1000,
        sessions_per_source_max: 1000,
        pit_sessions_max: 100_000,
        pit_octets_max: 256 * 1024 * 1024,
        door_debt: Duration::ZERO,
        held_unread_max: u32::try_from(HELD_UNREAD_MAX).unwrap_or(u32::MAX),
        command_timeout: scaled(settings.command_timeout),
        session_timeout: scaled(settings.session_timeout),
        data_block_timeout: NEVER,
        data_rate_min: 1,
        message_size_max: settings.door.size_max,
        tls_handshake_timeout: LATE,
        end_of_data_timeout: NEVER,
        drain_timeout: LATE,
        ledger_sources_max: 1000,
        known_senders_max: 1000,
    }
}

/// The reverse-paths that the dialogue's upstream refuses: each is that of the last MAIL before the
/// refusal.
fn refused_senders(dialog: &Dialog) -> HashMap<String, Reply> {
    let mut senders = HashMap::new();
    let mut last = String::new();
    for placed in &dialog.steps {
        match &placed.step {
            Step::Send(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let path = |line: &str| {
                    Some(
                        line.strip_prefix("MAIL FROM:")?
                            .split(' ')
                            .next()?
                            .to_owned(),
                    )
                };
                last = text.lines().filter_map(path).next_back().unwrap_or(last);
            }
            Step::Ask {
                outcome: Some(Outcome::SenderRefused(reply)),
                ..
            } => {
                senders.insert(last.clone(), reply.clone());
            }
            _ => {}
        }
    }
    senders
}

fn refused_greeting(dialog: &Dialog) -> Option<Reply> {
    dialog.steps.iter().find_map(|placed| match &placed.step {
        Step::Ask {
            outcome: Some(Outcome::ServiceRefused(reply)),
            ..
        } => Some(reply.clone()),
        _ => None,
    })
}
