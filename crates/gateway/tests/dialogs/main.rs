//! The golden dialogues of `tests/dialogs`, played against the real gateway over loopback.
//!
//! The machine is shown them to the millisecond in `crates/core/tests/dialogs.rs`. What is shown
//! here is that the hands do what it says: bytes in and out, waits, the upstream's words, records,
//! hang-ups. Times are scaled down and checked from below: nothing may come before it is due. From
//! above the bound is generous, since other tests run beside this one.

mod certificate;
mod client;
#[path = "../common/events.rs"]
mod events;
mod player;
mod records;
mod secure;
mod time;
mod upstream;

use player::Wrong;
use tarpit_testkit::{Dialog, dialogs_folder, read_folder};

/// Dialogues played at once. They mostly sleep; too many would make each other late.
const AT_ONCE: usize = 16;

/// Dialogues that may be late by accident.
const LATE_MAX: usize = 16;

#[test]
fn golden_dialogues() {
    records::install();
    let dialogs = read_folder(&dialogs_folder()).unwrap();
    let dialogs: Vec<_> = dialogs
        .into_iter()
        .filter(|dialog| dialog.core_only.is_none())
        // The script behind the gateway speaks no TLS.
        .filter(|dialog| !dialog.settings.door.upstream_secure)
        .collect();
    // A folder that was moved would pass without a word.
    assert!(
        dialogs.len() >= 45,
        "only {} dialogues found",
        dialogs.len()
    );
    let count = dialogs.len();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let failures = runtime.block_on(async {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        let mut playing = tokio::task::JoinSet::new();
        for dialog in dialogs {
            let places = places.clone();
            playing.spawn(async move {
                let _place = places.acquire_owned().await;
                let played = player::play(&dialog).await;
                (dialog, played)
            });
        }
        let (mut failures, mut late) = (Vec::new(), Vec::new());
        for (dialog, played) in playing.join_all().await {
            match played {
                Ok(()) => {}
                Err(Wrong::Plain(what)) => failures.push(what),
                Err(Wrong::Late(what)) => late.push((dialog, what)),
            }
        }
        // Late is what a busy machine makes: these get the stage for themselves. Many are no accident.
        if late.len() > LATE_MAX {
            failures.extend(late.drain(..).map(|(_, what)| what));
        }
        for (dialog, _) in late {
            if let Err(Wrong::Plain(what) | Wrong::Late(what)) = again(&dialog).await {
                failures.push(what);
            }
        }
        failures.sort();
        failures
    });
    assert!(
        failures.is_empty(),
        "{} of {count} dialogues fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Plays what was late up to three times more.
async fn again(dialog: &Dialog) -> Result<(), Wrong> {
    for _ in 0..2 {
        match player::play(dialog).await {
            Err(Wrong::Late(_)) => {}
            played => return played,
        }
    }
    player::play(dialog).await
}
