//! Every golden dialogue of `tests/dialogs`, played against the machine in virtual time.

use tarpit_testkit::{dialogs_folder, play, read_folder};

#[test]
fn golden_dialogues() {
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
