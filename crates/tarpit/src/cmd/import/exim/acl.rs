//! What Exim's ACLs say: where they delay, and whether they take mail for domains beyond the lists.

use super::super::draft::Draft;
use super::super::networks::Ours;
use super::super::source::Setting;
use super::super::units;
use super::parse::{Conf, Statement, items};

/// The lists by which Exim's own sample and Debian name the domains that are theirs.
pub(super) const OWN_LISTS: [&str; 3] = ["local_domains", "relay_to_domains", "relay_domains"];

/// The hosts that may send anywhere, by the same samples.
const OWN_HOSTS: &str = "+relay_from_hosts";

/// Takes the delay before the refusal of an unknown recipient, else the shortest before a refusal at
/// RCPT: there is one price for all, and it must not slow anyone for longer than Exim does. Names all
/// others.
pub(super) fn delays(draft: &mut Draft, conf: &Conf) {
    let mut priced = Vec::new();
    for statement in &conf.statements {
        for part in statement.parts.iter().filter(|part| part.name == "delay") {
            let stage = stage(conf, &statement.acl);
            let is_refusal = matches!(statement.verb.as_str(), "deny" | "drop" | "require");
            match (stage, units::time(&part.value, 1)) {
                (Some("rcpt"), Some(time)) if is_refusal => {
                    priced.push((!verifies(statement), time, part));
                }
                (_, None) => {
                    let reason = format!("{}, so it is not taken.", units::no_time(&part.value));
                    draft.leave(&part.show(), &reason);
                }
                (stage, Some(_)) => draft.leave(&part.show(), elsewhere(stage, is_refusal)),
            }
        }
    }
    // False comes first.
    priced.sort_by_key(|(is_other, time, _)| (*is_other, *time));
    let mut priced = priced.into_iter();
    let Some((_, time, part)) = priced.next() else {
        return;
    };
    for (_, _, other) in priced {
        let reason = format!(
            "There is one price for every refusal, and {} was taken.",
            part.place
        );
        draft.leave(&other.show(), &reason);
    }
    let remark = "Take it out of Exim for what comes from Tarpit, or both wait. Exim holds a process meanwhile, Tarpit does not.";
    match units::delay(Some(time), &part.value) {
        Ok(toml) => draft.take(
            ("tarpit", 0, "delay"),
            toml,
            vec![part.show(), remark.to_owned()],
        ),
        Err(reason) => draft.leave(&part.show(), &format!("Not taken: {reason}.")),
    }
}

/// Whether a statement is about recipients that don't exist.
fn verifies(statement: &Statement) -> bool {
    let of_recipient =
        |part: &Setting| part.name.ends_with("verify") && part.value.starts_with("recipient");
    statement.parts.iter().any(of_recipient)
}

/// Why a delay at another place has no counterpart.
fn elsewhere(stage: Option<&str>, is_refusal: bool) -> &'static str {
    match stage {
        Some("connect" | "helo" | "starttls") => {
            "Tarpit holds neither the greeting nor EHLO: a client has done nothing wrong yet."
        }
        Some("data" | "mime" | "dkim" | "prdr") => {
            "Tarpit never holds the reply to a message: a client that gives up there sends it twice. Take it out of Exim too."
        }
        Some("rcpt") if !is_refusal => {
            "It delays recipients that are accepted too. Tarpit has a price for refusals only."
        }
        Some(_) => "Tarpit holds every 5yz reply for `delay`, whatever the command was.",
        None => "No acl_smtp_ option names this ACL, so it is not known whom it delays.",
    }
}

/// The stage at which an ACL is asked: `rcpt` for `acl_smtp_rcpt`.
fn stage<'c>(conf: &'c Conf, acl: &str) -> Option<&'c str> {
    conf.settings.iter().find_map(|setting| {
        setting
            .name
            .strip_prefix("acl_smtp_")
            .filter(|_| setting.value == acl)
    })
}

/// Looks for ways in that the lists don't show. Plain is an ACL in which a `require` names the lists,
/// and every `accept` before it is for the lists, for the trusted hosts or for users.
pub(super) fn domains(conf: &Conf, ours: &mut Ours) {
    let of_rcpt = |statement: &&Statement| stage(conf, &statement.acl) == Some("rcpt");
    let mut is_closed = false;
    for statement in conf.statements.iter().filter(of_rcpt) {
        let requires = statement.verb == "require" || statement.verb == "deny";
        if requires && closes(statement) {
            is_closed = true;
            break;
        }
        if statement.verb == "accept" && !is_plain(statement) {
            ours.gap(format!(
                "the `accept` in {} may let mail in for other domains",
                statement.place
            ));
        }
        if statement.verb == "discard" {
            ours.gap(format!(
                "the `discard` in {} lets mail in for other domains",
                statement.place
            ));
        }
    }
    if !is_closed {
        ours.gap("no `require domains = +local_domains : +relay_to_domains` was found in the ACL for RCPT");
    }
}

fn part<'s>(statement: &'s Statement, name: &str) -> Option<&'s Setting> {
    statement.parts.iter().find(|part| part.name == name)
}

/// `require domains = +local_domains : +relay_to_domains`, or `deny !domains = ...` with nothing else.
fn closes(statement: &Statement) -> bool {
    if statement.verb == "require" {
        return part(statement, "domains").is_some_and(|part| own_only(&part.value));
    }
    let modifiers = ["message", "log_message", "logwrite", "delay", "control"];
    let conditions = statement
        .parts
        .iter()
        .filter(|part| !modifiers.contains(&part.name.as_str()));
    let mut conditions = conditions.into_iter();
    let only = conditions.next().filter(|_| conditions.next().is_none());
    only.is_some_and(|part| part.name == "!domains" && own_only(&part.value))
}

fn own_only(value: &str) -> bool {
    let list = items(value);
    let is_own = |item: &String| {
        let name = item.strip_prefix('+');
        name.is_some_and(|name| OWN_LISTS.contains(&name))
    };
    !list.is_empty() && list.iter().all(is_own)
}

fn is_plain(statement: &Statement) -> bool {
    let for_own = part(statement, "domains").is_some_and(|part| own_only(&part.value));
    let for_users = part(statement, "authenticated").is_some();
    let for_hosts = part(statement, "hosts").is_some_and(|part| {
        // `hosts = :` is mail that did not come over a network.
        items(&part.value).iter().all(|item| item == OWN_HOSTS)
    });
    for_own || for_users || for_hosts
}
