//! Replays: what was recorded, run again under the same settings, is what was recorded; and under
//! other settings it is what those settings would have made of the clients themselves.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use tarpit_core::ledger::LedgerConfig;
use tarpit_core::policy::{Mode, Offence, Policy, Scope, Way};
use tarpit_core::record::{ActRecord, Deed, HoldRecord, Judged};
use tarpit_core::replay::gather::Gatherer;
use tarpit_core::replay::{Effects, Nature, Rules, Settings, Step, Trace, Watch, run};
use tarpit_core::{Kind, Prefixes, SessionId, Source, Tick};

fn settings(mode: Mode, scope: Scope, delay: u64) -> Settings {
    let policy = Policy {
        mode,
        scope,
        delay: Duration::from_millis(delay),
        hold_max: Duration::from_secs(25),
        recipients_max: 100,
        errors_max: 20,
        way: Way::Silent,
        pace: Duration::ZERO,
    };
    Settings {
        listeners: vec![Rules {
            policy,
            kind: Kind::Mx,
        }],
        door_debt: Duration::ZERO,
        ledger: LedgerConfig {
            sources_max: 10_000,
            known_max: 10_000,
            known_for: Duration::from_secs(30 * 86_400),
        },
    }
}

fn source(number: u8) -> Source {
    Source::of([192, 0, 2, number].into(), Prefixes::default())
}

/// Gathers what is run, as a gateway would have written it down.
struct Book<'a> {
    traces: &'a [Trace],
    mode: Mode,
    gatherer: Gatherer<()>,
}

impl Watch for Book<'_> {
    fn act(&mut self, at: Tick, act: &ActRecord) {
        self.gatherer.act(at, act, self.mode);
    }

    fn hold(&mut self, at: Tick, hold: &HoldRecord) {
        self.gatherer.hold(at, hold);
    }

    fn ended(&mut self, at: Tick, trace: usize, long: Duration) {
        let source = self.traces[trace].source;
        self.gatherer
            .session(at, SessionId(trace as u64), source, long);
    }
}

fn natures(traces: &[Trace]) -> HashMap<Source, Nature> {
    Nature::all(traces)
}

/// Runs them; what came of it, what it looked like in the records, and those made into sessions.
fn recorded(traces: &[Trace], settings: &Settings) -> (Effects, Effects, Vec<Trace>) {
    let mut book = Book {
        traces,
        mode: settings.listeners[0].policy.mode,
        gatherer: Gatherer::default(),
    };
    let hasher = RandomState::new();
    let ran = run(traces, &natures(traces), settings, hasher, &mut book);
    let (gathered, seen) = book.gatherer.close();
    let again = gathered.into_iter().map(|one| one.trace).collect();
    (ran, seen, again)
}

fn rerun(traces: &[Trace], settings: &Settings) -> Effects {
    run(
        traces,
        &natures(traces),
        settings,
        RandomState::new(),
        &mut (),
    )
}

fn step(deed: Deed, judged: Judged) -> Step {
    Step {
        gap: 100,
        took: 10,
        patience: u32::MAX,
        transaction: 1,
        deed,
        judged,
        role: false,
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let acts = prop::sample::select(vec![
        (Deed::Rcpt, Judged::Accepted),
        (Deed::Rcpt, Judged::Deferred),
        (Deed::Rcpt, Judged::Offence(Offence::UnknownRecipient)),
        (Deed::Rcpt, Judged::Offence(Offence::UnknownRecipient)),
        (Deed::Rcpt, Judged::Offence(Offence::RecipientRefused)),
        (Deed::Rcpt, Judged::Offence(Offence::SenderRefused)),
        (Deed::Foreign, Judged::Offence(Offence::RecipientRefused)),
        (Deed::Unlisted, Judged::Offence(Offence::UnknownRecipient)),
        (Deed::Auth, Judged::Offence(Offence::FailedAuth)),
        (Deed::Auth, Judged::Deferred),
        (Deed::AuthMistake, Judged::Offence(Offence::AuthMistake)),
        (Deed::Command, Judged::Offence(Offence::Protocol)),
        (Deed::Message, Judged::Accepted),
        (Deed::Message, Judged::Accepted),
        (Deed::Message, Judged::Offence(Offence::MessageRefused)),
    ]);
    let patience = prop_oneof![4 => Just(u32::MAX), 1 => 500_u32..20_000];
    (
        acts,
        0_u32..3000,
        0_u32..400,
        patience,
        1_u32..4,
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |((deed, judged), gap, took, patience, transaction, role)| Step {
                gap,
                took,
                patience,
                transaction,
                deed,
                judged,
                role,
            },
        )
}

/// Sessions of a few sources, no two of which begin in one moment: what comes first there is for
/// nobody to say.
fn any_traces() -> impl Strategy<Value = Vec<Trace>> {
    let trace = (
        0_u8..4,
        prop::bool::weighted(0.1),
        1_u64..60_000,
        prop::collection::vec(any_step(), 0..12),
        0_u64..5000,
    );
    prop::collection::vec(trace, 1..24).prop_map(|list| {
        let mut begun = HashSet::new();
        let mut traces: Vec<Trace> = list
            .into_iter()
            .filter(|(.., opened, _, _)| begun.insert(*opened))
            .map(|(number, exempt, opened, mut steps, rest)| {
                steps.sort_by_key(|step| step.transaction);
                Trace {
                    source: source(number),
                    exempt,
                    listener: 0,
                    opened: Tick::from_millis(1_000_000 + opened),
                    steps,
                    rest: Duration::from_millis(rest),
                }
            })
            .collect();
        traces.sort_by_key(|trace| trace.opened);
        traces
    })
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let mode = prop::sample::select(vec![Mode::Off, Mode::Observe, Mode::Enforce, Mode::Enforce]);
    let scope = prop::sample::select(vec![Scope::Session, Scope::Source]);
    (mode, scope, 0_u64..10_000).prop_map(|(mode, scope, delay)| settings(mode, scope, delay))
}

/// The records tell all but the exemption, which the configuration gives.
fn with_exemptions(mut again: Vec<Trace>, traces: &[Trace]) -> Vec<Trace> {
    for trace in &mut again {
        let same = traces.iter().find(|one| one.opened == trace.opened);
        trace.exempt = same.is_some_and(|one| one.exempt);
    }
    again
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn the_same_settings_give_what_was(traces in any_traces(), settings in any_settings()) {
        let (ran, seen, again) = recorded(&traces, &settings);
        // What is read from the records is what came of it.
        prop_assert_eq!(&seen.sources, &ran.sources);
        prop_assert_eq!(seen.sessions, ran.sessions);
        let again = with_exemptions(again, &traces);
        let replayed = rerun(&again, &settings);
        prop_assert_eq!(&replayed.sources, &ran.sources, "{:#?}\n{:#?}", traces, again);
        prop_assert_eq!(replayed.end, ran.end);
    }

    /// A week of `off` tells what `enforce` would have done, as far as clients wait.
    #[test]
    fn other_settings_give_what_would_have_been(traces in any_traces(), settings in any_settings()) {
        let mut traces = traces;
        for step in traces.iter_mut().flat_map(|trace| &mut trace.steps) {
            // Nobody waits in `off`, so nobody is seen to hang up.
            step.patience = u32::MAX;
            // There the filter refuses nothing that is not looked up.
            if matches!(step.deed, Deed::Foreign | Deed::Unlisted) {
                step.deed = Deed::Rcpt;
            }
        }
        let off = self::settings(Mode::Off, Scope::Session, 0);
        let (_, _, seen) = recorded(&traces, &off);
        let seen = with_exemptions(seen, &traces);
        // What made no sense for a client to say (a message without recipients) was not said.
        let truth = run(&traces, &natures(&seen), &settings, RandomState::new(), &mut ());
        let replayed = rerun(&seen, &settings);
        prop_assert_eq!(&replayed.sources, &truth.sources);
    }
}

#[test]
fn a_longer_delay_takes_more_and_teaches_less() {
    let guesses = vec![step(Deed::Rcpt, Judged::Offence(Offence::UnknownRecipient)); 8];
    let mut steps = guesses;
    steps.push(step(Deed::Rcpt, Judged::Accepted));
    let traces: Vec<Trace> = (0..20)
        .map(|number| Trace {
            source: source(1),
            exempt: false,
            listener: 0,
            opened: Tick::from_millis(1000 + number * 500),
            steps: steps.clone(),
            rest: Duration::ZERO,
        })
        .collect();
    let outcome = |delay| {
        let settings = settings(Mode::Enforce, Scope::Source, delay);
        rerun(&traces, &settings).outcome(&natures(&traces))
    };
    let (none, some, more) = (outcome(0), outcome(1000), outcome(10_000));
    assert_eq!((none.names_learnt, none.guesses_answered), (20, 160));
    assert_eq!(none.stolen, Duration::ZERO);
    // One price is paid in time: all of them wait, one after the other, and are answered.
    assert_eq!(some.names_learnt, 20);
    assert!(some.stolen > Duration::from_secs(160));
    assert!(more.names_learnt < 10 && more.guesses_answered < 80);
    assert!(more.guesses_unseen > some.guesses_unseen && more.others_deferred == 1);
    assert_eq!((more.harm, more.wanted_deferred), (Duration::ZERO, 0));
}

#[test]
fn whoever_hung_up_is_not_held_for_longer_than_it_waited() {
    let mut left = step(Deed::Rcpt, Judged::Offence(Offence::UnknownRecipient));
    left.patience = 3000;
    let traces = [Trace {
        source: source(1),
        exempt: false,
        listener: 0,
        opened: Tick::from_millis(1000),
        steps: vec![left],
        rest: Duration::ZERO,
    }];
    for (delay, held, hung_up) in [(2000, 2000, 0), (5000, 2990, 1)] {
        let settings = settings(Mode::Enforce, Scope::Session, delay);
        let effect = rerun(&traces, &settings).sources[&source(1)];
        assert_eq!(effect.held, Duration::from_millis(held));
        assert_eq!(effect.hung_up, hung_up);
    }
}

#[test]
fn a_deep_debtor_is_turned_away_at_the_door() {
    let guesses = vec![step(Deed::Rcpt, Judged::Offence(Offence::UnknownRecipient)); 4];
    let traces: Vec<Trace> = (0..8)
        .map(|number| Trace {
            source: source(1),
            exempt: false,
            listener: 0,
            opened: Tick::from_millis(1000 + number * 700),
            steps: guesses.clone(),
            rest: Duration::ZERO,
        })
        .collect();
    let mut settings = settings(Mode::Enforce, Scope::Source, 5000);
    let open = rerun(&traces, &settings).outcome(&natures(&traces));
    settings.door_debt = Duration::from_secs(20);
    let shut = rerun(&traces, &settings).outcome(&natures(&traces));
    assert_eq!(open.turned_away, 0);
    assert!(shut.turned_away > 0 && shut.others_deferred == 1);
}
