//! The arithmetic by example; the rest by model, simulation and load.

mod attack;
mod bounds;
mod look;
mod model;
mod queue;
mod snapshot;

use std::collections::hash_map::RandomState;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;

const ROOMY: LedgerConfig = LedgerConfig {
    sources_max: 1_000,
    known_max: 1_000,
    known_for: Duration::from_secs(30 * 86_400),
};

/// The defaults of the configuration.
const TERMS: Terms = Terms {
    price: Duration::from_secs(5),
    allowance: Duration::ZERO,
    hold_max: Duration::from_secs(25),
};

fn ledger(config: LedgerConfig) -> Ledger {
    Ledger::new(config, RandomState::new())
}

fn at(seconds: f64) -> Tick {
    Tick::ZERO + Duration::from_secs_f64(seconds)
}

fn source(number: u32) -> Source {
    Source::of(Ipv4Addr::from(number).into(), crate::Prefixes::default())
}

/// One source and its RCPT account, with times in seconds.
struct Desk {
    ledger: Ledger,
    terms: Terms,
}

impl Desk {
    fn new() -> Self {
        Self {
            ledger: ledger(ROOMY),
            terms: TERMS,
        }
    }

    fn request(&self, now: f64, ticket: u64) -> Grant {
        self.ledger.request(
            at(now),
            Ticket(ticket),
            source(1),
            Account::Rcpt,
            &self.terms,
        )
    }

    fn try_request(&self, now: f64, ticket: u64) -> Grant {
        self.ledger.try_request(
            at(now),
            Ticket(ticket),
            source(1),
            Account::Rcpt,
            &self.terms,
        )
    }

    fn poll(&self, now: f64, ticket: u64) -> Grant {
        self.ledger.poll(
            at(now),
            Ticket(ticket),
            source(1),
            Account::Rcpt,
            &self.terms,
        )
    }

    #[track_caller]
    fn granted(&self, grant: Grant) -> Reservation {
        match grant {
            Grant::Granted(reservation) => reservation,
            other => panic!("{other:?}"),
        }
    }

    fn cancel(&self, now: f64, ticket: u64) {
        self.ledger
            .cancel(at(now), Ticket(ticket), source(1), Account::Rcpt);
    }

    #[track_caller]
    fn charges(&self, now: f64, reservation: Reservation, free_at: f64) {
        let charge = self.ledger.charge(at(now), reservation, &self.terms);
        assert_eq!(charge, Charge::new(at(now), at(free_at)));
        assert_eq!(charge.owed, at(free_at).since(at(now)));
    }

    #[track_caller]
    fn owes(&self, now: f64, seconds: f64) {
        let owed = self.ledger.owed(at(now), source(1), Account::Rcpt);
        assert_eq!(owed, Duration::from_secs_f64(seconds));
    }

    #[track_caller]
    fn wakes(&self, expect: &[u64]) {
        let mut woken = vec![];
        self.ledger.take_woken(&mut woken);
        assert_eq!(
            woken,
            expect
                .iter()
                .map(|&ticket| Ticket(ticket))
                .collect::<Vec<_>>()
        );
    }
}

fn wait(until: f64) -> Grant {
    Grant::Wait { until: at(until) }
}

#[test]
fn five_grants_and_the_sixth_waits() {
    let desk = Desk::new();
    let mut held: Vec<_> = (1..=5)
        .map(|ticket| desk.granted(desk.request(0.0, ticket)))
        .collect();
    assert_eq!(
        desk.request(0.0, 6),
        wait(25.0),
        "reservations alone fill it: no time will do"
    );
    assert_eq!(desk.request(0.1, 7), wait(25.1), "in the queue behind it");
    desk.owes(0.1, 0.0);
    desk.wakes(&[]);

    // The look-up of 0.2 s is paid for too, and the first of the queue learns when to ask.
    desk.charges(0.2, held.remove(0), 5.2);
    desk.wakes(&[6]);
    assert_eq!(
        desk.poll(0.2, 6),
        wait(5.2),
        "when the debt is gone: 20 s are still reserved"
    );
    desk.charges(0.2, held.remove(0), 10.4);
    desk.charges(0.2, held.remove(0), 15.6);
    desk.wakes(&[]);
    assert_eq!(desk.poll(5.2, 6), wait(5.6));
    let sixth = desk.granted(desk.poll(5.6, 6));
    desk.wakes(&[7]);
    desk.charges(5.8, sixth, 20.8);
    desk.owes(5.8, 15.0);
}

#[test]
fn a_charge_starts_at_the_grant_and_is_capped() {
    let desk = Desk::new();
    let held: Vec<_> = (1..=5)
        .map(|ticket| desk.granted(desk.request(10.0, ticket)))
        .collect();
    // 46 and 55 would be later than 25 s from now.
    for (reservation, free_at) in held.into_iter().zip([19.0, 28.0, 37.0, 39.0, 39.0]) {
        desk.charges(14.0, reservation, free_at);
    }
    assert_eq!(desk.request(14.0, 6), wait(19.0));
    let sixth = desk.granted(desk.poll(19.0, 6));
    desk.charges(19.2, sixth, 44.2);
}

#[test]
fn a_look_up_longer_than_the_longest_hold_still_costs_its_price() {
    let desk = Desk::new();
    let slow = desk.granted(desk.request(0.0, 1));
    desk.charges(100.0, slow, 105.0);
    desk.owes(103.0, 2.0);
    desk.owes(105.0, 0.0);
}

#[test]
fn what_is_given_back_wakes_the_first_and_then_the_next() {
    let desk = Desk::new();
    let mut held: Vec<_> = (1..=5)
        .map(|ticket| desk.granted(desk.request(0.0, ticket)))
        .collect();
    for ticket in 6..=8 {
        assert_eq!(desk.request(0.0, ticket), wait(25.0));
    }
    desk.ledger.release(at(1.0), held.remove(0));
    desk.ledger.release(at(1.0), held.remove(0));
    desk.wakes(&[6]);
    assert_eq!(
        desk.poll(1.0, 7),
        wait(25.0),
        "first come, first served, though there is room"
    );
    assert_eq!(desk.try_request(1.0, 9), Grant::NoRoom);
    assert_eq!(desk.request(1.0, 10), wait(26.0));
    let _sixth = desk.granted(desk.poll(1.0, 6));
    desk.wakes(&[7]);
    let _seventh = desk.granted(desk.poll(1.0, 7));
    desk.wakes(&[]);
    assert_eq!(desk.poll(1.0, 8), wait(25.0));
}

#[test]
fn who_leaves_the_head_of_the_queue_wakes_the_next() {
    let desk = Desk::new();
    for _ in 0..5 {
        desk.ledger
            .offence(at(0.0), source(1), Account::Rcpt, &TERMS);
    }
    desk.owes(0.0, 25.0);
    assert_eq!(desk.request(0.0, 1), wait(5.0));
    assert_eq!(desk.request(0.0, 2), wait(25.0));
    assert_eq!(desk.request(0.0, 3), wait(25.0));
    desk.cancel(1.0, 3);
    desk.wakes(&[]);
    desk.cancel(1.0, 1);
    desk.wakes(&[2]);
    assert_eq!(desk.poll(1.0, 2), wait(5.0));
    desk.cancel(1.0, 7);
    desk.wakes(&[]);
    let _second = desk.granted(desk.poll(5.0, 2));
}

#[test]
fn no_room_at_the_deadline() {
    let desk = Desk::new();
    let held: Vec<_> = (1..=5)
        .map(|ticket| desk.granted(desk.request(0.0, ticket)))
        .collect();
    assert_eq!(desk.request(0.0, 6), wait(25.0));
    assert_eq!(desk.request(1.0, 7), wait(26.0));
    assert_eq!(desk.poll(24.9, 6), wait(25.0));
    assert_eq!(desk.poll(25.0, 6), Grant::NoRoom);
    assert_eq!(desk.poll(25.0, 7), wait(26.0));
    for reservation in held {
        desk.ledger.release(at(25.5), reservation);
    }
    desk.wakes(&[7]);
    let seventh = desk.granted(desk.poll(30.0, 7));
    desk.ledger.release(at(30.0), seventh);
    assert!(
        desk.ledger.is_empty(),
        "nothing owed, nothing pending, nothing kept"
    );
}

#[test]
fn a_try_never_waits_and_needs_room() {
    let desk = Desk::new();
    let held: Vec<_> = (1..=5)
        .map(|ticket| desk.granted(desk.try_request(0.0, ticket)))
        .collect();
    assert_eq!(held[0].price(), TERMS.price);
    assert_eq!(
        (held[0].source(), held[0].account(), held[0].granted_at()),
        (source(1), Account::Rcpt, at(0.0))
    );
    assert_eq!(desk.try_request(0.0, 6), Grant::NoRoom);
    assert_eq!(desk.try_request(100.0, 6), Grant::NoRoom);
    desk.wakes(&[]);
}

#[test]
fn offences_add_up_to_the_cap() {
    let desk = Desk::new();
    let offence = |now, expect| {
        let charge = desk
            .ledger
            .offence(at(now), source(1), Account::Rcpt, &TERMS);
        assert_eq!(charge.free_at, at(expect));
    };
    offence(0.0, 5.0);
    offence(1.0, 10.0);
    offence(20.0, 25.0);
    for _ in 0..10 {
        desk.ledger
            .offence(at(20.0), source(1), Account::Rcpt, &TERMS);
    }
    offence(21.0, 46.0);
    let lenient = Terms {
        hold_max: Duration::from_secs(10),
        ..TERMS
    };
    let charge = desk
        .ledger
        .offence(at(22.0), source(1), Account::Rcpt, &lenient);
    assert_eq!(
        charge.free_at,
        at(46.0),
        "another listener's cap takes back nothing"
    );
}

#[test]
fn accounts_and_sources_are_apart() {
    let desk = Desk::new();
    for _ in 0..5 {
        desk.ledger
            .offence(at(0.0), source(1), Account::Auth, &TERMS);
    }
    desk.owes(0.0, 0.0);
    let _granted = desk.granted(desk.request(0.0, 1));
    let auth = desk
        .ledger
        .request(at(0.0), Ticket(2), source(1), Account::Auth, &TERMS);
    assert_eq!(auth, wait(5.0));
    let other = desk
        .ledger
        .request(at(0.0), Ticket(3), source(2), Account::Auth, &TERMS);
    assert!(matches!(other, Grant::Granted(_)));
    assert_eq!(desk.ledger.len(), 2);
}

#[test]
fn a_known_sender_is_looked_at_in_the_end() {
    let desk = Desk::new();
    desk.ledger.accepted(at(0.0), source(1));
    let _held: Vec<_> = (1..=5)
        .map(|ticket| desk.granted(desk.request(0.0, ticket)))
        .collect();
    assert_eq!(desk.request(0.0, 6), wait(25.0));
    assert_eq!(desk.request(0.0, 7), wait(25.0));
    assert_eq!(desk.poll(24.0, 7), wait(25.0));
    let seventh = desk.granted(desk.poll(25.0, 7));
    let _sixth = desk.granted(desk.poll(25.0, 6));
    desk.charges(25.2, seventh, 30.2);
    desk.owes(25.2, 5.0);
}

#[test]
fn a_known_sender_is_forgotten_after_its_time() {
    let month = 30.0 * 86_400.0;
    let desk = Desk::new();
    let known = |now| desk.ledger.is_known(at(now), source(1));
    assert!(!known(0.0));
    desk.ledger.accepted(at(0.0), source(1));
    assert!(known(month) && !known(month + 1.0));
    desk.ledger.accepted(at(10.0), source(1));
    assert!(known(month + 1.0));
    assert_eq!(desk.ledger.stats().known, 1);
    desk.ledger.accepted(at(month + 11.0), source(2));
    assert_eq!(desk.ledger.stats().known, 1);
}

#[test]
fn an_allowance_is_debt_without_a_wait() {
    let mut desk = Desk::new();
    desk.terms.allowance = Duration::from_secs(10);
    let mut held: Vec<_> = (1..=7)
        .map(|ticket| desk.granted(desk.request(0.0, ticket)))
        .collect();
    assert_eq!(desk.try_request(0.0, 8), Grant::NoRoom);
    desk.charges(0.0, held.remove(0), 5.0);
}

#[test]
fn a_price_above_the_cap_locks_nobody_out() {
    let mut desk = Desk::new();
    desk.terms.price = Duration::from_secs(60);
    let first = desk.granted(desk.request(0.0, 1));
    assert_eq!(desk.request(0.0, 2), wait(25.0));
    desk.charges(0.0, first, 25.0);
    desk.wakes(&[]);
    let _second = desk.granted(desk.poll(25.0, 2));
}

#[test]
fn without_a_hold_nobody_waits() {
    let mut desk = Desk::new();
    desk.terms.hold_max = Duration::ZERO;
    let reservation = desk.granted(desk.request(0.0, 1));
    let _other = desk.granted(desk.request(0.0, 2));
    desk.charges(1.0, reservation, 1.0);
}

#[test]
fn what_sessions_left_behind_is_dropped() {
    let desk = Desk::new();
    let _lost: Vec<_> = (1..=5)
        .map(|ticket| desk.granted(desk.request(0.0, ticket)))
        .collect();
    assert_eq!(desk.request(0.0, 6), wait(25.0));
    assert_eq!(desk.request(3_500.0, 7), wait(3_525.0));
    assert_eq!(desk.poll(3_525.0, 7), Grant::NoRoom);
    let _granted = desk.granted(desk.request(3_601.0, 8));
}

#[test]
fn parts_of_a_millisecond_are_in_favour_of_the_pit() {
    let mut desk = Desk::new();
    desk.terms.price = Duration::from_micros(1_500);
    let reservation = desk.granted(desk.request(0.0, 1));
    assert_eq!(reservation.price(), Duration::from_millis(2));
}

#[test]
fn the_end_of_time_is_no_trap() {
    let desk = Desk::new();
    let end = Tick::from_millis(u64::MAX);
    let terms = Terms {
        price: Duration::MAX,
        allowance: Duration::MAX,
        hold_max: Duration::MAX,
    };
    for ticket in 0..3 {
        let grant = desk
            .ledger
            .request(end, Ticket(ticket), source(1), Account::Rcpt, &terms);
        if let Grant::Granted(reservation) = grant {
            assert_eq!(desk.ledger.charge(end, reservation, &terms).free_at, end);
        }
    }
    assert_eq!(
        desk.ledger
            .offence(end, source(1), Account::Rcpt, &terms)
            .free_at,
        end
    );
}
