//! One input to the machine, whoever drives it: the mail lane or the pit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tarpit_core::record::HoldRecord;
use tarpit_core::{Door, Env, Input, Outbox, Then, Tick};
use tarpit_smtp::Capabilities;

use crate::config::ListenerTls;
use crate::conn::Conn;
use crate::dialogue::Heard;
use crate::front;
use crate::log;
use crate::shared::Shared;

/// What stays the same for all inputs of one activity.
#[derive(Debug)]
pub(crate) struct Scene {
    capabilities: Arc<Capabilities>,
    door: Door,
}

impl Scene {
    /// What is offered to this client, and what its listener allows.
    pub(crate) fn of<S>(conn: &Conn<S>) -> Self {
        let listener = &conn.live.config.listeners[conn.listener];
        // Who was introduced by a proxy is not the proxy.
        let speaker = conn.via.as_deref().map_or(conn.peer, |via| via.proxy);
        let door = Door {
            kind: listener.kind,
            starttls: listener.tls == ListenerTls::StartTls && conn.live.tls.is_some(),
            auth_plain: listener.auth_plaintext,
            xclient: front::is_listed(&listener.xclient, speaker.ip()),
            upstream_secure: conn.live.is_upstream_secure(conn.listener),
            size_max: conn.live.config.limits.message_size_max,
        };
        let mail = conn.live.mail(conn.listener);
        Self {
            capabilities: mail.capabilities().unwrap_or_default(),
            door,
        }
    }
}

/// One input; then what came of it is carried out: records, and the sessions that have room now.
pub(crate) fn handle<S>(
    shared: &Shared,
    conn: &mut Conn<S>,
    scene: &Scene,
    out: &mut Outbox,
    input: Input<'_>,
) -> Then {
    #[cfg(test)]
    crate::scene::meet_bug(conn);
    let now = shared.clock.now();
    let Conn {
        session,
        live,
        listener,
        ..
    } = conn;
    let filter = live.filter.load();
    let policy = shared.policy(live, *listener);
    let accepted = session.record().messages_accepted;
    let heard = Heard::of(&input, session);
    if matches!(heard, Heard::Opened) {
        let (id, source) = (session.id(), session.source());
        shared.dialogues.begin(id, source, now, &shared.ledger);
    }
    let env = Env {
        hostname: &live.config.hostname,
        policy: &policy,
        ledger: &shared.ledger,
        capabilities: &scene.capabilities,
        filter: &filter,
        door: scene.door,
        prefixes: live.config.prefixes,
    };
    let said = out.bytes.len();
    // A bug in the deciding code ends this session, and no other.
    let decided = catch_unwind(AssertUnwindSafe(|| session.handle(now, input, &env, out)));
    let then = decided.unwrap_or_else(|_| {
        shared.metrics.panics.add(1);
        out.bytes.truncate(said);
        session.break_off(now, &env, out)
    });
    let new = out.bytes.get(said..).unwrap_or_default();
    let (taken, addresses) = (out.consumed, live.config.addresses);
    let dialogues = &shared.dialogues;
    dialogues.note(session.id(), now, heard, taken, new, addresses);
    write_down(shared, conn, out, now);
    if conn.session.record().messages_accepted > accepted {
        shared.harm.accepted(conn.session.source(), &shared.metrics);
    }
    shared.pit.wake_woken(&shared.ledger);
    // A message in chunks that is not gone on with is given up, lest its connection be kept.
    let is_between = matches!(then, Then::Read | Then::Hold { .. } | Then::Ask(_));
    if is_between && !conn.session.is_in_message() {
        conn.link.abort_message();
    }
    then
}

/// Acts and holds, in the order in which they were: who reads the records knows by it which hold
/// belongs to which act. A wait before a look-up comes before its act, the hold of a reply after it.
fn write_down<S>(shared: &Shared, conn: &Conn<S>, out: &mut Outbox, now: Tick) {
    let write_hold = |hold: &HoldRecord| {
        let is_known = shared.ledger.is_known(now, hold.source);
        log::hold(hold, is_known, &shared.metrics);
        shared.note_hold(hold, now);
    };
    for hold in out.holds.iter().filter(|hold| hold.is_before_look_up()) {
        write_hold(hold);
    }
    for act in out.acts.drain(..) {
        log::act(&act, conn);
    }
    for hold in out.holds.drain(..).filter(|hold| !hold.is_before_look_up()) {
        write_hold(&hold);
    }
}
