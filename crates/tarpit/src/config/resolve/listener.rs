//! `[[listener]]` but for its name and address, and `[[certificate]]`.

use tarpit_gateway::config::{BareNewline, Certificate, Delivery, Kind, Listener, ListenerTls};

use super::super::reader::{Reader, View};
use super::Named;
use super::pit::{Pit, SessionBounds};

/// What listeners refer to.
#[derive(Debug)]
pub(super) struct Doors<'d> {
    /// None if something about them was wrong, which was noted.
    pub(super) deliveries: Option<&'d [Delivery]>,
    /// Whether TLS can be offered.
    pub(super) has_certificate: bool,
}

/// The listeners, in the order of the file.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    named: &[Named<'t>],
    doors: &Doors<'_>,
    pit: &Pit,
    bounds: SessionBounds,
) -> Option<Vec<Listener>> {
    let all: Vec<Option<Listener>> = named
        .iter()
        .map(|named| listener(reader, named, doors, pit, bounds))
        .collect();
    all.into_iter().collect()
}

fn listener<'t>(
    reader: &mut Reader<'t>,
    Named {
        view,
        name,
        address,
    }: &Named<'t>,
    doors: &Doors<'_>,
    pit: &Pit,
    bounds: SessionBounds,
) -> Option<Listener> {
    let delivery = delivery(reader, view, doors);
    let kind = reader.text(view, "kind").map(|word| match word.as_ref() {
        "submission" => Kind::Submission,
        _ => Kind::Mx,
    });
    let tls = tls(reader, view, doors);
    let auth_plaintext = reader.flag(view, "auth_plaintext");
    let bare_newline = reader
        .text(view, "bare_newline")
        .map(|word| match word.as_ref() {
            "normalize" => BareNewline::Normalize,
            _ => BareNewline::Reject,
        });
    let normalize = reader.networks(view, "normalize");
    let proxy_protocol = reader.networks(view, "proxy_protocol");
    let xclient = reader.networks(view, "xclient");
    let passthrough = reader.networks(view, "passthrough");
    if let (Some([_, ..]), Some([Delivery::Maildir(_)])) =
        (passthrough.as_deref(), doors.deliveries)
    {
        let text = "found networks, but the [maildir] takes the mail, and no untouched bytes; allowed: with an [[upstream]] only";
        reader.clash(view, "passthrough", text);
    }
    let (policy, small_window) = pit.policy_for(reader, view, bounds)?;
    Some(Listener {
        name: name.clone(),
        address: *address,
        policy,
        small_window,
        delivery: delivery?,
        kind: kind?,
        tls: tls?,
        auth_plaintext: auth_plaintext?,
        bare_newline: bare_newline?,
        normalize: normalize?,
        passthrough: passthrough?,
        proxy_protocol: proxy_protocol?,
        xclient: xclient?,
    })
}

/// Which of the upstreams takes its mail.
fn delivery<'t>(reader: &mut Reader<'t>, view: &View<'t>, doors: &Doors<'_>) -> Option<usize> {
    let wanted = reader.text(view, "upstream");
    let deliveries = doors.deliveries?;
    let names: Vec<&str> = deliveries.iter().map(Delivery::name).collect();
    let listed = || {
        let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        quoted.join(", ")
    };
    match wanted {
        Some(wanted) => {
            let found = names.iter().position(|name| **name == *wanted);
            if found.is_none() {
                let text = format!(
                    "found \"{wanted}\"; allowed: the name of an upstream: {}",
                    listed()
                );
                reader.clash(view, "upstream", text);
            }
            found
        }
        None if deliveries.len() > 1 => {
            let text = format!(
                "it is missing; allowed: which of the upstreams takes its mail: {}",
                listed()
            );
            reader.clash(view, "upstream", text);
            None
        }
        None => Some(0),
    }
}

fn tls<'t>(reader: &mut Reader<'t>, view: &View<'t>, doors: &Doors<'_>) -> Option<ListenerTls> {
    let Some(word) = reader.text(view, "tls") else {
        let by_certificate = if doors.has_certificate {
            ListenerTls::StartTls
        } else {
            ListenerTls::Off
        };
        // A word that isn't allowed was noted.
        return reader
            .notes
            .is_blank_about("listener.tls")
            .then_some(by_certificate);
    };
    let tls = match word.as_ref() {
        "starttls" => ListenerTls::StartTls,
        "implicit" => ListenerTls::Implicit,
        _ => ListenerTls::Off,
    };
    if tls != ListenerTls::Off && !doors.has_certificate {
        let text = format!(
            "found \"{word}\", but no [[certificate]]; allowed: \"{word}\" with one, or \"off\""
        );
        reader.clash(view, "tls", text);
    }
    Some(tls)
}

/// The certificates.
pub(super) fn certificates(reader: &mut Reader<'_>) -> Option<Vec<Certificate>> {
    let mut list = Some(Vec::new());
    for view in reader.many("certificate") {
        let chain = reader.path(&view, "chain");
        let key = reader.path(&view, "key");
        let key_is_fine = reader.notes.is_blank_about("certificate.key");
        match (chain, &mut list) {
            (Some(chain), Some(list)) if key_is_fine => list.push(Certificate {
                key: key.unwrap_or_else(|| chain.clone()),
                chain,
            }),
            _ => list = None,
        }
    }
    list
}
