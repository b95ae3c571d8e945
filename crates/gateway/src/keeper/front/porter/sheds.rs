//! What there is too much of at the keepers.

use tarpit_core::budget::{Load, Strain, Surplus};

use super::super::super::message::Message;
use super::super::Sheds;
use super::super::line::Line;
use super::Porter;
use crate::pit::shed::{self, Among};
use crate::shared::Shared;

impl Porter {
    /// If there is too much of something, lets keepers give back their part; and what they hold more
    /// than a new configuration allows. That counts who is to stay there, as the keepers tell it:
    /// whom they were asked to give back may be on the way for long, since only so many may come at
    /// once, and would be asked for again and again, until hardly anybody is left.
    pub(super) fn shed(&mut self, shared: &Shared) {
        let is_told = |line: &Line| line.sheds_told == line.sheds_asked;
        let staying = self.lines.iter().map(Line::staying);
        let queued = self.lines.iter().map(|line| line.queue.len() as u64);
        let held: u64 = staying.chain(queued).sum();
        let most = u64::from(shared.live.load().config.limits.pit_sessions_max);
        let mut desk = self.keepers.lock();
        let surplus = match desk.sheds {
            Sheds::Asked(_) if !self.lines.iter().all(is_told) => return,
            Sheds::Wanted(surplus) => surplus,
            Sheds::Asked(_) | Sheds::No if held > most => Surplus {
                strain: Strain::Sessions,
                over: held - most,
                whole: held,
            },
            Sheds::Asked(_) | Sheds::No => {
                desk.sheds = Sheds::No;
                return;
            }
        };
        desk.sheds = Sheds::Asked(surplus);
        drop(desk);
        for line in &mut self.lines {
            line.sheds_asked += 1;
            let load = Load {
                sessions: line.staying(),
                ..line.load
            };
            let count = shed::share(surplus, load);
            line.order(Message::Shed(Among::of(surplus.strain), count));
        }
    }
}
