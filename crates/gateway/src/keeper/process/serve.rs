//! Between the keeper and its front.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use tarpit_core::Tick;
use tarpit_core::budget::Load;

use super::{
    Door, Freight, Keeper, LOAD_EVERY, Link, LinkError, MESSAGES, Message, READY, Releasing, Sent,
    Tail, Walk, Whom, Why, fitting, freight_of, is_veiled, parcel_of, sample_of,
};
use crate::keeper::message::{SOCKETS_MAX, SOURCES_MAX};
use crate::pit::parcel::seconds;
use crate::pit::shed::{self, Among};

impl Keeper {
    /// What the front has to say.
    pub(super) fn hear_front(&mut self) {
        for _ in 0..MESSAGES {
            let Some(link) = &mut self.link else {
                return;
            };
            match link.receive() {
                Ok(None) => return,
                Ok(Some(packet)) => {
                    if packet.lost > 0 {
                        tracing::error!(
                            target: "tarpit::keeper",
                            lost = packet.lost,
                            "no descriptors left for sockets that were granted: their sessions are lost"
                        );
                    }
                    self.heed(packet.message, packet.sockets);
                }
                Err(error) => return self.lose_front(&error),
            }
        }
    }

    fn heed(&mut self, message: Message, sockets: Vec<OwnedFd>) {
        match message {
            Message::Hello { farewell } => {
                self.farewell = farewell;
                // Not before: one of another version knocks again and again, and nobody would ever
                // have waited long enough.
                self.alone = None;
            }
            // The link has noted it.
            Message::Credit(_) => {}
            Message::Park(parcels) => self.keep(parcels, sockets),
            Message::Recall(tickets) => {
                for ticket in tickets {
                    if let Some(key) = self.tickets.get(&ticket).copied() {
                        self.give_back(key, Why::Recalled);
                    }
                }
            }
            Message::Shed(among, count) => self.shed(among, count),
            Message::Drain => self.give_all_back(Whom::All),
            // If a walk over all is under way, it meets these too.
            Message::Unveil if self.walk.is_some() => {}
            Message::Unveil => self.give_all_back(Whom::Veiled),
            Message::Release => self.releasing = Releasing::Asked,
            Message::Back(_)
            | Message::Gone(_)
            | Message::Holds(_)
            | Message::Load { .. }
            | Message::Released => {
                self.lose_front(&LinkError::WrongWay);
            }
        }
    }

    fn keep(&mut self, parcels: Vec<Freight>, sockets: Vec<OwnedFd>) {
        let mut sockets = sockets.into_iter();
        for freight in parcels {
            let Some(socket) = sockets.next() else {
                // It was lost on its way, and its session with it.
                self.counts.lost += 1;
                self.gone.push_back(freight);
                continue;
            };
            self.counts.kept += 1;
            let sample = self.sample.get_or_insert_with(|| sample_of(&freight));
            let key = self.holder.put(parcel_of(&freight, socket, sample));
            if let Some(ticket) = freight.ticket {
                self.tickets.insert(ticket, key);
            }
            if let Err(error) = self.holder.watch(key) {
                tracing::warn!(target: "tarpit::keeper", %error, "a socket can't be watched");
                self.give_back(key, Why::Due);
            }
        }
    }

    /// Those that teach the least go back, to be told by the front.
    fn shed(&mut self, among: Among, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let now = seconds(self.clock.now());
        for key in shed::choose(self.holder.slab(), among, count, now) {
            self.give_back(key, Why::Shed);
        }
        self.sheds += 1;
        self.tell_load_now();
    }

    /// The front hears the load with the next words, changed or not.
    fn tell_load_now(&mut self) {
        self.told = Load {
            sessions: u64::MAX,
            ..Load::default()
        };
        self.tell_at = Tick::ZERO;
    }

    fn lose_front(&mut self, error: &LinkError) {
        self.link = None;
        self.alone.get_or_insert_with(|| self.clock.now());
        self.walk = None;
        self.releasing = Releasing::No;
        self.crowded = false;
        self.gone.clear();
        self.tell.clear();
        let ended = self.end_veiled();
        let held = self.held();
        if held + ended > 0 {
            tracing::warn!(
                target: "tarpit::keeper",
                pid = std::process::id(),
                %error,
                held,
                ended_over_tls = ended,
                "no front any more"
            );
        }
    }

    /// A new front knocks. There is one at a time.
    pub(super) fn open_door(&mut self) {
        while let Some(line) = self.door.as_ref().and_then(Door::accept) {
            if self.link.is_some() {
                // Whoever knocks is closed, and comes again.
                continue;
            }
            self.adopt(line);
        }
    }

    fn adopt(&mut self, line: OwnedFd) {
        self.link = Some(Link::new(line));
        let places = 0..self.holder.slab().places();
        let held =
            places.filter_map(|place| self.holder.slab().at(place).map(|(_, parcel)| parcel));
        let returning = self.returning.iter().map(|returning| &returning.parcel);
        let sources = held
            .chain(returning)
            .filter_map(|parcel| Tail::unpack(&parcel.record).ok())
            .map(|tail| tail.source);
        self.tell = sources.collect();
        self.sheds = 0;
        self.tell_load_now();
        tracing::info!(target: "tarpit::keeper", pid = std::process::id(), held = self.held(), "a new front");
        // Its ledger knows nothing of those that wait for room in the old one.
        let waiting: Vec<_> = self.tickets.values().copied().collect();
        for key in waiting {
            self.give_back(key, Why::Recalled);
        }
    }

    fn give_all_back(&mut self, whom: Whom) {
        self.walk = Some(Walk { place: 0, whom });
    }

    /// If all go back, or all of a kind: some more, as far as the front takes them.
    pub(super) fn walk_on(&mut self) {
        let Some(Walk { mut place, whom }) = self.walk else {
            return;
        };
        let end = self.holder.slab().places();
        while place < end && self.returning.len() < READY {
            let there = self.holder.slab().at(place);
            let meant = there.filter(|(_, parcel)| whom == Whom::All || is_veiled(parcel));
            if let Some((key, _)) = meant {
                self.give_back(key, Why::Drain);
            }
            place += 1;
        }
        // Nobody new comes while the front drains or parts, so one walk will do.
        self.walk = (place < end).then_some(Walk { place, whom });
    }

    /// Whether there is something to say that the front would take.
    pub(super) fn has_to_send(&self, link: &Link) -> bool {
        match self.releasing {
            Releasing::Asked => return true,
            Releasing::Done => return false,
            Releasing::No => {}
        }
        !self.tell.is_empty()
            || !self.gone.is_empty()
            || (!self.returning.is_empty() && link.credit() > 0)
            || link.has_untold()
            || self.is_load_due()
    }

    fn is_load_due(&self) -> bool {
        self.told != self.holder.load() && self.clock.now() >= self.tell_at
    }

    /// What the front is to know, as far as the line takes it.
    pub(super) fn tell_front(&mut self) {
        let free = self.room.saturating_sub(self.held());
        let Some(mut link) = self.link.take() else {
            return;
        };
        link.grant(free);
        match self.tell_all(&mut link) {
            Ok(sent) => {
                self.crowded = sent == Sent::Crowded;
                self.link = Some(link);
            }
            Err(error) => {
                self.link = Some(link);
                self.hear_last();
                if self.link.is_some() {
                    self.lose_front(&error);
                }
            }
        }
    }

    /// The front is gone: what it had sent is still there, and the sessions in it are ours.
    fn hear_last(&mut self) {
        while self.link.is_some() {
            let before = self.counts.kept;
            self.hear_front();
            if self.counts.kept == before {
                return;
            }
        }
    }

    fn tell_all(&mut self, link: &mut Link) -> Result<Sent, LinkError> {
        match self.releasing {
            Releasing::Done => return Ok(Sent::Yes),
            Releasing::Asked => {
                let sent = link.send(&Message::Released, &[])?;
                if sent == Sent::Yes {
                    self.releasing = Releasing::Done;
                }
                return Ok(sent);
            }
            Releasing::No => {}
        }
        // First whose sessions there are: then a front can count those that go.
        while !self.tell.is_empty() {
            let count = self.tell.len().min(SOURCES_MAX);
            let sources = self.tell.iter().take(count).copied().collect();
            match link.send(&Message::Holds(sources), &[])? {
                Sent::Yes => self.tell.drain(..count),
                sent => return Ok(sent),
            };
        }
        match link.tell_credit()? {
            Sent::Yes => {}
            sent => return Ok(sent),
        }
        while !self.gone.is_empty() {
            let count = fitting(self.gone.iter(), usize::MAX).max(1);
            let parcels = self.gone.iter().take(count).cloned().collect();
            match link.send(&Message::Gone(parcels), &[])? {
                Sent::Yes => self.gone.drain(..count),
                sent => return Ok(sent),
            };
        }
        if self.is_load_due() {
            let load = self.holder.load();
            let sheds = self.sheds;
            match link.send(&Message::Load { load, sheds }, &[])? {
                Sent::Yes => {
                    self.told = load;
                    self.tell_at = self.clock.now() + LOAD_EVERY;
                }
                sent => return Ok(sent),
            }
        }
        while !self.returning.is_empty() && link.credit() > 0 {
            match self.send_back(link)? {
                Sent::Yes => {}
                sent => return Ok(sent),
            }
        }
        Ok(Sent::Yes)
    }

    fn send_back(&mut self, link: &mut Link) -> Result<Sent, LinkError> {
        let most = link.credit().min(SOCKETS_MAX);
        let mut parcels = Vec::new();
        for returning in self.returning.iter().take(most) {
            let Ok(freight) = freight_of(&returning.parcel, self.sample.as_ref()) else {
                break;
            };
            parcels.push((returning.why, freight));
        }
        let count = fitting(parcels.iter().map(|(_, freight)| freight), most);
        if count == 0 {
            // It can't be read or sent, which it could when it came. Nobody waits for it for ever.
            if let Some(returning) = self.returning.pop_front() {
                self.farewell(&returning.parcel);
            }
            return Ok(Sent::Yes);
        }
        parcels.truncate(count);
        let sockets: Vec<BorrowedFd<'_>> = self
            .returning
            .iter()
            .take(count)
            .map(|returning| returning.parcel.socket.as_fd())
            .collect();
        let sent = link.send(&Message::Back(parcels), &sockets)?;
        if sent == Sent::Yes {
            self.counts.returned += count as u64;
            self.returning.drain(..count);
        }
        Ok(sent)
    }
}
