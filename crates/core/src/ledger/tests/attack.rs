//! A harvester against the ledger, in virtual time: more connections teach it nothing more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// From a reply, or the end of a connection, to the next guess.
const ROUND_TRIP_MS: u64 = 1;
const MINUTE_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Waits for each reply.
    Patient,
    /// Hangs up as soon as it is held, which tells it that the guess was wrong, and reconnects.
    HangsUp,
    /// Hangs up after a second without an answer, for room or in the hold, and reconnects.
    Impatient,
    /// Guesses only when nothing is owed, with all its connections at once.
    Bursts,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Guess,
    Poll,
    LookedUp,
    Answered,
    GivesUp,
}

/// When (and in which order at that time), what, for which connection, with which ticket.
type Planned = (u64, u64, Event, usize, u64);

enum State {
    Away,
    Waiting,
    LookUp(Reservation),
    Held,
}

struct Harvester {
    ledger: Ledger,
    style: Style,
    look_up_ms: u64,
    now: u64,
    agenda: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    connections: Vec<(State, u64)>,
    tickets: u64,
    answered: u64,
    /// When each look-up was charged.
    charged: Vec<u64>,
}

impl Harvester {
    fn attack(connections: usize, look_up_ms: u64, style: Style, minutes: u64) -> Self {
        let mut harvester = Self {
            ledger: ledger(ROOMY),
            style,
            look_up_ms,
            now: 0,
            agenda: BinaryHeap::new(),
            planned: 0,
            connections: (0..connections).map(|_| (State::Away, 0)).collect(),
            tickets: 0,
            answered: 0,
            charged: vec![],
        };
        (0..connections).for_each(|connection| harvester.plan(0, Event::Guess, connection));
        while let Some(Reverse((when, _, event, connection, ticket))) = harvester.agenda.pop() {
            if when > minutes * MINUTE_MS {
                break;
            }
            harvester.now = when;
            if harvester.connections[connection].1 == ticket {
                harvester.happens(event, connection);
            }
            harvester.wake();
        }
        harvester
    }

    fn plan(&mut self, after: u64, event: Event, connection: usize) {
        let ticket = self.connections[connection].1;
        self.planned += 1;
        self.agenda.push(Reverse((
            self.now + after,
            self.planned,
            event,
            connection,
            ticket,
        )));
    }

    fn tick(&self) -> Tick {
        Tick::from_millis(self.now)
    }

    fn happens(&mut self, event: Event, connection: usize) {
        let (state, number) = &mut self.connections[connection];
        let ticket = Ticket(*number);
        match (event, std::mem::replace(state, State::Away)) {
            (Event::Guess, State::Away) => {
                let owed = self.ledger.owed(self.tick(), source(1), Account::Rcpt);
                if self.style == Style::Bursts && !owed.is_zero() {
                    return self.plan(
                        u64::try_from(owed.as_millis()).unwrap(),
                        Event::Guess,
                        connection,
                    );
                }
                self.tickets += 1;
                self.connections[connection].1 = self.tickets;
                let ticket = Ticket(self.tickets);
                let grant =
                    self.ledger
                        .request(self.tick(), ticket, source(1), Account::Rcpt, &TERMS);
                if self.style == Style::Impatient {
                    self.plan(1_000, Event::GivesUp, connection);
                }
                self.take(grant, connection);
            }
            (Event::Poll, State::Waiting) => {
                let grant = self
                    .ledger
                    .poll(self.tick(), ticket, source(1), Account::Rcpt, &TERMS);
                self.take(grant, connection);
            }
            (Event::LookedUp, State::LookUp(reservation)) => {
                let charge = self.ledger.charge(self.tick(), reservation, &TERMS);
                self.charged.push(self.now);
                assert!(charge.owed >= TERMS.price && charge.owed <= TERMS.hold_max);
                self.connections[connection].0 = State::Held;
                let held = u64::try_from(charge.owed.as_millis()).unwrap();
                match self.style {
                    Style::HangsUp => self.leave(connection),
                    _ => self.plan(held, Event::Answered, connection),
                }
            }
            (Event::Answered, State::Held) => {
                self.answered += 1;
                self.plan(ROUND_TRIP_MS, Event::Guess, connection);
            }
            (Event::GivesUp, State::Waiting) => {
                self.ledger
                    .cancel(self.tick(), ticket, source(1), Account::Rcpt);
                self.leave(connection);
            }
            (Event::GivesUp, State::Held) => self.leave(connection),
            (_, state) => self.connections[connection].0 = state,
        }
    }

    fn leave(&mut self, connection: usize) {
        self.connections[connection].0 = State::Away;
        self.plan(ROUND_TRIP_MS, Event::Guess, connection);
    }

    fn take(&mut self, grant: Grant, connection: usize) {
        match grant {
            Grant::Granted(reservation) => {
                self.connections[connection].0 = State::LookUp(reservation);
                self.plan(self.look_up_ms, Event::LookedUp, connection);
            }
            Grant::Wait { until } => {
                self.connections[connection].0 = State::Waiting;
                self.plan(
                    until.since(self.tick()).as_millis().try_into().unwrap(),
                    Event::Poll,
                    connection,
                );
            }
            Grant::NoRoom => self.leave(connection),
        }
    }

    fn wake(&mut self) {
        let mut woken = vec![];
        self.ledger.take_woken(&mut woken);
        for ticket in woken {
            let waiting = self
                .connections
                .iter()
                .position(|(_, number)| *number == ticket.0);
            waiting
                .into_iter()
                .for_each(|connection| self.plan(0, Event::Poll, connection));
        }
    }

    /// The most look-ups charged in any minute.
    fn most_charged_in_a_minute(&self) -> usize {
        let within = |from: &u64| {
            self.charged
                .iter()
                .filter(|&&when| when >= *from && when < *from + MINUTE_MS)
                .count()
        };
        self.charged.iter().map(within).max().unwrap_or(0)
    }
}

#[test]
fn a_hundred_connections_get_no_more_answers_than_one() {
    for look_up_ms in [0, 20, 200, 1_000] {
        let one = Harvester::attack(1, look_up_ms, Style::Patient, 10).answered;
        assert_eq!(one, 600_000 / (5_000 + look_up_ms + ROUND_TRIP_MS));
        for connections in [2, 5, 6, 100] {
            let many = Harvester::attack(connections, look_up_ms, Style::Patient, 10).answered;
            assert!(
                many.abs_diff(one) <= 1,
                "{connections} behind {look_up_ms} ms: {many}, one: {one}"
            );
        }
    }
}

/// Whatever the style and the upstream: a look-up for each price of the time, and a bound full
/// to begin with.
#[test]
fn no_style_gets_around_the_price() {
    for look_up_ms in [0, 200, 3_000, 10_000, 30_000] {
        for style in [
            Style::Patient,
            Style::HangsUp,
            Style::Impatient,
            Style::Bursts,
        ] {
            for connections in [1, 50] {
                let harvester = Harvester::attack(connections, look_up_ms, style, 3);
                let case = format!("{style:?}, {connections} connections behind {look_up_ms} ms");
                assert!(
                    harvester.charged.len() <= 180 / 5 + 5,
                    "{case}: {}",
                    harvester.charged.len()
                );
                assert!(harvester.most_charged_in_a_minute() <= 60 / 5 + 5, "{case}");
                assert!(
                    harvester.answered <= harvester.charged.len() as u64,
                    "{case}"
                );
            }
        }
    }
}

/// Who hangs up in the hold learns as much as who waits, and no more: the charge stands.
#[test]
fn hanging_up_gains_nothing() {
    let one = Harvester::attack(1, 200, Style::Patient, 10).charged.len();
    for style in [Style::HangsUp, Style::Impatient] {
        for connections in [1, 50] {
            let charged = Harvester::attack(connections, 200, style, 10).charged.len();
            assert!(charged >= one - 1, "the simulation must not starve");
            assert!(
                charged <= one + 5,
                "{style:?}, {connections} connections: {charged}, one: {one}"
            );
        }
    }
}
