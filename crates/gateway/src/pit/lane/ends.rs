//! How a session leaves the lane: for the mail lane, or for good.

use std::sync::Arc;

use tarpit_core::answer::Finding;
use tarpit_core::octets::Unreadable;
use tarpit_core::record::SessionEnd;
use tarpit_core::{Input, Then};

use super::Lane;
use super::step::{Flushed, Step};
use crate::drive::machine;
use crate::drive::{LINGER, Start};
use crate::front;
use crate::pit::bug;
use crate::pit::parcel::Parcel;
use crate::pit::slab::Key;
use crate::shared::{Shared, Stop};

impl Lane {
    /// Out of the pit, to the mail lane; or to its end, if there is no place for it there.
    pub(super) fn leave(&mut self, mut step: Step<'_>, then: Then) {
        if front::leave_pit(step.shared, &mut step.conn) {
            return self.cross(step, then);
        }
        step.shared.metrics.sessions_refused_full.add(1);
        if matches!(then, Then::StartTls) {
            self.withdraw();
        }
        self.tell(&mut step, Input::Full);
        self.end(step);
    }

    /// The reply that was to go out last does not, and the one for its session's end takes its place: behind
    /// "220 Ready to start TLS" a client expects TLS, and no 421.
    fn withdraw(&mut self) {
        let replies = &mut self.out.bytes;
        let before = replies.len().saturating_sub(2);
        let last = replies[..before].iter().rposition(|octet| *octet == b'\n');
        replies.truncate(last.map_or(0, |at| at + 1));
    }

    /// It has its place in the mail lane.
    fn cross(&mut self, step: Step<'_>, then: Then) {
        let Step {
            shared,
            key,
            mut conn,
            ..
        } = step;
        let Some(parcel) = self.holder.take(key) else {
            return;
        };
        let unsent = std::mem::take(&mut self.out.bytes);
        let is_over = matches!(then, Then::Close);
        let _inside = self.runtime.enter();
        match parcel.into_stream() {
            Ok((stream, info)) => {
                conn.tls = info;
                let (conn, ()) = conn.with_stream(stream);
                let shared = Arc::clone(shared);
                let start = Start::Then(then, unsent);
                self.runtime.spawn(async move {
                    front::go_on(&shared, Box::new(conn), start).await;
                });
            }
            Err(error) => {
                tracing::warn!(target: "tarpit::pit", %error, "a session can't leave the pit, and ends");
                if !is_over {
                    machine::handle(shared, &mut conn, &step.scene, &mut self.out, Input::Gone);
                }
                front::finish(shared, &mut conn);
            }
        }
    }

    /// The session is over: its last words, its record. Its socket stays for a moment if its client
    /// may have sent more: closing a socket with unread input resets it, and the reset may overtake
    /// the last reply. That is no session any more, and takes no place from others.
    pub(super) fn end(&mut self, mut step: Step<'_>) {
        let (shared, key) = (step.shared, step.key);
        step.conn.link.close();
        let end = step.conn.session.record().end;
        let flushed = self.flush(key);
        // It takes the rest in its own time, within bounds; but not who is in the way.
        let may_wait = self.stage < Stop::Now && end != SessionEnd::Shed;
        if flushed == Flushed::Part && may_wait && front::leave_pit(shared, &mut step.conn) {
            return self.cross(step, Then::Close);
        }
        let has_left = matches!(end, SessionEnd::HangUp | SessionEnd::HangUpHeld);
        let is_heard = flushed == Flushed::All && !has_left && step.conn.is_ended_by_us();
        let lingers = is_heard && self.stage == Stop::No && end != SessionEnd::Shed;
        let agreed = self.holder.work(key, Parcel::say_farewell).flatten();
        step.conn.tls = step.conn.tls.take().or(agreed);
        front::finish(shared, &mut step.conn);
        let is_there = is_heard
            && self.holder.get(key).is_some_and(|parcel| {
                parcel.shut_down();
                parcel.throw_away(&mut self.buffer)
            });
        if !lingers || !is_there {
            self.holder.close(key);
            return;
        }
        self.holder.note_unread(key, false);
        // Without an event it stays for the whole time, and no longer.
        let _ = self.holder.watch(key);
        let until = shared.clock.now() + LINGER;
        self.holder.change(key, |parcel| parcel.until = until);
    }

    /// A record of another version, or a listener that is gone: 421, counted.
    pub(super) fn unreadable(&mut self, shared: &Arc<Shared>, key: Key, error: &Unreadable) {
        // Records that another process wrote are read when they come; so this is a bug of ours.
        tracing::error!(target: "tarpit::pit", %error, "a held session can't be read, and ends");
        shared.metrics.panics.add(1);
        if self.holder.get(key).is_some() {
            shared.places.end_unknown();
        }
        self.break_off(key);
    }

    /// Does something for a session, if it is known for which. A panic is a bug of ours: it ends this
    /// session, and no other.
    pub(super) fn guard(
        &mut self,
        shared: &Shared,
        key: Option<Key>,
        work: impl FnOnce(&mut Self),
    ) {
        if bug::caught(shared, || work(self)).is_none()
            && let Some(key) = key
        {
            // Its count was given back with what it was thawed to.
            self.break_off(key);
        }
    }

    /// 421 for a bug of ours, unless another reply was begun.
    pub(super) fn break_off(&mut self, key: Key) {
        self.out.bytes.clear();
        if self.holder.get(key).is_some_and(|parcel| parcel.said == 0) {
            Finding::Bug.brief().write_to(&mut self.out.bytes);
            self.flush(key);
        }
        self.holder.close(key);
    }
}
