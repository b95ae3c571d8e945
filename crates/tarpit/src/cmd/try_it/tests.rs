//! The parts of the race against scripted servers, and what is printed.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tarpit_core::policy::{Mode, Scope};

use super::tally::{Figures, Tally};
use super::*;
use crate::cmd::verify::scripted::{Act, say, serve};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(20);

/// A server on which one name in four exists.
fn polite(line: &str) -> Act {
    match line.split(' ').next().unwrap_or_default() {
        "" => say("220 mx.example.test"),
        "RCPT" if line.len().is_multiple_of(4) => say("250 2.1.5 Ok"),
        "RCPT" => say("550 5.1.1 No such user"),
        "DATA" => Act::Data,
        "QUIT" => Act::Leave("221 2.0.0 Bye"),
        _ => say("250 2.0.0 Ok"),
    }
}

/// Runs `work` until the figures are as wanted.
async fn until(
    tally: &Tally,
    work: impl Future<Output = ()>,
    is_enough: impl Fn(&Figures) -> bool,
) -> Figures {
    let watch = async {
        loop {
            let figures = tally.figures();
            if is_enough(&figures) {
                return figures;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let race = async {
        tokio::select! {
            figures = watch => figures,
            () = work => tally.figures(),
        }
    };
    tokio::time::timeout(LONG, race)
        .await
        .expect("the figures are not reached")
}

#[tokio::test]
async fn a_harvester_learns_who_exists_over_many_transactions() {
    let mails = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&mails);
    let server = serve(move |line, _| {
        counted.fetch_add(usize::from(line.starts_with("MAIL")), Ordering::Relaxed);
        polite(line)
    })
    .await;
    let tally = Arc::new(Tally::start(3));
    let work = harvester::harvest(server.address, LOCALHOST, 3, Arc::clone(&tally));
    let figures = until(&tally, work, |figures| figures.answered >= 1_000).await;
    assert!(
        figures.learnt > 100 && figures.learnt < figures.answered,
        "{figures:?}"
    );
    assert_eq!(
        figures.stolen,
        Duration::ZERO,
        "a quick server steals nothing"
    );
    assert!(
        mails.load(Ordering::Relaxed) >= 10,
        "100 guesses to a transaction"
    );
}

#[tokio::test]
async fn a_harvester_counts_no_temporary_refusal_and_comes_back_when_thrown_out() {
    let sessions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sessions);
    let server = serve(move |line, count| {
        counted.fetch_add(usize::from(line.is_empty()), Ordering::Relaxed);
        match (line.starts_with("RCPT"), count) {
            (true, 3) => say("450 4.7.1 Come back later"),
            (true, 4) => say("550 5.1.1 No such user"),
            (true, _) => Act::Leave("421 4.7.0 Too many errors"),
            _ => polite(line),
        }
    })
    .await;
    let tally = Arc::new(Tally::start(1));
    let work = harvester::harvest(server.address, LOCALHOST, 1, Arc::clone(&tally));
    let figures = until(&tally, work, |figures| figures.answered >= 3).await;
    let sessions = sessions.load(Ordering::Relaxed);
    assert!(
        (figures.answered, figures.learnt) == (3, 0) && sessions == 3,
        "{figures:?} {sessions}"
    );
}

#[tokio::test]
async fn a_wait_that_is_not_over_counts_as_stolen() {
    let server = serve(|line, _| match polite(line) {
        Act::Say(_, text) if line.starts_with("RCPT") => Act::Say(LONG * 5, text),
        act => act,
    })
    .await;
    let tally = Arc::new(Tally::start(4));
    let work = harvester::harvest(server.address, LOCALHOST, 4, Arc::clone(&tally));
    let figures = until(&tally, work, |figures| {
        figures.stolen >= Duration::from_millis(2_400)
    })
    .await;
    assert_eq!((figures.answered, figures.learnt), (0, 0));
    assert!(figures.stolen <= figures.span * 4, "{figures:?}");
}

#[tokio::test]
async fn wanted_mail_is_counted_once_it_is_accepted() {
    let server = serve(|line, _| {
        if line.starts_with("RCPT") {
            say("250 2.1.5 Ok")
        } else {
            polite(line)
        }
    })
    .await;
    let tally = Arc::new(Tally::start(0));
    let work = sender::send(
        server.address,
        LOCALHOST,
        "alice@example.test".to_owned(),
        Arc::clone(&tally),
    );
    let figures = until(&tally, work, |figures| figures.delivered >= 5).await;
    assert!(
        figures.failed == 0 && figures.latency.is_some_and(|latency| latency < LONG),
        "{figures:?}"
    );
}

#[tokio::test]
async fn wanted_mail_that_is_refused_has_failed() {
    let server = serve(|line, _| {
        if line.starts_with("DATA") {
            say("451 4.3.0 No")
        } else {
            polite(line)
        }
    })
    .await;
    let tally = Arc::new(Tally::start(0));
    let work = sender::send(
        server.address,
        LOCALHOST,
        "alice@example.test".to_owned(),
        Arc::clone(&tally),
    );
    let figures = until(&tally, work, |figures| figures.failed >= 3).await;
    assert_eq!((figures.delivered, figures.latency), (0, None));
}

/// The real gateway, for a second of each phase.
#[tokio::test(flavor = "multi_thread")]
async fn the_pit_slows_the_harvester_and_not_the_mail() {
    let place = Place::create(&["127.0.0.1:0".parse().unwrap()], &RECIPIENTS).unwrap();
    let base = load(&place).unwrap().gateway;
    let run = async |mode, name: &str| {
        let span = Duration::from_secs(1);
        let phase = race::Phase {
            mode,
            span,
            harvester: Ipv4Addr::new(127, 0, 66, 3).into(),
        };
        let never = std::pin::pin!(std::future::pending());
        let root = place.race().join(name);
        match race::phase(&base, root, &phase, never, |_| Ok(()))
            .await
            .unwrap()
        {
            ControlFlow::Continue(figures) => figures,
            ControlFlow::Break(()) => panic!("nobody ended it"),
        }
    };
    let off = run(Mode::Off, "off").await;
    let on = run(Mode::Enforce, "on").await;
    assert!(
        off.answered > 0 && on.answered == 0,
        "the first answer takes 5 s: {off:?} {on:?}"
    );
    assert!(
        off.stolen < on.stolen && on.stolen > on.span * 50,
        "{off:?} {on:?}"
    );
    assert!(
        off.delivered > 0 && on.delivered > 0 && off.failed + on.failed == 0,
        "{off:?} {on:?}"
    );
    place.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_that_is_ended_leaves_nothing_behind() {
    let place = Place::create(&["127.0.0.1:0".parse().unwrap()], &RECIPIENTS).unwrap();
    let base = load(&place).unwrap().gateway;
    let (has_begun, begun) = tokio::sync::oneshot::channel();
    let mut has_begun = Some(has_begun);
    let phase = race::Phase {
        mode: Mode::Enforce,
        span: LONG * 9,
        harvester: Ipv4Addr::new(127, 0, 66, 4).into(),
    };
    let end = std::pin::pin!(async { begun.await.unwrap() });
    let raced = race::phase(&base, place.race(), &phase, end, |now| {
        if now.delivered > 0
            && let Some(has_begun) = has_begun.take()
        {
            has_begun.send(()).unwrap();
        }
        Ok(())
    });
    let raced = tokio::time::timeout(LONG, raced)
        .await
        .expect("it goes on")
        .unwrap();
    assert!(raced.is_break());
    let said = place.close().unwrap();
    assert!(said.contains("is removed"), "{said}");
}

#[test]
fn guesses_differ_and_a_few_exist() {
    let guesses: HashSet<_> = (0..20_000).map(dictionary::guess).collect();
    assert_eq!(guesses.len(), 20_000);
    let existing = dictionary::existing();
    assert!(
        (15_000..25_000).contains(&existing.len()),
        "{}",
        existing.len()
    );
    assert!(existing.contains(&dictionary::wanted().into()));
    // Spread evenly from the start: a short race meets some too.
    let early = existing
        .iter()
        .filter(|name| guesses.contains(&***name))
        .count();
    assert!((80..120).contains(&early), "{early}");
}

#[test]
fn a_place_holds_a_configuration_that_is_right() {
    let listen = [
        "127.0.0.1:2525".parse().unwrap(),
        "[::1]:2525".parse().unwrap(),
    ];
    let place = Place::create(&listen, &RECIPIENTS).unwrap();
    let loaded = load(&place).unwrap_or_else(|error| panic!("{error}"));
    let policy = &loaded.gateway.listeners[1].policy;
    assert_eq!((policy.mode, policy.scope), (Mode::Enforce, Scope::Source));
    assert_eq!(policy.delay, Duration::from_secs(5));
    let tarpit_gateway::config::Delivery::Maildir(maildir) = &loaded.gateway.deliveries[0] else {
        panic!("no maildir")
    };
    assert_eq!(
        (maildir.root.as_path(), maildir.recipients.len()),
        (place.mail().as_path(), 3)
    );
    let said = place.close().unwrap();
    assert!(
        said.contains("is removed") && !place.config_file().exists(),
        "{said}"
    );
}

#[test]
fn a_place_with_mail_stays() {
    let place = Place::create(&[], &RECIPIENTS).unwrap();
    let folder = place.mail().join("alice@example.test/new");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("1.x"), "mail").unwrap();
    std::fs::create_dir_all(place.race().join("on")).unwrap();
    let said = place.close().unwrap();
    assert!(
        said.contains("stays in") && folder.join("1.x").exists() && !place.race().exists(),
        "{said}"
    );
    std::fs::remove_dir_all(place.config_file().parent().unwrap()).unwrap();
}

#[test]
fn a_busy_port_is_left_out() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    match free_addresses(port) {
        Ok(free) => assert_eq!(free, [SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)]),
        // No IPv6 here, so there is none left.
        Err(error) => assert!(error.to_string().contains("try --port"), "{error}"),
    }
}

#[test]
fn the_table_fits_a_terminal() {
    let off = Figures {
        span: Duration::from_secs(5),
        answered: 1_234_567,
        learnt: 24_691,
        stolen: Duration::ZERO,
        delivered: 100,
        failed: 0,
        latency: Some(Duration::from_micros(3_140)),
    };
    let on = Figures {
        span: Duration::from_secs(15),
        answered: 3,
        stolen: Duration::from_millis(1_499_900),
        ..Figures::default()
    };
    let expect = "                 harvester on 100 connections               wanted mail
            guesses    names   learnt a   seconds |  messages    median
           answered   learnt     minute    stolen |   through   latency
pit off   1,234,567   24,691    296,292         0 |       100    3.1 ms
pit on            3        0          0     1,499 |         0         -
";
    assert_eq!(table::text(Some(&off), Some(&on)), expect);
    assert!(expect.lines().all(|line| line.len() < 80));
    let early = table::text(
        Some(&Figures {
            failed: 2,
            ..Figures::default()
        }),
        None,
    );
    assert!(early.ends_with("2 wanted messages failed.\n"), "{early}");
    assert_eq!(
        early.lines().nth(4),
        Some("pit on            -        -          -         - |         -         -")
    );
}

#[test]
fn a_live_table_is_drawn_over_the_last_one() {
    let mut shown = Vec::new();
    let mut screen = table::Screen::to(&mut shown, true);
    screen.show("a\nb\n").unwrap();
    screen.finish("c\nd\n").unwrap();
    assert_eq!(
        String::from_utf8(shown).unwrap(),
        "a\nb\n\x1b[2A\x1b[Jc\nd\n"
    );

    let mut printed = Vec::new();
    let mut screen = table::Screen::to(&mut printed, false);
    screen.show("a\nb\n").unwrap();
    screen.finish("c\nd\n").unwrap();
    assert_eq!(String::from_utf8(printed).unwrap(), "c\nd\n");
}

#[test]
fn what_to_type_next_can_be_typed() {
    let served = ["127.0.0.1:2525".parse().unwrap()];
    let text = what_next(&served, "target/release/tarpit");
    assert!(
        text.contains(
            "\n  target/release/tarpit verify 127.0.0.1:2525 --good alice@example.test\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("\n  swaks --server 127.0.0.1:2525 --to alice@example.test\n"),
        "{text}"
    );
}
