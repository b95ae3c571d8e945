//! Another process takes over: what goes to it at once, and what follows when it rests.

use std::collections::hash_map::RandomState;

use tarpit_core::ledger::{Account, Ledger};

use super::World;

impl World {
    /// Another process takes over: what is known of sources goes to it, and every session at rest. A
    /// session in the middle of something follows when it rests.
    ///
    /// # Panics
    /// If what one process writes can't be read by the other.
    pub fn hand_over(&mut self) {
        let mut octets = Vec::new();
        self.ledger().snapshot(self.now, &mut octets);
        let successor = Ledger::new(self.rules.ledger, RandomState::new());
        successor
            .restore(self.now, &octets)
            .unwrap_or_else(|error| panic!("{error}"));
        self.ledgers.push(successor);
        for number in 0..self.peers.len() {
            self.follow(number, false);
        }
        self.settle();
    }

    /// The session goes to the present process, if it is at rest in another one. Later than the
    /// snapshot, it brings along what its source owes.
    pub(super) fn follow(&mut self, number: usize, is_late: bool) {
        let present = self.ledgers.len() - 1;
        let (now, peer) = (self.now, &mut self.peers[number]);
        if peer.home == present || !peer.session.is_at_rest() {
            return;
        }
        let (old, new) = (&self.ledgers[peer.home], &self.ledgers[present]);
        let source = peer.session.source();
        for account in [Account::Rcpt, Account::Auth] {
            let free_at = now + old.owed(now, source, account);
            if is_late {
                new.merge(now, source, account, free_at);
            }
        }
        peer.session.leave_queue(now, old);
        peer.freeze_and_thaw();
        peer.home = present;
        let mut woken = Vec::new();
        old.take_woken(&mut woken);
        // Whoever waits for room asks for a place in the queue there.
        woken.extend(peer.session.waits_for_room().then(|| peer.session.ticket()));
        self.woken.extend(woken);
    }
}
