//! Keepers that nobody needs any more.

use std::time::Duration;

use tarpit_core::Tick;

use super::Porter;

/// How long a keeper may hold nobody before it is let go. Who attacks comes back, and to start
/// fifty takes a minute.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(600);

impl Porter {
    /// Lets one go that has held nobody for long, if the others have all the room that is to be
    /// there always. The last one stays.
    pub(super) fn retire(&mut self, now: Tick) {
        for line in &mut self.lines {
            line.note_idle(now);
        }
        if self.released || self.drained {
            return;
        }
        let long_idle = |since: Tick| now.since(since) >= IDLE_MAX;
        // The latest that came: lanes give to the first that has room.
        let mut desk = self.keepers.lock();
        let counter = |number| desk.counters.iter().position(|one| one.line == number);
        let Some((line, at)) = self.lines.iter_mut().rev().find_map(|line| {
            let is_idle = line.idle_since().is_some_and(long_idle);
            let at = counter(line.number).filter(|_| is_idle && !line.is_parting());
            at.map(|at| (line, at))
        }) else {
            return;
        };
        let number = line.number;
        let others = desk.counters.iter().filter(|one| one.line != number);
        let room: usize = others.map(|one| one.free).sum();
        let is_wanted = room < self.keepers.ahead || !desk.counters[at].cargo.is_empty();
        if is_wanted || desk.counters.len() < 2 {
            return;
        }
        desk.counters.remove(at);
        drop(desk);
        tracing::info!(target: "tarpit::keeper", process = line.process, "a keeper is not needed any more");
        // Nobody is to knock there before it has ended.
        self.strange.insert(line.process);
        let veiled = line.part(true);
        debug_assert!(veiled.is_empty(), "an idle keeper has a queue");
    }
}
