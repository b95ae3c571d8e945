//! The loop of the driver: what the machine asked for is carried out, until only time, the upstream
//! or the client can move it on.

use tarpit_core::{Admission, DataEnd, Input, Prefixes, Source, Then};

use super::World;
use super::peer::{Relay, Rest, Take};

impl World {
    /// Carries out what the machine asked for.
    pub(super) fn rest(&mut self, number: usize, then: Then) {
        let now = self.now;
        let (draining, held_unread_max) = (self.draining, self.rules.held_unread_max);
        let peer = self.peer_mut(number);
        match then {
            Then::Read => {
                peer.rest = Rest::Read;
                peer.reading_since = now;
                self.read_on(number);
            }
            Then::Hold { .. } if peer.ahead > held_unread_max => self.step(number, Input::Overrun),
            Then::Hold { until } => {
                peer.rest = Rest::Hold { until };
                peer.begin_hold();
                if peer.half_closed {
                    peer.session.note_half_closed();
                }
                // What is due is sent before the wait; whoever reset the connection is noticed so.
                if peer.reset.is_some() {
                    self.step(number, Input::Gone);
                } else if draining {
                    self.step(number, Input::Drain);
                }
            }
            Then::Ask(ask) => peer.rest = Rest::Ask(ask),
            Then::Relay if peer.reset.is_some() => {
                peer.rest = Rest::Relay(Relay::default());
                self.step(number, Input::DataEnd(DataEnd::ClientGone { reply: None }));
            }
            Then::Relay => {
                peer.rest = Rest::Relay(Relay::default());
                self.relay_on(number);
            }
            Then::Chunk(chunk) => {
                peer.rest = Rest::Take(Take::new(chunk));
                if peer.reset.is_some() {
                    self.step(number, Input::DataEnd(DataEnd::ClientGone { reply: None }));
                } else {
                    self.take_on(number);
                }
            }
            Then::StartTls if peer.reset.is_some() || peer.half_closed => {
                self.step(number, Input::Gone);
            }
            Then::StartTls => {
                // RFC 3207 §4.2: whatever came before the handshake is nobody's.
                peer.unread.clear();
                peer.ahead = 0;
                peer.rest = Rest::Handshake;
            }
            Then::Identify(introduction) => {
                let source = introduction.address.map_or_else(
                    || peer.session.source(),
                    |address| Source::of(address, Prefixes::default()),
                );
                let input = Input::Identified {
                    source,
                    exempt: false,
                    admission: Admission::Open,
                };
                self.step(number, input);
            }
            Then::Close => peer.rest = Rest::Closed,
        }
    }

    /// Says a piece of a reply that is held, if the hold is not over.
    pub(super) fn say_piece(&mut self, number: usize) -> bool {
        let now = self.now;
        let peer = self.peer_mut(number);
        let is_held = matches!(peer.rest, Rest::Hold { until } if now < until);
        if is_held {
            peer.say_piece(now);
        }
        is_held
    }

    pub(super) fn read(&mut self, number: usize) {
        self.read_on(number);
        self.settle();
    }

    /// Commands that are at hand, one after the other.
    fn read_on(&mut self, number: usize) {
        loop {
            let draining = self.draining;
            let peer = self.peer_mut(number);
            if peer.reset.is_some() || (peer.unread.is_empty() && peer.half_closed) {
                return self.step(number, Input::Gone);
            }
            if peer.unread.is_empty() {
                if draining && !peer.session.is_draining() {
                    self.step(number, Input::Drain);
                }
                return;
            }
            let said = peer.said.len();
            let unread = std::mem::take(&mut peer.unread);
            let then = self.handle(number, Input::Bytes(&unread));
            let now = self.now;
            let peer = self.peer_mut(number);
            peer.unread = unread.get(peer.consumed()..).unwrap_or_default().to_vec();
            peer.ahead = peer.ahead.saturating_sub(peer.consumed());
            if !matches!(then, Then::Read) {
                return self.rest(number, then);
            }
            if peer.said.len() > said {
                // A whole command was answered: the next one has its own time.
                peer.reading_since = now;
            } else {
                // A part of a line: the rest has to come.
                let half_closed = peer.half_closed;
                if half_closed {
                    self.step(number, Input::Gone);
                }
                return;
            }
        }
    }

    pub(super) fn take(&mut self, number: usize) {
        self.take_on(number);
        self.settle();
    }

    /// Takes the octets of a chunk from what the client sent.
    fn take_on(&mut self, number: usize) {
        let peer = self.peer_mut(number);
        let Rest::Take(take) = &mut peer.rest else {
            return;
        };
        let count = take.take(&mut peer.unread);
        peer.ahead = peer.ahead.saturating_sub(count);
        let end = if take.left > 0 {
            peer.half_closed
                .then_some(DataEnd::ClientGone { reply: None })
        } else if take.chunk.pass {
            take.fate.take()
        } else {
            Some(DataEnd::Discarded)
        };
        if let Some(end) = end {
            self.step(number, Input::DataEnd(end));
        }
    }

    pub(super) fn relay(&mut self, number: usize) {
        self.relay_on(number);
        self.settle();
    }

    /// Looks for the end of the message in what the client sent.
    fn relay_on(&mut self, number: usize) {
        let peer = self.peer_mut(number);
        let half_closed = peer.half_closed;
        let Rest::Relay(relay) = &mut peer.rest else {
            return;
        };
        let was_at_end = relay.at_end;
        relay.take(&mut peer.unread);
        if relay.at_end && !was_at_end {
            peer.ahead = peer.unread.len();
        }
        if !relay.at_end {
            if half_closed {
                self.step(number, Input::DataEnd(DataEnd::ClientGone { reply: None }));
            }
            return;
        }
        if let Some(end) = relay.fate.take() {
            self.step(number, Input::DataEnd(end));
        }
    }
}
