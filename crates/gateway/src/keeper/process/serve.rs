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
            if !self.hear_one() {
                return;
            }
        }
    }

    /// Whether there may be more.
    fn hear_one(&mut self) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        match link.receive() {
            Ok(None) => false,
            Ok(Some(packet)) => {
                if packet.lost > 0 {
                    tracing::error!(
                        target: "tarpit::keeper",
                        lost = packet.lost,
                        "no descriptors left for sockets that were granted: their sessions are lost"
                    );
                }
                self.heed(packet.message, packet.sockets);
                true
            }
            Err(error) => {
                self.lose_front(&error);
                false
            }
        }
    }

    pub(super) fn heed(&mut self, message: Message, sockets: Vec<OwnedFd>) {
        match message {
            Message::Hello { farewell } => {
                self.farewell = farewell;
                // Not before: one of another version knocks again and again, and nobody would ever
                // have waited long enough.
                self.alone = None;
            }
            // The link has noted it.
            Message::Credit(_) => self.part_with_taken(),
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
            // A walk over all that is under way may have passed some that came since.
            Message::Unveil => {
                let whom = self.walk.map_or(Whom::Veiled, |walk| walk.whom);
                self.give_all_back(whom);
            }
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
    pub(super) fn tell_load_now(&mut self) {
        self.told = Load {
            sessions: u64::MAX,
            ..Load::default()
        };
        self.tell_at = Tick::ZERO;
    }

    /// The front has said that these are in its hands: they are no longer ours.
    fn part_with_taken(&mut self) {
        let left = self.link.as_ref().map_or(0, Link::in_flight);
        let taken = self.sent.len().saturating_sub(left);
        self.sent.drain(..taken);
        self.counts.returned += taken as u64;
    }

    /// The front is gone. What it had not said it has, it has done nothing with: it is still ours, if
    /// all was heard that it said. Who spoke nonsense may have said so behind it, and two processes
    /// would speak to one client.
    fn keep_what_was_sent(&mut self, error: &LinkError) {
        if matches!(error, LinkError::Closed) {
            while let Some(returning) = self.sent.pop_back() {
                self.returning.push_front(returning);
            }
        }
        self.counts.lost += self.sent.len() as u64;
        self.sent.clear();
    }

    fn lose_front(&mut self, error: &LinkError) {
        self.link = None;
        self.keep_what_was_sent(error);
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
        // Nobody new comes while the front drains, or over TLS while it parts. After an ease those come
        // who still have to wait: they stay.
        self.walk = (place < end).then_some(Walk { place, whom });
    }

    /// Whether there is something to say that the front would take.
    pub(super) fn has_to_send(&self, link: &Link) -> bool {
        match self.releasing {
            Releasing::Asked => return self.sent.is_empty(),
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

    /// The front is gone: what it had sent is still there, the sessions in it are ours, and it may say
    /// which of ours it has.
    fn hear_last(&mut self) {
        while self.hear_one() {}
    }

    fn tell_all(&mut self, link: &mut Link) -> Result<Sent, LinkError> {
        match self.releasing {
            Releasing::Done => return Ok(Sent::Yes),
            // Behind the last word nobody says any more what has arrived.
            Releasing::Asked if !self.sent.is_empty() => return Ok(Sent::Yes),
            Releasing::Asked | Releasing::No => {}
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
        // Nobody else can write the records of those that hung up.
        match self.tell_gone(link)? {
            Sent::Yes => {}
            sent => return Ok(sent),
        }
        if self.releasing == Releasing::Asked {
            let sent = link.send(&Message::Released, &[])?;
            if sent == Sent::Yes {
                self.releasing = Releasing::Done;
            }
            return Ok(sent);
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

    fn tell_gone(&mut self, link: &mut Link) -> Result<Sent, LinkError> {
        while !self.gone.is_empty() {
            let count = fitting(self.gone.iter(), usize::MAX).max(1);
            let parcels = self.gone.iter().take(count).cloned().collect();
            match link.send(&Message::Gone(parcels), &[])? {
                Sent::Yes => self.gone.drain(..count),
                sent => return Ok(sent),
            };
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
            self.sent.extend(self.returning.drain(..count));
        }
        Ok(sent)
    }
}
