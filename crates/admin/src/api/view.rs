//! From what the gateway knows to what is said over the socket.

use std::time::Duration;

use tarpit_core::SessionId;
use tarpit_core::ledger::Standing;
use tarpit_core::policy::{Policy, Scope};
use tarpit_core::{Quote, record::SessionRecord};
use tarpit_gateway::metrics::{Closed as _, Figures};
use tarpit_gateway::upstream::Health;
use tarpit_gateway::{
    Dialogue as GatewayDialogue, Ended as GatewayEnded, HarmEvent as GatewayEvent, HarmFigures,
    RecentHold, RecentSession, SourceView,
};

use super::{
    Dialogue, DialogueLine, Ended, Exemption, Explanation, Harm, HarmEvent, Hold, ListenerMode,
    Mail, Next, Pit, Server, Session, Source, Upstream,
};

/// A span in seconds, for people and programs: to the millisecond.
pub(crate) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

fn name(id: SessionId) -> String {
    format!("tp-{id}")
}

impl Pit {
    /// From the figures of the metrics, so that both agree.
    #[must_use]
    pub fn of(figures: &Figures) -> Self {
        let counts = &figures.counts;
        let span = |millis| seconds(Duration::from_millis(millis));
        Self {
            held: figures.pit.sessions,
            bytes: figures.pit.octets,
            unread_bytes: figures.pit.unread_octets,
            keepers: figures.pit.keepers,
            strained: figures.pit.strained.map(|strain| strain.word().to_owned()),
            holds: counts.holds.sum(),
            held_seconds: span(counts.held_millis.sum()),
            observed_holds: counts.holds_observed.iter().map(|(_, count)| count).sum(),
            observed_seconds: span(
                counts
                    .observed_millis
                    .iter()
                    .map(|(_, millis)| millis)
                    .sum(),
            ),
            shed: counts.sheds.iter().map(|(_, count)| count).sum(),
            unseen: counts.unseen,
        }
    }
}

impl Mail {
    /// From the figures of the metrics, so that both agree.
    #[must_use]
    pub fn of(figures: &Figures) -> Self {
        let counts = &figures.counts;
        Self {
            sessions: figures.sessions_all(),
            accepted: counts.messages_accepted,
            refused: counts.messages_refused,
            aborted: counts.messages_aborted,
            recipients_accepted: counts.recipients_accepted,
            recipients_refused: counts.recipients_refused,
            recipients_deferred: counts.recipients_deferred,
        }
    }
}

impl ListenerMode {
    /// All of them.
    #[must_use]
    pub fn all(figures: &Figures) -> Vec<Self> {
        let listeners = figures.listeners.iter();
        listeners
            .map(|listener| Self {
                name: listener.name.to_string(),
                mode: listener.mode.as_str().to_owned(),
            })
            .collect()
    }
}

impl Upstream {
    /// All of them.
    #[must_use]
    pub fn all(figures: &Figures) -> Vec<Self> {
        let upstreams = figures.upstreams.iter();
        upstreams
            .map(|upstream| Self {
                name: upstream.name.to_string(),
                waiting: upstream.waiting,
                servers: upstream
                    .servers
                    .iter()
                    .map(|server| {
                        let (health, why) = health(&server.health);
                        Server {
                            address: server.address.to_string(),
                            health: health.to_owned(),
                            why,
                            passed_over: server.is_passed_over,
                            open: server.open,
                            idle: server.idle,
                        }
                    })
                    .collect(),
            })
            .collect()
    }
}

fn health(health: &Health) -> (&'static str, Option<String>) {
    match health {
        Health::Unknown => ("unknown", None),
        Health::Up => ("up", None),
        Health::Down { why } => ("down", Some(why.as_str().to_owned())),
        Health::Relays { reply } => ("relays", Some(reply.clone())),
    }
}

impl From<HarmFigures> for Harm {
    fn from(harm: HarmFigures) -> Self {
        Self {
            seconds: seconds(harm.waited),
            observed_seconds: seconds(harm.observed),
            hang_ups: harm.hang_ups,
            events: harm.events.iter().map(HarmEvent::from).collect(),
        }
    }
}

impl From<&GatewayEvent> for HarmEvent {
    fn from(event: &GatewayEvent) -> Self {
        Self {
            at: event.at,
            source: event.source.to_string(),
            session: name(event.session),
            reason: event.reason.as_str().to_owned(),
            seconds: seconds(event.waited),
            hung_up: event.hung_up,
        }
    }
}

impl Source {
    /// What the ledger knows of a source.
    #[must_use]
    pub fn of(source: tarpit_core::Source, standing: &Standing) -> Self {
        let waiting = standing.rcpt.waiting + standing.auth.waiting;
        let reserved = standing.rcpt.reserved + standing.auth.reserved;
        Self {
            source: source.to_string(),
            owed_seconds: seconds(standing.rcpt.owed),
            owed_auth_seconds: seconds(standing.auth.owed),
            reserved_seconds: seconds(reserved),
            waiting: waiting as u64,
            accepted_ago_seconds: standing.accepted_ago.map(seconds),
        }
    }
}

impl Explanation {
    /// Of a source, and of the session that was asked for.
    #[must_use]
    pub fn of(asked: String, view: &SourceView, session: Option<&RecentSession>, now: u64) -> Self {
        let next = view.quotes.iter();
        Self {
            of: asked,
            session: session.map(Session::from),
            source: Source::of(view.source, &view.standing),
            sessions: view.sessions,
            exemption: view.exemption.as_ref().map(|one| Exemption::of(one, now)),
            next: next
                .map(|(listener, policy, quote)| Next::of(listener, policy, quote))
                .collect(),
            recent: view.recent.iter().map(Session::from).collect(),
        }
    }
}

impl Exemption {
    /// As the gateway has it. Who set it is not known there.
    #[must_use]
    pub fn of(exemption: &tarpit_gateway::config::Exemption, now: u64) -> Self {
        Self {
            network: exemption.network.to_string(),
            reason: exemption.reason.to_string(),
            until: exemption.until,
            set_by: String::new(),
            over: exemption.until.is_some_and(|end| end <= now),
        }
    }
}

impl Next {
    fn of(listener: &str, policy: &Policy, quote: &Quote) -> Self {
        let scope = match policy.scope {
            Scope::Session => "session",
            Scope::Source => "source",
        };
        Self {
            listener: listener.to_owned(),
            mode: policy.mode.as_str().to_owned(),
            scope: scope.to_owned(),
            price_seconds: seconds(policy.delay),
            right_seconds: seconds(quote.before),
            wrong_seconds: seconds(quote.before + quote.wrong),
            unseen: quote.unseen,
            free_after_seconds: seconds(quote.owed_after),
        }
    }
}

impl From<&RecentSession> for Session {
    fn from(session: &RecentSession) -> Self {
        Self {
            id: name(session.id),
            source: session.source.to_string(),
            at: session.at(),
            holds: session.holds.iter().map(Hold::from).collect(),
            ended: session.ended.as_deref().map(Ended::from),
        }
    }
}

impl From<&GatewayDialogue> for Dialogue {
    fn from(dialogue: &GatewayDialogue) -> Self {
        let lines = dialogue.lines.iter();
        Self {
            id: name(dialogue.id),
            lines: lines
                .map(|line| DialogueLine {
                    at_seconds: seconds(line.at),
                    who: line.speaker.as_str().to_owned(),
                    text: line.text.to_string(),
                })
                .collect(),
            cut: dialogue.cut,
        }
    }
}

impl From<&RecentHold> for Hold {
    fn from(hold: &RecentHold) -> Self {
        Self {
            at: hold.at,
            reason: hold.reason.as_str().to_owned(),
            code: hold.code,
            owed_seconds: seconds(hold.owed),
            held_seconds: seconds(hold.held),
            end: hold.end.as_str().to_owned(),
        }
    }
}

impl From<&GatewayEnded> for Ended {
    fn from(ended: &GatewayEnded) -> Self {
        let SessionRecord {
            helo,
            sender,
            refused_paths,
            ..
        } = &ended.record;
        let record = &ended.record;
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Self {
            end: record.end.as_str().to_owned(),
            client: ended.client.to_string(),
            listener: ended.listener.to_string(),
            seconds: seconds(ended.lasted),
            exempt: text(&ended.exempt),
            helo: text(helo),
            sender: text(sender),
            authenticated: record.authenticated,
            accepted: record.accepted,
            refused: record.refused,
            refused_paths: refused_paths.iter().map(ToString::to_string).collect(),
            deferred: record.deferred,
            unseen: record.unseen,
            auth_failed: record.failed_auth,
            errors: record.errors,
            messages: record.messages_count,
            messages_accepted: record.messages_accepted,
            holds: record.holds,
            held_seconds: seconds(record.held),
        }
    }
}
