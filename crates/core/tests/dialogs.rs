//! Every golden dialogue of `tests/dialogs`, played against the machine in virtual time.

use tarpit_testkit::{Dialog, Failure, dialogs_folder, play, play_frozen, read_folder};

#[test]
fn golden_dialogues() {
    all_hold(play);
}

/// What a session says, asks and is charged is the same if another process keeps it between its
/// commands and in its holds.
#[test]
fn golden_dialogues_frozen_at_each_rest() {
    all_hold(play_frozen);
}

#[track_caller]
fn all_hold(play: fn(&Dialog) -> Result<(), Failure>) {
    let dialogs = read_folder(&dialogs_folder()).unwrap();
    // A folder that was moved would pass without a word.
    assert!(
        dialogs.len() >= 45,
        "only {} dialogues found",
        dialogs.len()
    );
    let failures: Vec<String> = dialogs
        .iter()
        .filter_map(|dialog| play(dialog).err())
        .map(|failure| failure.to_string())
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} dialogues fail:\n{}",
        failures.len(),
        dialogs.len(),
        failures.join("\n")
    );
}
