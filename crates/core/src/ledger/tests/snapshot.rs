//! What goes over to the next process, and that nothing else is taken for it.

use super::*;
use crate::octets::Fault;
use crate::policy::REPLY_MAX;

fn snapshot(ledger: &Ledger, now: f64) -> Vec<u8> {
    let mut octets = Vec::new();
    ledger.snapshot(at(now), &mut octets);
    octets
}

#[track_caller]
fn owed(ledger: &Ledger, now: f64, who: u32) -> (f64, f64) {
    let owed = |account| ledger.owed(at(now), source(who), account).as_secs_f64();
    (owed(Account::Rcpt), owed(Account::Auth))
}

#[test]
fn debts_and_known_senders_go_over() {
    let old = ledger(ROOMY);
    old.offence(at(0.0), source(1), Account::Rcpt, &TERMS);
    old.offence(at(0.0), source(1), Account::Auth, &TERMS);
    old.offence(at(2.5), source(1), Account::Auth, &TERMS);
    old.offence(at(0.0), source(2), Account::Rcpt, &TERMS);
    let six = Source::of("2001:db8::1".parse().unwrap(), crate::Prefixes::default());
    old.offence(at(3.0), six, Account::Rcpt, &TERMS);
    old.accepted(at(1.0), source(3));
    // What is reserved, and whoever waits for room, belongs to the old process.
    let Grant::Granted(reservation) =
        old.request(at(3.0), Ticket(1), source(4), Account::Rcpt, &TERMS)
    else {
        panic!("no room in an empty account")
    };

    let octets = snapshot(&old, 4.0);
    let new = ledger(ROOMY);
    assert_eq!(new.restore(at(4.5), &octets), Ok(5));
    assert_eq!(owed(&new, 4.5, 1), (0.5, 5.5));
    assert_eq!(owed(&new, 4.5, 2), (0.5, 0.0));
    assert_eq!(new.owed(at(4.5), six, Account::Rcpt).as_secs_f64(), 3.5);
    assert_eq!(new.len(), 3);
    assert!(new.is_known(at(5.0), source(3)));
    assert!(!new.is_known(at(5.0), source(1)));
    // Thirty days from the mail, not from the change of processes.
    assert!(new.is_known(at(1.0 + 30.0 * 86_400.0), source(3)));
    assert!(!new.is_known(at(1.1 + 30.0 * 86_400.0), source(3)));
    // Whoever owes nothing any more did not go over.
    assert_eq!(
        ledger(ROOMY).restore(at(10.0), &snapshot(&old, 10.0)),
        Ok(1)
    );
    old.release(at(10.0), reservation);
}

#[test]
fn the_later_end_stands() {
    let (one, other) = (ledger(ROOMY), ledger(ROOMY));
    one.offence(at(0.0), source(1), Account::Rcpt, &TERMS);
    other.offence(at(1.0), source(1), Account::Rcpt, &TERMS);
    other.offence(at(1.0), source(2), Account::Rcpt, &TERMS);
    one.accepted(at(1.0), source(3));
    other.accepted(at(2.0), source(3));
    for (from, into) in [(&one, &other), (&other, &one), (&one, &other)] {
        into.restore(at(2.0), &snapshot(from, 2.0)).unwrap();
        // Twice is once.
        into.restore(at(2.0), &snapshot(from, 2.0)).unwrap();
    }
    for ledger in [&one, &other] {
        assert_eq!(owed(ledger, 2.0, 1), (4.0, 0.0));
        assert_eq!(owed(ledger, 2.0, 2), (4.0, 0.0));
        assert!(ledger.is_known(at(2.0 + 30.0 * 86_400.0), source(3)));
    }
}

#[test]
fn nobody_is_locked_out_by_what_another_process_says() {
    let ledger = ledger(ROOMY);
    ledger.merge(
        at(1.0),
        source(1),
        Account::Rcpt,
        Tick::from_millis(u64::MAX),
    );
    assert_eq!(owed(&ledger, 1.0, 1).0, REPLY_MAX.as_secs_f64());
    ledger.merge(at(1.0), source(2), Account::Rcpt, at(1.0));
    assert_eq!(ledger.len(), 1);
    // Nor is a debt paid by it.
    ledger.merge(at(1.0), source(1), Account::Rcpt, at(2.0));
    assert_eq!(owed(&ledger, 1.0, 1).0, REPLY_MAX.as_secs_f64());
}

#[test]
fn a_full_table_keeps_what_matters_most() {
    let small = LedgerConfig {
        sources_max: 3,
        known_max: 2,
        ..ROOMY
    };
    let big = ledger(ROOMY);
    for (number, times) in [(1, 1), (2, 5), (3, 3), (4, 4), (5, 2)] {
        for _ in 0..times {
            big.offence(at(0.0), source(number), Account::Rcpt, &TERMS);
        }
        big.accepted(at(f64::from(times)), source(number));
    }
    let ledger = ledger(small);
    // Owes least of all that are there, but more than some that come.
    ledger.merge(at(5.0), source(9), Account::Rcpt, at(11.0));
    ledger.restore(at(5.0), &snapshot(&big, 5.0)).unwrap();
    assert_eq!(ledger.len(), 3);
    let owing = |who: &u32| owed(&ledger, 5.0, *who).0 > 0.0;
    assert_eq!((1..10).filter(owing).collect::<Vec<_>>(), [2, 3, 4]);
    let known = |who: &u32| ledger.is_known(at(5.0), source(*who));
    assert_eq!((1..10).filter(known).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn what_is_no_ledger_changes_nothing() {
    let old = ledger(ROOMY);
    old.offence(at(0.0), source(1), Account::Rcpt, &TERMS);
    old.accepted(at(0.0), source(2));
    let octets = snapshot(&old, 1.0);
    let new = ledger(ROOMY);
    let restore = |octets: &[u8]| new.restore(at(1.0), octets);
    for end in 0..octets.len() {
        assert!(restore(&octets[..end]).is_err(), "cut at {end}");
    }
    let longer = [&octets[..], &[7]].concat();
    assert_eq!(
        restore(&longer).unwrap_err().fault,
        Fault::Unknown { found: 7 }
    );
    let later = [&[2], &octets[1..]].concat();
    assert_eq!(
        restore(&later).unwrap_err().to_string(),
        "form of the ledger, after 0 octets: written in form 2, only form 1 is known"
    );
    assert!(new.is_empty() && new.stats().known == 0);
    // One octet that is another one may be read, but never does more than one ledger may.
    for place in 0..octets.len() {
        for bit in 0..8 {
            let mut other = octets.clone();
            other[place] ^= 1 << bit;
            let _ = restore(&other);
        }
    }
    assert!((0..5).all(|who| owed(&new, 1.0, who).0 <= REPLY_MAX.as_secs_f64()));
}

/// What this version writes, others read: a change here is a new form.
#[test]
fn the_form_stays() {
    let ledger = ledger(ROOMY);
    ledger.offence(at(0.0), source(1), Account::Auth, &TERMS);
    ledger.accepted(at(0.5), source(2));
    assert_eq!(
        snapshot(&ledger, 1.0),
        [
            &[1, 0xe8, 0x07][..],
            &[32, 0, 0, 0, 1, 0, 0xa0, 0x1f, 0xff],
            &[32, 0, 0, 0, 2, 0xf4, 0x03, 0xff],
        ]
        .concat()
    );
    let empty = super::ledger(ROOMY);
    assert_eq!(snapshot(&empty, 0.0), [1, 0, 0xff, 0xff]);
    assert_eq!(empty.restore(at(0.0), &[1, 0, 0xff, 0xff]), Ok(0));
}
