//! Which server gets the next connection.

use super::{Claim, Idle, Inner, Stock, Wish};
use crate::config::Balance;
use crate::upstream::server::ServerSet;

/// What will serve.
pub(super) enum Pick {
    /// The idle connection at this place of the list.
    Idle(usize),
    /// A new connection to this server; an idle one may have to make room.
    Server(usize),
}

impl Stock {
    /// What serves the wish now. `None`: whoever asks has to wait.
    pub(super) fn pick(&self, inner: &mut Inner, claim: Claim, wish: &Wish) -> Option<Pick> {
        let of_source = inner.by_source.get(&claim.source).copied().unwrap_or(0);
        if of_source >= self.per_source_max {
            return None;
        }
        let candidates = inner.usable.without(wish.tried);
        let preferred = wish.preferred.map(usize::from);
        if let Some(server) = preferred.filter(|server| candidates.contains(*server))
            && let Some(pick) = self.pick_at(inner, claim, wish, server)
        {
            return Some(pick);
        }
        match self.balance {
            // The next one stands by, as a second MX does: also for when there is no room here.
            Balance::Order => candidates
                .iter()
                .find_map(|server| self.pick_at(inner, claim, wish, server)),
            Balance::LeastConnections => self.pick_least(inner, claim, wish, candidates),
        }
    }

    fn pick_at(&self, inner: &Inner, claim: Claim, wish: &Wish, server: usize) -> Option<Pick> {
        let places = &inner.servers[server];
        if !claim.known && places.strangers >= self.strangers_max {
            return None;
        }
        if let Some(at) = inner.idle_for(claim, wish, |idle| idle.server == server) {
            return Some(Pick::Idle(at));
        }
        (places.open < self.max || places.idle > 0).then_some(Pick::Server(server))
    }

    /// The one with the fewest connections in use; equals take turns.
    fn pick_least(
        &self,
        inner: &mut Inner,
        claim: Claim,
        wish: &Wish,
        candidates: ServerSet,
    ) -> Option<Pick> {
        let count = inner.servers.len();
        let turn = inner.turn;
        let ((_, after_turn), pick) = candidates
            .iter()
            .filter_map(|server| {
                let places = &inner.servers[server];
                let in_use = places.open.saturating_sub(places.idle);
                let pick = self.pick_at(inner, claim, wish, server)?;
                Some(((in_use, (server + count - turn) % count), pick))
            })
            .min_by_key(|(key, _)| *key)?;
        inner.turn = (turn + after_turn + 1) % count;
        Some(pick)
    }
}

impl Inner {
    /// The idle connection that was used last among those that will do.
    fn idle_for(&self, claim: Claim, wish: &Wish, is_fit: impl Fn(&Idle) -> bool) -> Option<usize> {
        // Wanted mail shares a connection with nobody who is not known.
        let wanted = wish.told.as_ref().filter(|_| claim.known)?;
        self.idle
            .iter()
            .rposition(|idle| is_fit(idle) && idle.connection.told == *wanted)
    }
}
