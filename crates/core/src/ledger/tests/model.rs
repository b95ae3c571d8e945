//! The ledger against a naive one: flat lists, linear scans, and time tried millisecond by
//! millisecond.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The same shape as the defaults, in milliseconds, so that time can be tried one by one; a
/// listener with other terms; and one whose price nobody could ever pay in whole.
const MENU: [Terms; 3] = [terms(5, 0, 25), terms(3, 4, 12), terms(40, 0, 30)];

const fn terms(price: u64, allowance: u64, hold_max: u64) -> Terms {
    Terms {
        price: Duration::from_millis(price),
        allowance: Duration::from_millis(allowance),
        hold_max: Duration::from_millis(hold_max),
    }
}

type Place = (Source, Account);

/// One step. The numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Request {
        place: usize,
        terms: usize,
        queue: bool,
    },
    Poll(usize),
    Cancel(usize),
    Charge(usize),
    Release(usize),
    Offence {
        place: usize,
        terms: usize,
    },
    Accepted {
        place: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..64_usize;
    prop_oneof![
        4 => (0..12_u64).prop_map(Step::Pass),
        1 => prop_oneof![Just(Step::Pass(30)), Just(Step::Pass(60_050))],
        8 => (0..3_usize, 0..3_usize, prop::bool::weighted(0.8))
            .prop_map(|(place, terms, queue)| Step::Request { place, terms, queue }),
        4 => number.clone().prop_map(Step::Poll),
        1 => number.clone().prop_map(Step::Cancel),
        3 => number.clone().prop_map(Step::Charge),
        3 => number.prop_map(Step::Release),
        1 => (0..3_usize, 0..3_usize).prop_map(|(place, terms)| Step::Offence { place, terms }),
        1 => (0..3_usize).prop_map(|place| Step::Accepted { place }),
    ]
}

#[derive(Clone, Debug)]
struct Waits {
    ticket: Ticket,
    place: Place,
    deadline: u64,
    terms: Terms,
    told: u64,
    woken: bool,
}

#[derive(Default)]
struct Naive {
    now: u64,
    debts: Vec<(Place, u64)>,
    reserved: Vec<(Place, u64)>,
    waiting: Vec<Waits>,
    known: Vec<Source>,
    woken: Vec<Ticket>,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Granted,
    Wait(u64),
    NoRoom,
}

fn ms(span: Duration) -> u64 {
    span.as_millis().try_into().unwrap()
}

fn cap(terms: &Terms) -> u64 {
    ms(terms.hold_max + terms.allowance)
}

fn price(terms: &Terms) -> u64 {
    ms(terms.price).min(cap(terms))
}

impl Naive {
    fn free_at(&self, place: Place) -> u64 {
        self.debts
            .iter()
            .find(|(other, _)| *other == place)
            .map_or(0, |(_, free_at)| *free_at)
    }

    fn has_room(&self, when: u64, place: Place, terms: &Terms) -> bool {
        let debt = self.free_at(place).saturating_sub(when);
        let reserved: u64 = self
            .reserved
            .iter()
            .filter(|(other, _)| *other == place)
            .map(|(_, price)| price)
            .sum();
        debt + reserved + price(terms) <= cap(terms)
    }

    fn first(&self, place: Place) -> Option<&Waits> {
        self.waiting.iter().find(|waits| waits.place == place)
    }

    fn tidy(&mut self, place: Place) {
        while let Some(first) = self.first(place)
            && first.deadline + 60_000 < self.now
        {
            let ticket = first.ticket;
            self.waiting.retain(|waits| waits.ticket != ticket);
        }
    }

    fn ask(
        &mut self,
        ticket: Ticket,
        place: Place,
        terms: &Terms,
        queue: bool,
        poll: bool,
    ) -> Said {
        self.tidy(place);
        let is_first = self.first(place).is_none_or(|first| first.ticket == ticket);
        let known = poll && self.known.contains(&place.0);
        let deadline = self
            .waiting
            .iter()
            .find(|waits| waits.ticket == ticket)
            .map(|waits| waits.deadline);
        let late = deadline.is_some_and(|deadline| deadline <= self.now);
        if (is_first && self.has_room(self.now, place, terms)) || (late && known) {
            self.waiting.retain(|waits| waits.ticket != ticket);
            self.reserved.push((place, price(terms)));
            return Said::Granted;
        }
        if late || (deadline.is_none() && !queue) {
            self.waiting.retain(|waits| waits.ticket != ticket);
            return Said::NoRoom;
        }
        let deadline = deadline.unwrap_or_else(|| self.now + ms(terms.hold_max));
        let told = (self.now..deadline).find(|&when| is_first && self.has_room(when, place, terms));
        let waits = Waits {
            ticket,
            place,
            deadline,
            terms: *terms,
            told: told.unwrap_or(deadline),
            woken: false,
        };
        let told = waits.told;
        match self.waiting.iter_mut().find(|waits| waits.ticket == ticket) {
            Some(place) => *place = waits,
            None => self.waiting.push(waits),
        }
        Said::Wait(told)
    }

    fn add(&mut self, place: Place, terms: &Terms, paid_until: u64, price: u64) -> u64 {
        let old = self.free_at(place);
        let new = (paid_until.max(self.now) + price)
            .min(self.now + cap(terms))
            .max(old);
        self.debts.retain(|(other, _)| *other != place);
        self.debts.push((place, new));
        new
    }

    /// Whoever is first and could go earlier than told is woken, once.
    fn wake(&mut self, place: Place) {
        let Some(first) = self.first(place).cloned() else {
            return;
        };
        let earlier = (self.now..first.told).any(|when| self.has_room(when, place, &first.terms));
        if earlier && !first.woken {
            self.woken.push(first.ticket);
            self.waiting
                .iter_mut()
                .filter(|waits| waits.ticket == first.ticket)
                .for_each(|waits| waits.woken = true);
        }
    }
}

/// Both ledgers, and what a caller would hold.
struct Both {
    real: Ledger,
    naive: Naive,
    places: [Place; 3],
    tickets: Vec<(Place, Terms)>,
    reservations: Vec<(Reservation, Terms)>,
}

impl Both {
    fn new() -> Self {
        let places = [
            (source(1), Account::Rcpt),
            (source(1), Account::Auth),
            (source(2), Account::Rcpt),
        ];
        // One shard, so that new sources sweep the old ones out.
        let config = LedgerConfig {
            sources_max: 100,
            ..ROOMY
        };
        Self {
            real: ledger(config),
            naive: Naive::default(),
            places,
            tickets: vec![],
            reservations: vec![],
        }
    }

    fn now(&self) -> Tick {
        Tick::from_millis(self.naive.now)
    }

    fn compare(&mut self, grant: Grant, said: &Said, place: Place, terms: Terms) {
        let real = match grant {
            Grant::Granted(reservation) => {
                self.reservations.push((reservation, terms));
                Said::Granted
            }
            Grant::Wait { until } => Said::Wait(until.as_millis()),
            Grant::NoRoom => Said::NoRoom,
        };
        assert_eq!(&real, said);
        self.naive.wake(place);
    }

    fn request(&mut self, place: usize, terms: usize, queue: bool) {
        let (place, terms) = (self.places[place], MENU[terms]);
        let ticket = Ticket(self.tickets.len().try_into().unwrap());
        self.tickets.push((place, terms));
        let grant = if queue {
            self.real
                .request(self.now(), ticket, place.0, place.1, &terms)
        } else {
            self.real
                .try_request(self.now(), ticket, place.0, place.1, &terms)
        };
        let said = self.naive.ask(ticket, place, &terms, queue, false);
        self.compare(grant, &said, place, terms);
    }

    /// Mostly of one that waits, sometimes of one that doesn't any more.
    fn poll(&mut self, number: usize, cancel: bool) {
        let count = self.naive.waiting.len();
        let ticket = match number.checked_rem(count) {
            Some(index) if !number.is_multiple_of(16) => self.naive.waiting[index].ticket,
            _ if number < self.tickets.len() => Ticket(number.try_into().unwrap()),
            _ => return,
        };
        let (place, terms) = self.tickets[usize::try_from(ticket.0).unwrap()];
        if cancel {
            self.real.cancel(self.now(), ticket, place.0, place.1);
            self.naive.waiting.retain(|waits| waits.ticket != ticket);
            self.naive.tidy(place);
            self.naive.wake(place);
        } else {
            let grant = self.real.poll(self.now(), ticket, place.0, place.1, &terms);
            let said = self.naive.ask(ticket, place, &terms, true, true);
            self.compare(grant, &said, place, terms);
        }
    }

    fn settle(&mut self, number: usize, charge: bool) {
        let Some(index) = number.checked_rem(self.reservations.len()) else {
            return;
        };
        let (reservation, terms) = self.reservations.swap_remove(index);
        let place = (reservation.source(), reservation.account());
        let (granted_at, price) = (
            reservation.granted_at().as_millis(),
            ms(reservation.price()),
        );
        let entry = self
            .naive
            .reserved
            .iter()
            .position(|&entry| entry == (place, price))
            .unwrap();
        self.naive.reserved.remove(entry);
        let now = self.now();
        if charge {
            let spent = (self.naive.now - granted_at).min(ms(terms.hold_max));
            let paid_until = self.naive.free_at(place).max(granted_at) + spent;
            let free_at = self.naive.add(place, &terms, paid_until, price);
            let real = self.real.charge(now, reservation, &terms);
            assert_eq!(real, Charge::new(now, Tick::from_millis(free_at)));
        } else {
            self.real.release(now, reservation);
        }
        self.naive.tidy(place);
        self.naive.wake(place);
    }

    fn offence(&mut self, place: usize, terms: usize) {
        let (place, terms) = (self.places[place], MENU[terms]);
        let free_at = self
            .naive
            .add(place, &terms, self.naive.free_at(place), price(&terms));
        let real = self.real.offence(self.now(), place.0, place.1, &terms);
        assert_eq!(real.free_at.as_millis(), free_at);
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Pass(millis) => self.naive.now += millis,
            Step::Request {
                place,
                terms,
                queue,
            } => self.request(place, terms, queue),
            Step::Poll(number) => self.poll(number, false),
            Step::Cancel(number) => self.poll(number, true),
            Step::Charge(number) => self.settle(number, true),
            Step::Release(number) => self.settle(number, false),
            Step::Offence { place, terms } => self.offence(place, terms),
            Step::Accepted { place } => {
                self.real.accepted(self.now(), self.places[place].0);
                self.naive.known.push(self.places[place].0);
            }
        }
        let mut woken = vec![];
        self.real.take_woken(&mut woken);
        assert_eq!(woken, std::mem::take(&mut self.naive.woken));
        for place in self.places {
            let owed = self.real.owed(self.now(), place.0, place.1);
            assert_eq!(
                ms(owed),
                self.naive.free_at(place).saturating_sub(self.naive.now)
            );
        }
    }

    /// When all is settled and paid, nothing is left.
    fn finish(mut self) {
        while !self.reservations.is_empty() {
            self.settle(0, false);
        }
        while let Some(waits) = self.naive.waiting.pop() {
            self.real
                .cancel(self.now(), waits.ticket, waits.place.0, waits.place.1);
        }
        self.naive.now += 1_000;
        for number in 10..20 {
            self.real
                .offence(self.now(), source(number), Account::Rcpt, &MENU[0]);
        }
        assert_eq!(self.real.len(), 10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_naive_ledger(steps in vec(step(), 1..150)) {
        let mut both = Both::new();
        for step in &steps {
            both.apply(step);
        }
        both.finish();
    }
}
