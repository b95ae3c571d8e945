//! What the upstream could be told and how: the ways of identity that it takes, TLS on its leg, and
//! whose certificates stand where.

use tarpit_gateway::config::{Config, Identity, Upstream as Settings, UpstreamTls};
use tarpit_gateway::tls::{CertificateInfo, KeyHash, Peer, ServerTls};
use tarpit_gateway::upstream::{ProbeReport, Survey};

use super::probe::Report;

/// The certificates that we show to clients. Their keys.
pub(super) fn about_own_certificates(config: &Config, report: &mut Report) -> Vec<KeyHash> {
    if config.certificates.is_empty() {
        return Vec::new();
    }
    match ServerTls::read(&config.certificates) {
        Ok(tls) => {
            let certificates = tls.certificates();
            report.say("Certificates that clients will see:");
            for (files, info) in &certificates {
                report.advise(format!("{}: {}", files.chain.display(), describe(info)));
            }
            certificates.into_iter().map(|(_, info)| info.key).collect()
        }
        Err(error) => {
            report.block(error.to_string());
            Vec::new()
        }
    }
}

/// `mx.example.org, until 2027-03-31T00:00:00Z, key 01ab... (TLSA 3 1 1)`
fn describe(info: &CertificateInfo) -> String {
    let end = jiff::Timestamp::from_second(info.not_after)
        .map_or_else(|_| info.not_after.to_string(), |end| end.to_string());
    format!(
        "{}, until {end}, key {} (TLSA 3 1 1)",
        info.name_list(),
        info.key
    )
}

/// The ways in which the server can be told who the client is, and whether the chosen one is among
/// them.
pub(super) fn about_choices(survey: &Survey, settings: &Settings, report: &mut Report) {
    let takes: Vec<&str> = survey
        .identities
        .iter()
        .filter(|(_, taken)| taken.is_ok())
        .map(|(identity, _)| word(*identity))
        .collect();
    let takes = if takes.is_empty() {
        "none of them".to_owned()
    } else {
        takes.join(", ")
    };
    report.say(format!(
        "Ways to tell it who the client is, each tried on a connection of its own; it takes: {takes}"
    ));
    for (identity, taken) in &survey.identities {
        if let Err(why) = taken {
            report.advise(format!("{}: {why}", word(*identity)));
        }
    }
    report.advise("trace: needs nothing of it, but tells only who reads the header");
    let chosen = settings.identity;
    let better = survey
        .identities
        .iter()
        .find(|(identity, taken)| taken.is_ok() && *identity != chosen);
    let is_told = !matches!(chosen, Identity::None | Identity::Trace);
    let works = survey
        .identities
        .iter()
        .any(|(identity, taken)| *identity == chosen && taken.is_ok());
    if let (Some((better, _)), false) = (better, is_told && works) {
        report.say(format!(
            "WARNING: identity is \"{}\", but it would take \"{}\"",
            word(chosen),
            word(*better)
        ));
    }
}

/// TLS on the leg to it.
pub(super) fn about_tls(
    found: &ProbeReport,
    survey: &Survey,
    settings: &Settings,
    own: &[KeyHash],
    report: &mut Report,
) {
    match (&settings.tls, &found.tls) {
        (_, Some(peer)) => report.say(format!(
            "TLS to it: {}, {}",
            describe_tls(peer),
            match settings.tls {
                UpstreamTls::Required { .. } => "verified",
                _ => "not verified (tls = \"opportunistic\")",
            }
        )),
        (UpstreamTls::Off, None) => report.say("TLS to it: none (tls = \"off\")"),
        (UpstreamTls::Opportunistic, None) => {
            report.say("TLS to it: none could be had; going on without (tls = \"opportunistic\")");
        }
        // It is why the probe failed.
        (UpstreamTls::Required { .. }, None) => {}
    }
    if survey.auth_needs_tls && found.tls.is_none() {
        report.say(
            "WARNING: it offers AUTH only over TLS, and the leg to it is plain: nobody can authenticate through \
             Tarpit. Set tls = \"opportunistic\", or \"required\"",
        );
    }
    match &survey.tls {
        None => {}
        Some(Err(why)) => report.say(format!("Its own TLS can't be looked into: {why}")),
        Some(Ok(peer)) => about_its_certificate(peer, own, report),
    }
}

fn about_its_certificate(peer: &Peer, own: &[KeyHash], report: &mut Report) {
    let Some(certificate) = &peer.certificate else {
        report.say("Its own certificate can't be read.");
        return;
    };
    report.say(format!("Its own certificate: {}", describe(certificate)));
    if own.is_empty() {
        report.say(
            "WARNING: it has TLS and Tarpit has no [[certificate]]: clients that were encrypted so far won't be, and \
             those that demand it (MTA-STS, DANE) won't deliver",
        );
    } else if own.contains(&certificate.key) {
        report.advise("the same key as ours: TLSA records (DANE) stay right");
    } else {
        report.say(
            "WARNING: its key is another than ours. If TLSA records (DANE) name its key, they must name ours before \
             mail comes this way, or senders that look at them won't deliver",
        );
    }
}

fn describe_tls(peer: &Peer) -> String {
    format!("{} {}", peer.tls.version, peer.tls.cipher)
}

/// As in the configuration.
const fn word(identity: Identity) -> &'static str {
    match identity {
        Identity::Xclient => "xclient",
        Identity::ProxyV1 => "proxy-v1",
        Identity::ProxyV2 => "proxy-v2",
        Identity::Transparent => "transparent",
        Identity::Trace => "trace",
        Identity::None => "none",
    }
}
