//! Nobody who waits is forgotten: a driver that polls only when told to or woken grants the same
//! look-ups at the same moments as one that polls everybody all the time.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const PRICE_MS: u64 = 5;
const HOLD_MAX_MS: u64 = 25;
const QUICK: Terms = Terms {
    price: Duration::from_millis(PRICE_MS),
    allowance: Duration::ZERO,
    hold_max: Duration::from_millis(HOLD_MAX_MS),
};

/// One session: when it asks, how long its look-up takes, and what comes of it.
#[derive(Clone, Debug)]
struct Plan {
    asks_at: u64,
    takes: u64,
    is_offence: bool,
    /// It hangs up after so long a wait.
    patience: Option<u64>,
    /// Its source sent mail that was accepted.
    is_known: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let patience = prop::option::weighted(0.2, 0..HOLD_MAX_MS);
    let asks_at = prop_oneof![Just(0), 0..100_u64];
    (
        asks_at,
        0..40_u64,
        any::<bool>(),
        patience,
        prop::bool::weighted(0.3),
    )
        .prop_map(|(asks_at, takes, is_offence, patience, is_known)| Plan {
            asks_at,
            takes,
            is_offence,
            patience,
            is_known,
        })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Granted(u64),
    NoRoom(u64),
    Left(u64),
}

enum State {
    Idle,
    Waiting {
        until: u64,
    },
    LookUp {
        reservation: Option<Reservation>,
        ends_at: u64,
    },
    Done,
}

struct Run<'a> {
    ledger: Ledger,
    plans: &'a [Plan],
    states: Vec<State>,
    ends: Vec<Option<End>>,
    /// In the order in which they were granted.
    order: Vec<usize>,
    polls: usize,
}

impl Run<'_> {
    fn source(&self, session: usize) -> Source {
        source(if self.plans[session].is_known { 1 } else { 2 })
    }

    fn take(&mut self, now: u64, session: usize, grant: Grant) {
        self.states[session] = match grant {
            Grant::Granted(reservation) => {
                self.ends[session] = Some(End::Granted(now));
                self.order.push(session);
                State::LookUp {
                    reservation: Some(reservation),
                    ends_at: now + self.plans[session].takes,
                }
            }
            Grant::Wait { until } => {
                assert!(until.as_millis() > now, "a driver would spin");
                State::Waiting {
                    until: until.as_millis(),
                }
            }
            Grant::NoRoom => {
                self.ends[session] = Some(End::NoRoom(now));
                State::Done
            }
        };
    }

    fn settle_and_leave(&mut self, now: u64) {
        let tick = Tick::from_millis(now);
        for session in 0..self.plans.len() {
            let (plan, source) = (&self.plans[session], self.source(session));
            match &mut self.states[session] {
                State::LookUp {
                    reservation,
                    ends_at,
                } if *ends_at <= now => {
                    let reservation = reservation.take().unwrap();
                    if plan.is_offence {
                        self.ledger.charge(tick, reservation, &QUICK);
                    } else {
                        self.ledger.release(tick, reservation);
                    }
                    self.states[session] = State::Done;
                }
                State::Waiting { .. }
                    if plan
                        .patience
                        .is_some_and(|patience| plan.asks_at + patience <= now) =>
                {
                    self.ledger
                        .cancel(tick, Ticket(session as u64), source, Account::Rcpt);
                    self.ends[session] = Some(End::Left(now));
                    self.states[session] = State::Done;
                }
                _ => {}
            }
        }
    }

    fn arrive(&mut self, now: u64) {
        for session in 0..self.plans.len() {
            if matches!(self.states[session], State::Idle) && self.plans[session].asks_at == now {
                let (tick, ticket) = (Tick::from_millis(now), Ticket(session as u64));
                let grant =
                    self.ledger
                        .request(tick, ticket, self.source(session), Account::Rcpt, &QUICK);
                self.take(now, session, grant);
            }
        }
    }

    /// Polls those who wait and are due, or woken, or (eagerly) all of them, in the order of
    /// their arrival. Returns whether anything came of it.
    fn poll(&mut self, now: u64, eager: bool) -> bool {
        let mut woken = vec![];
        self.ledger.take_woken(&mut woken);
        let mut sessions: Vec<_> = (0..self.plans.len()).collect();
        sessions.sort_by_key(|&session| self.plans[session].asks_at);
        let mut changed = false;
        for session in sessions {
            let State::Waiting { until } = self.states[session] else {
                continue;
            };
            let ticket = Ticket(session as u64);
            if eager || until <= now || woken.contains(&ticket) {
                self.polls += 1;
                let tick = Tick::from_millis(now);
                let grant =
                    self.ledger
                        .poll(tick, ticket, self.source(session), Account::Rcpt, &QUICK);
                self.take(now, session, grant);
                changed |= !eager || !matches!(self.states[session], State::Waiting { .. });
            }
        }
        changed
    }

    fn through(plans: &[Plan], eager: bool) -> Run<'_> {
        let states = plans.iter().map(|_| State::Idle).collect();
        let ends = vec![None; plans.len()];
        let mut run = Run {
            ledger: ledger(ROOMY),
            plans,
            states,
            ends,
            order: vec![],
            polls: 0,
        };
        run.ledger.accepted(Tick::ZERO, source(1));
        for now in 0..200 {
            run.settle_and_leave(now);
            run.arrive(now);
            while run.poll(now, eager) {}
        }
        run
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn a_lazy_driver_equals_an_eager_one(plans in vec(plan(), 1..100)) {
        let lazy = Run::through(&plans, false);
        let eager = Run::through(&plans, true);
        prop_assert_eq!(&lazy.ends, &eager.ends);
        for (plan, end) in plans.iter().zip(&lazy.ends) {
            let deadline = plan.asks_at + HOLD_MAX_MS;
            match end {
                Some(End::Granted(when) | End::Left(when)) => prop_assert!(*when <= deadline),
                Some(End::NoRoom(when)) => prop_assert!(*when == deadline && !plan.is_known),
                None => prop_assert!(false, "forgotten: {:?}", plan),
            }
        }
        for known in [false, true] {
            let asked: Vec<_> = lazy.order.iter().map(|&session| &plans[session])
                .filter(|plan| plan.is_known == known).map(|plan| plan.asks_at).collect();
            prop_assert!(asked.is_sorted(), "first come, first served");
        }
        // Told anew once as the first of the queue, once for each settlement, once at the end.
        prop_assert!(lazy.polls <= 4 * plans.len(), "{} polls", lazy.polls);
        prop_assert!(lazy.ledger.stats().unbooked == 0);
    }
}
