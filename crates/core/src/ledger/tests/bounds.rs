//! What the table holds when more is offered than it may hold, and what comes of many threads.

use super::*;

/// One shard, so that the order is exact.
const SMALL: LedgerConfig = LedgerConfig {
    sources_max: 3,
    known_max: 3,
    ..ROOMY
};

fn offends(ledger: &Ledger, now: f64, number: u32, times: usize) {
    for _ in 0..times {
        ledger.offence(at(now), source(number), Account::Rcpt, &TERMS);
    }
}

#[track_caller]
fn owing(ledger: &Ledger, now: f64, expect: &[u32]) {
    let owes = |number: &u32| {
        !ledger
            .owed(at(now), source(*number), Account::Rcpt)
            .is_zero()
    };
    assert_eq!((1..10).filter(owes).collect::<Vec<_>>(), expect);
}

#[test]
fn the_least_owing_go_first() {
    let ledger = ledger(SMALL);
    offends(&ledger, 0.0, 1, 2);
    offends(&ledger, 0.0, 2, 1);
    offends(&ledger, 0.0, 3, 3);
    offends(&ledger, 0.0, 4, 2);
    owing(&ledger, 0.0, &[1, 3, 4]);
    offends(&ledger, 1.0, 1, 2);
    offends(&ledger, 1.0, 5, 3);
    owing(&ledger, 1.0, &[1, 3, 5]);
    assert_eq!(
        ledger.stats(),
        LedgerStats {
            sources: 3,
            known: 0,
            evicted: 2,
            unbooked: 0
        }
    );
    // The debt of the other account counts too: else 3 would be the next to go.
    ledger.offence(
        at(1.0),
        source(3),
        Account::Auth,
        &Terms {
            price: Duration::from_secs(24),
            ..TERMS
        },
    );
    offends(&ledger, 1.0, 6, 1);
    owing(&ledger, 1.0, &[1, 3, 6]);
}

#[test]
fn debts_that_ended_make_place_without_an_eviction() {
    let ledger = ledger(SMALL);
    for number in 1..=3 {
        offends(&ledger, 0.0, number, 1);
    }
    offends(&ledger, 5.0, 4, 1);
    assert_eq!(
        ledger.stats(),
        LedgerStats {
            sources: 2,
            known: 0,
            evicted: 0,
            unbooked: 0
        }
    );
    owing(&ledger, 5.0, &[4]);
}

#[test]
fn who_has_something_pending_stays_and_a_full_table_fails_open() {
    let ledger = ledger(SMALL);
    let request = |number: u32, ticket| {
        let grant = ledger.request(
            at(0.0),
            Ticket(ticket),
            source(number),
            Account::Rcpt,
            &TERMS,
        );
        let Grant::Granted(reservation) = grant else {
            panic!("{grant:?}")
        };
        reservation
    };
    let pinned = [1, 2, 3].map(|number| request(number, number.into()));
    let unbooked: Vec<_> = (0..9).map(|ticket| request(4, 10 + ticket)).collect();
    assert_eq!(ledger.len(), 3);
    assert_eq!(
        ledger.stats().unbooked,
        9,
        "no bound for a source that has no account"
    );
    for reservation in unbooked {
        let charge = ledger.charge(at(0.2), reservation, &TERMS);
        assert_eq!(
            charge.owed,
            Duration::from_secs(5),
            "the reply is held all the same"
        );
    }
    offends(&ledger, 0.2, 4, 1);
    owing(&ledger, 0.2, &[]);

    // With a place free, what was not reserved is given back or charged, and takes nobody else's reservation.
    let [first, second, third] = pinned;
    let (late, given_back) = (request(4, 29), request(4, 30));
    ledger.release(at(0.3), first);
    let held = request(4, 31);
    ledger.release(at(0.3), given_back);
    assert_eq!(ledger.charge(at(0.3), late, &TERMS).free_at, at(5.3));
    let grants = (0..9).filter(|ticket| {
        let grant = ledger.try_request(
            at(0.3),
            Ticket(40 + ticket),
            source(4),
            Account::Rcpt,
            &TERMS,
        );
        matches!(grant, Grant::Granted(_))
    });
    assert_eq!(grants.count(), 3, "of five one is owed and one reserved");
    ledger.release(at(0.4), held);
    ledger.release(at(0.4), second);
    assert_eq!(ledger.charge(at(0.4), third, &TERMS).free_at, at(5.4));
}

#[test]
fn the_longest_silent_known_senders_go_first() {
    let ledger = ledger(SMALL);
    for (second, number) in [(0, 1), (1, 2), (2, 3), (3, 1), (4, 4)] {
        ledger.accepted(at(f64::from(second)), source(number));
    }
    let known: Vec<_> = (1..5)
        .filter(|&number| ledger.is_known(at(4.0), source(number)))
        .collect();
    assert_eq!(known, [1, 3, 4]);
    assert_eq!(ledger.stats().known, 3);
}

#[test]
fn no_table_at_all_still_holds_replies() {
    let ledger = ledger(LedgerConfig {
        sources_max: 0,
        known_max: 0,
        ..ROOMY
    });
    ledger.accepted(at(0.0), source(1));
    assert!(!ledger.is_known(at(0.0), source(1)));
    assert_eq!(
        ledger
            .offence(at(0.0), source(1), Account::Rcpt, &TERMS)
            .free_at,
        at(5.0)
    );
    assert!(ledger.is_empty());
}

#[test]
fn a_million_sources_fit_into_a_table_of_a_thousand() {
    let ledger = ledger(ROOMY);
    for number in 0..1_000_000_u32 {
        let now = Tick::from_millis(u64::from(number / 100));
        let account = if number % 3 == 0 {
            Account::Auth
        } else {
            Account::Rcpt
        };
        ledger.offence(now, source(number), account, &TERMS);
        if number % 10 == 0 {
            ledger.accepted(now, source(number));
            assert!(ledger.len() <= 1_000 && ledger.stats().known <= 1_000);
        }
    }
    let stats = ledger.stats();
    assert_eq!((stats.sources, stats.known), (1_000, 1_000));
    assert_eq!(stats.evicted, 999_000);
    let newest = ledger.owed(Tick::from_millis(9_999), source(999_999), Account::Auth);
    assert_eq!(newest, TERMS.price);
}

#[test]
fn entries_stay_small() {
    assert!(
        size_of::<shard::Entry>() <= 32,
        "what a source with debt costs, beside its key"
    );
}

/// Every thread guesses for the same few sources; all that was charged, and nothing else, is owed.
#[test]
fn threads_lose_no_charge_and_no_room() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 500;
    let terms = Terms {
        price: Duration::from_millis(3),
        hold_max: Duration::from_hours(24),
        ..TERMS
    };
    let ledger = ledger(ROOMY);
    let work = &|thread: u64| {
        let mut woken = vec![];
        for round in 0..ROUNDS {
            for number in 0..10 {
                let ticket = Ticket(thread);
                let grant =
                    ledger.request(Tick::ZERO, ticket, source(number), Account::Rcpt, &terms);
                let Grant::Granted(reservation) = grant else {
                    panic!("{grant:?}")
                };
                if (thread + round).is_multiple_of(2) {
                    ledger.charge(Tick::ZERO, reservation, &terms);
                } else {
                    ledger.release(Tick::ZERO, reservation);
                }
                ledger.take_woken(&mut woken);
            }
        }
        assert!(woken.is_empty());
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || work(thread));
        }
    });
    for number in 0..10 {
        let owed = ledger.owed(Tick::ZERO, source(number), Account::Rcpt);
        assert_eq!(u128::from(THREADS * ROUNDS / 2 * 3), owed.as_millis());
    }
    // Nothing is reserved any more: exactly what is left of the bound is granted.
    let terms = Terms {
        hold_max: Duration::from_millis(THREADS * ROUNDS / 2 * 3 + 3),
        ..terms
    };
    for (ticket, granted) in [(100, true), (101, false)] {
        let grant =
            ledger.try_request(Tick::ZERO, Ticket(ticket), source(0), Account::Rcpt, &terms);
        assert_eq!(matches!(grant, Grant::Granted(_)), granted);
    }
}
