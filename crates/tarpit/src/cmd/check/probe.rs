//! Asks the upstream what it will make of the mail that comes through us, and prints it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use tarpit_core::Trouble;
use tarpit_gateway::config::{
    Config, Delivery, Identity, Recipients, Upstream as Settings, UpstreamTls,
};
use tarpit_gateway::tls::KeyHash;
use tarpit_gateway::upstream::{ProbeReport, Upstream};

use super::{names, offer, show_seconds, survey};

/// What was found out, as lines, and whether it keeps mail from flowing or makes an open relay.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// For people.
    pub(super) lines: Vec<String>,
    /// Whether something has to be put right before Tarpit can serve.
    pub(super) is_blocking: bool,
}

impl Report {
    pub(super) fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Beneath the line before.
    pub(super) fn advise(&mut self, line: impl AsRef<str>) {
        self.lines.push(format!("  {}", line.as_ref()));
    }

    pub(super) fn block(&mut self, line: impl AsRef<str>) {
        self.is_blocking = true;
        self.lines.push(format!("PROBLEM: {}", line.as_ref()));
    }
}

/// Probes whoever takes the mail.
pub(super) async fn probe(config: &Config) -> Report {
    let mut report = Report::default();
    let own = survey::about_own_certificates(config, &mut report);
    for delivery in &config.deliveries {
        match delivery {
            Delivery::Upstream(settings) => {
                probe_upstream(config, settings, &own, &mut report).await;
            }
            Delivery::Maildir(maildir) => report.say(format!(
                "The built-in maildir takes the mail, in {}: there is no upstream to probe.",
                maildir.root.display()
            )),
        }
    }
    report
}

async fn probe_upstream(
    config: &Config,
    settings: &Settings,
    own: &[KeyHash],
    report: &mut Report,
) {
    let upstream = Upstream::new(settings.clone(), config.hostname.clone());
    let all = upstream.probe_all().await;
    let count = all.len();
    let mut is_asked = false;
    for (at, (address, found)) in settings.addresses.iter().zip(&all).enumerate() {
        if count == 1 {
            report.say(format!("The upstream, {} at {address}:", settings.name));
        } else {
            let number = at + 1;
            report.say(format!(
                "The upstream, {}, server {number} of {count} at {address}:",
                settings.name
            ));
        }
        about_greeting(found, report);
        let is_verified = matches!(settings.tls, UpstreamTls::Required { .. });
        about_capabilities(found, is_verified, report);
        about_identity(found, settings.identity, report);
        // One that says nothing may wait for what it was not told.
        if !found.steps.is_empty() {
            let survey = upstream.survey(at).await;
            survey::about_choices(&survey, settings, report);
            survey::about_tls(found, &survey, settings, own, report);
        }
        if let Some((trouble, _)) = &found.failure {
            if *trouble != Trouble::Identity {
                report.block(failure(found));
            }
            continue;
        }
        about_relaying(found, settings.relays, report);
        // All of them take the same mail.
        if !std::mem::replace(&mut is_asked, true) {
            about_names(&upstream, at, config, report).await;
        }
    }
}

fn about_greeting(found: &ProbeReport, report: &mut Report) {
    if let Some(greeting) = &found.greeting {
        report.say(format!("It greets: {greeting}"));
    }
    let steps: Vec<String> = found
        .steps
        .iter()
        .map(|(step, took)| format!("{step} {}", show_seconds(*took)))
        .collect();
    if !steps.is_empty() {
        report.say(format!("Time it took: {}", steps.join(", ")));
    }
}

fn about_capabilities(found: &ProbeReport, is_verified: bool, report: &mut Report) {
    let Some(capabilities) = &found.capabilities else {
        return;
    };
    report.say(format!(
        "Clients will be offered: {}",
        or_nothing(&offer::offered(capabilities, is_verified).join(", "))
    ));
    if !capabilities.auth.is_empty() {
        report.advise("AUTH: over TLS, and without it where a listener has auth_plaintext = true");
    }
    let withheld = offer::withheld(capabilities, is_verified);
    if !withheld.is_empty() {
        report.say("It offers these to us, and they are not passed on:");
    }
    for (keyword, reason) in withheld {
        report.advise(format!("{keyword}: {reason}"));
    }
    let missing = offer::missing(capabilities);
    if !missing.is_empty() {
        report.say(format!(
            "It doesn't offer, so clients won't be offered: {}",
            missing.join(", ")
        ));
    }
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() {
        "nothing beyond plain SMTP"
    } else {
        text
    }
}

fn about_identity(found: &ProbeReport, identity: Identity, report: &mut Report) {
    let (way, steps) = match identity {
        Identity::Xclient => (
            "XCLIENT",
            "Postfix: smtpd_authorized_xclient_hosts = ADDRESS-OF-THIS-GATEWAY (for the service that Tarpit connects to)",
        ),
        Identity::ProxyV1 | Identity::ProxyV2 => (
            "the PROXY protocol",
            "Postfix: smtpd_upstream_proxy_protocol = haproxy (for the service that Tarpit connects to); \
             Exim: hosts_proxy = ADDRESS-OF-THIS-GATEWAY",
        ),
        Identity::Transparent => (
            "connections from the client's address",
            "The upstream's way back to clients must lead through this machine: see docs/transparent.md",
        ),
        Identity::Trace => {
            report.say("Identity: a Received header in each message. To its checks, every client is this gateway.");
            return;
        }
        Identity::None => {
            report.say(
                "Identity: not told (identity = \"none\"). To it, every client is this gateway.",
            );
            return;
        }
    };
    match &found.identity {
        Some(Ok(())) => {
            report.say(format!(
                "Identity: it takes {way}; it will know who each client is."
            ));
            if identity == Identity::Xclient {
                report.say(
                    "By XCLIENT, but not its name in DNS: restrictions by name (Postfix's reject_unknown_client_hostname) \
                     would refuse everybody; if there are any, take \"proxy-v2\".",
                );
            }
        }
        Some(Err(why)) => {
            report.block(format!(
                "identity can't be told: {why}. Every client would get 451 4.3.0."
            ));
            report.advise(steps);
        }
        None if found.from_own_address => {
            report.block(
                "identity = \"transparent\" doesn't work: no way back to a client's address leads through this \
                 machine. No mail would come through.",
            );
            report.advise(steps);
        }
        None => {}
    }
}

fn about_relaying(found: &ProbeReport, is_meant: bool, report: &mut Report) {
    let Some((reply, _)) = &found.relay else {
        return;
    };
    let said = reply.to_log();
    if found.from_own_address {
        report.say(
            "The next lines are about a client with this machine's own address: a connection from a client's could \
             not be made, so how it treats clients is not known.",
        );
    }
    if !found.relays {
        report.say(format!("Relaying: it doesn't relay for us ({said}). Good."));
    } else if is_meant {
        report.say(format!("Relaying: it relays for us ({said}), as upstream_relays = true says; `domains` keeps clients from using that."));
    } else {
        report.block(format!(
            "your server trusts this gateway's address: it would relay to postmaster@example.com ({said}). \
             Tarpit will serve this machine's own programs only: listeners on loopback without proxy_protocol and xclient."
        ));
        report.advise("Postfix: mynetworks without this gateway's address, for the service that Tarpit connects to (-o mynetworks=)");
        report.advise("Exim: relay_from_hosts without it; Exchange: no anonymous relay permission on the receive connector");
        report.advise("Or tell it who the client is: identity = \"xclient\" or \"proxy-v2\". If relaying is meant: upstream_relays = true");
    }
}

async fn about_names(
    upstream: &Arc<Upstream>,
    server: usize,
    config: &Config,
    report: &mut Report,
) {
    if config.domains.is_empty() {
        report.say("Unknown names: not tried, since `domains` is empty.");
    }
    let has_file = matches!(config.recipients, Recipients::File(_));
    for domain in &config.domains {
        let name = format!("{}@{domain}", random_name());
        match upstream.try_name(server, &name).await {
            Ok((reply, took)) => {
                let (line, advice) = names::describe(domain, &reply, took, has_file);
                report.say(line);
                advice.iter().for_each(|line| report.advise(line));
            }
            Err(trouble) => report.block(format!(
                "{domain}: no answer to an unknown name ({})",
                explain(trouble)
            )),
        }
    }
    if let Recipients::File(file) = &config.recipients {
        report.say(format!(
            "Names that {} doesn't have are refused by Tarpit itself, whatever the upstream says (mode = \"enforce\").",
            file.display()
        ));
    }
}

/// A name that nobody has.
fn random_name() -> String {
    format!(
        "tarpit-check-{:016x}",
        RandomState::new().build_hasher().finish()
    )
}

fn failure(found: &ProbeReport) -> String {
    match &found.failure {
        Some((Trouble::Closed, Some(said))) => format!("it doesn't serve us: {said}"),
        Some((trouble, Some(detail))) => {
            format!("it can't be probed: {} ({detail})", explain(*trouble))
        }
        Some((trouble, None)) => format!("it can't be probed: {}", explain(*trouble)),
        None => String::new(),
    }
}

/// A trouble in words.
fn explain(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Unreachable => {
            "it can't be connected to; is it running, and is the address right?"
        }
        Trouble::TimedOut => "it didn't answer in time",
        Trouble::Closed => "it closed the connection",
        Trouble::Garbage => "what it says is not SMTP",
        Trouble::Identity => "the client's identity can't be told",
        Trouble::Tls => "TLS with it is required and can't be had",
        other => other.as_str(),
    }
}
