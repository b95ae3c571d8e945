//! What is seen from outside, and what is forgiven.

use super::*;

#[test]
fn those_who_owe_most_come_first() {
    let ledger = ledger(ROOMY);
    let now = Tick::from_millis(5_000);
    let per_second = Terms {
        price: Duration::from_secs(1),
        ..TERMS
    };
    for number in 1..=20_u32 {
        let source = Source::V4(number, 32);
        for _ in 0..number {
            ledger.offence(now, source, Account::Rcpt, &per_second);
        }
    }
    let most = ledger.owing_most(now, 3);
    let seen: Vec<_> = most
        .iter()
        .map(|(source, standing)| (*source, standing.owed().as_secs()))
        .collect();
    let expected = [20, 19, 18].map(|number| (Source::V4(number, 32), u64::from(number)));
    assert_eq!(seen, expected);
    let later = now + Duration::from_secs(19);
    assert_eq!(ledger.owing_most(later, 3).len(), 1);
}

#[test]
fn what_is_forgiven_is_owed_no_more_and_wakes_who_waits() {
    let ledger = ledger(ROOMY);
    let now = Tick::from_millis(5_000);
    let source = Source::V4(1, 32);
    let terms = Terms {
        hold_max: Duration::from_secs(10),
        ..TERMS
    };
    for _ in 0..2 {
        ledger.offence(now, source, Account::Rcpt, &terms);
        ledger.offence(now, source, Account::Auth, &terms);
    }
    let grant = ledger.request(now, Ticket(7), source, Account::Rcpt, &terms);
    assert!(matches!(grant, Grant::Wait { .. }));
    assert_eq!(ledger.standing(now, source).rcpt.waiting, 1);
    assert_eq!(ledger.forgive(now, source), Duration::from_secs(20));
    let mut woken = Vec::new();
    ledger.take_woken(&mut woken);
    assert_eq!(woken, [Ticket(7)]);
    let grant = ledger.poll(now, Ticket(7), source, Account::Rcpt, &terms);
    assert!(matches!(grant, Grant::Granted(_)));
    assert_eq!(ledger.standing(now, source).owed(), Duration::ZERO);
    assert_eq!(ledger.forgive(now, Source::V4(2, 32)), Duration::ZERO);
    assert_eq!(ledger.standing(now, source).accepted_ago, None);
    ledger.accepted(now, source);
    let later = ledger.standing(now + Duration::from_secs(3), source);
    assert_eq!(later.accepted_ago, Some(Duration::from_secs(3)));
}
