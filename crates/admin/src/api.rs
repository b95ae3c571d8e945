//! What is said over the control socket, as JSON: docs/control.md. Both ends use these types, and
//! whoever else shows what they hold.
//!
//! Times are seconds since 1970, spans are seconds. A field that is not there is not known, or does
//! not apply. Fields are added, never taken away or given another meaning under the same `/v1/`. What
//! a client said (names, paths) is given as it was said; who prints it escapes it.

mod view;

pub(crate) use view::seconds;

use serde::{Deserialize, Serialize};

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// The configuration file.
    pub config: String,
    /// The process.
    pub process: u32,
    /// When it started.
    pub started: u64,
    /// The gateway's clock.
    pub now: u64,
    /// Why a new client would not be served, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready: Option<String>,
    /// The mode, who set it, and the trial.
    pub rule: Rule,
    /// The mode of each listener.
    pub listeners: Vec<ListenerMode>,
    /// Who waits.
    pub pit: Pit,
    /// What is delivered.
    pub mail: Mail,
    /// The mail servers behind.
    pub upstreams: Vec<Upstream>,
    /// Time that was taken from those whose mail is accepted.
    pub harm: Harm,
    /// Sources that owe something.
    pub sources_owing: u64,
    /// Known senders.
    pub known_senders: u64,
    /// Whether the last change of the configuration was put in force.
    pub reload_successful: bool,
}

/// A listener and its mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerMode {
    /// Its name.
    pub name: String,
    /// `off`, `observe` or `enforce`.
    pub mode: String,
}

/// The pit. Counts are since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pit {
    /// Sessions in the pit now: held, or idle there after a hold.
    pub held: u64,
    /// Memory that they take in this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Their input that waits in the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_bytes: Option<u64>,
    /// Processes that hold sessions for this one.
    pub keepers: u64,
    /// Why sessions are being shed, while they are: `sessions`, `memory` or `unread`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strained: Option<String>,
    /// Holds that ended.
    pub holds: u64,
    /// How long they were.
    pub held_seconds: f64,
    /// Holds that there would have been (mode `observe`).
    pub observed_holds: u64,
    /// How long those would have been.
    pub observed_seconds: f64,
    /// Sessions that were shed.
    pub shed: u64,
    /// RCPTs and AUTHs that got 450 or 454 unseen.
    pub unseen: u64,
}

/// Mail. Counts are since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Sessions now, those in the pit included.
    pub sessions: u64,
    /// Messages that the upstream accepted.
    pub accepted: u64,
    /// Messages that were refused at their end.
    pub refused: u64,
    /// Messages that the client broke off.
    pub aborted: u64,
    /// RCPTs that got 2yz.
    pub recipients_accepted: u64,
    /// RCPTs that were refused for good.
    pub recipients_refused: u64,
    /// RCPTs that were refused for now.
    pub recipients_deferred: u64,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Sessions that wait for a connection to it.
    pub waiting: u64,
    /// Its servers.
    pub servers: Vec<Server>,
}

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Where it listens.
    pub address: String,
    /// `up`, `down`, `relays` or `unknown`.
    pub health: String,
    /// Why it is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Traffic found it dead since its last probe.
    pub passed_over: bool,
    /// Connections, idle ones included.
    pub open: u32,
    /// Of them, those that are idle.
    pub idle: u32,
}

/// Time that was taken from sources whose mail the upstream accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Harm {
    /// How long they waited.
    pub seconds: f64,
    /// How long they would have waited (mode `observe`).
    pub observed_seconds: f64,
    /// Holds in which one of them hung up.
    pub hang_ups: u64,
    /// The last of them, oldest first.
    pub events: Vec<HarmEvent>,
}

/// A source whose mail was accepted has waited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HarmEvent {
    /// When it was counted.
    pub at: u64,
    /// Who.
    pub source: String,
    /// The session in which it waited last.
    pub session: String,
    /// What for.
    pub reason: String,
    /// How long.
    pub seconds: f64,
    /// It hung up in a hold.
    pub hung_up: bool,
}

/// The mode, who set it, and what else was changed by command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// `off`, `observe` or `enforce`.
    pub mode: String,
    /// `configuration`, `command` or `trial`.
    pub set_by: String,
    /// What the configuration says.
    pub configured: String,
    /// The trial that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// How the last trial of this process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Exemptions that were made by command.
    pub exemptions: Vec<Exemption>,
}

impl Rule {
    /// Marks exemptions whose end has passed.
    pub(crate) fn mark_over(&mut self, now: u64) {
        for exemption in &mut self.exemptions {
            exemption.over = exemption.until.is_some_and(|end| end <= now);
        }
    }
}

/// A trial of `enforce`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// When it began.
    pub began: u64,
    /// When it ends by itself.
    pub ends: u64,
    /// It ends as soon as sources whose mail was accepted have waited for so long.
    pub trip_seconds: f64,
    /// They have waited for so long.
    pub waited_seconds: f64,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// When.
    pub at: u64,
    /// When it had begun.
    pub began: u64,
    /// `time_up`, `waited`, `hung_up`, `confirmed` or `broken_off`.
    pub outcome: String,
    /// The mode since.
    pub mode: String,
    /// How long sources whose mail was accepted have waited in it.
    pub waited_seconds: f64,
    /// Holds in which one of them hung up.
    pub hang_ups: u64,
    /// The last of them.
    pub events: Vec<HarmEvent>,
    /// The same in words.
    pub text: String,
}

/// A network that is never held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    /// Which.
    pub network: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// `configuration` or `command`.
    #[serde(default)]
    pub set_by: String,
    /// Its end has passed.
    #[serde(default)]
    pub over: bool,
}

/// `GET /v1/exemptions`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemptions {
    /// All of them.
    pub exemptions: Vec<Exemption>,
}

/// `GET /v1/sources?top=N`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sources {
    /// Most owing first.
    pub sources: Vec<Source>,
}

/// A source and what it owes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// An address, or a network.
    pub source: String,
    /// Owed at RCPT, and for everything that is not AUTH.
    pub owed_seconds: f64,
    /// Owed at AUTH.
    pub owed_auth_seconds: f64,
    /// Reserved for look-ups that are under way.
    pub reserved_seconds: f64,
    /// Sessions that wait for room.
    pub waiting: u64,
    /// How long ago mail of it was accepted, if it is a known sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_ago_seconds: Option<f64>,
}

/// `GET /v1/explain?of=ADDRESS`, `GET /v1/explain?of=tp-ID`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked.
    pub of: String,
    /// The session, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// The source, as it is now.
    pub source: Source,
    /// Sessions that it has now.
    pub sessions: u32,
    /// The exemption that covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exemption: Option<Exemption>,
    /// What its next RCPT would meet, by listener.
    pub next: Vec<Next>,
    /// Its newest sessions that are known, newest first.
    pub recent: Vec<Session>,
}

/// What the next RCPT of a source would meet at a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// The listener.
    pub listener: String,
    /// Its mode; where that is not `enforce`, the spans are what `enforce` would do.
    pub mode: String,
    /// Whose account is charged: `session` or `source`.
    pub scope: String,
    /// The price of a wrong guess.
    pub price_seconds: f64,
    /// How long it waits before it is looked at, whatever the name is: all that a right one waits.
    pub right_seconds: f64,
    /// How long a wrong one waits in all.
    pub wrong_seconds: f64,
    /// It would get 450 instead, without being looked at.
    pub unseen: bool,
    /// When the source would be free of debt after a wrong one, from now.
    pub free_after_seconds: f64,
}

/// A session that has ended, or that still runs and was held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its name, `tp-` and eight letters.
    pub id: String,
    /// Who is charged.
    pub source: String,
    /// When it ended, or was last heard of.
    pub at: u64,
    /// Its last holds, oldest first.
    pub holds: Vec<Hold>,
    /// What is known since it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// A session that has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// How: the word of the records.
    pub end: String,
    /// The client's address and port.
    pub client: String,
    /// The listener.
    pub listener: String,
    /// How long it was.
    pub seconds: f64,
    /// Why its network was exempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt: Option<String>,
    /// The name in EHLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// The last reverse-path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// AUTH succeeded.
    pub authenticated: bool,
    /// RCPTs that got 2yz.
    pub accepted: u32,
    /// RCPTs that were refused for good.
    pub refused: u32,
    /// The first of them.
    pub refused_paths: Vec<String>,
    /// RCPTs that were refused for now.
    pub deferred: u32,
    /// RCPTs and AUTHs that got 450 or 454 unseen.
    pub unseen: u32,
    /// AUTHs that failed.
    pub auth_failed: u32,
    /// 5yz replies.
    pub errors: u32,
    /// Messages.
    pub messages: u32,
    /// Of them, those that the upstream accepted.
    pub messages_accepted: u32,
    /// Holds, or those that there would have been.
    pub holds: u32,
    /// How long they were.
    pub held_seconds: f64,
}

/// A hold that ended, or that would have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// When it ended.
    pub at: u64,
    /// What for: the word of the records.
    pub reason: String,
    /// The code of the reply that waited; without, the command waited to be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What was owed when it began.
    pub owed_seconds: f64,
    /// How long it was.
    pub held_seconds: f64,
    /// How it ended: the word of the records.
    pub end: String,
}

/// What was said in a session: `GET /v1/dialogue?of=tp-ID` of the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dialogue {
    /// Its name.
    pub id: String,
    /// In the order in which they were said.
    pub lines: Vec<DialogueLine>,
    /// More was said than is kept.
    pub cut: bool,
}

/// A line that was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DialogueLine {
    /// Since the session began.
    pub at_seconds: f64,
    /// `client`, `server`, or `note` for what nobody said.
    pub who: String,
    /// In printable ASCII.
    pub text: String,
}

/// `POST /v1/mode`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMode {
    /// `off`, `observe`, `enforce`, or `configured` for what the configuration says.
    pub mode: String,
    /// With `enforce`: a trial for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
    /// It ends early when sources whose mail was accepted have waited for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trip_seconds: Option<u64>,
}

/// `POST /v1/exemptions`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewExemption {
    /// An address or a network.
    pub network: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// `POST /v1/forgive`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgive {
    /// Whose source owes nothing any more.
    pub address: String,
}

/// What came of `POST /v1/forgive`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forgiven {
    /// The source.
    pub source: String,
    /// What it owed.
    pub seconds: f64,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// In words.
    pub text: String,
    /// What else whoever asked should know.
    pub warnings: Vec<String>,
    /// What holds since.
    pub rule: Rule,
}

/// The answer where something is wrong. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In one line.
    pub error: String,
    /// What is wrong with a configuration file: one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}
