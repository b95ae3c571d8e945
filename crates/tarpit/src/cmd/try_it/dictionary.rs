//! What the harvester guesses: given names and surnames, then the same with numbers. One in 200
//! exists, so that a harvester without a pit learns a good deal and still needs many guesses.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The domain of the race.
const DOMAIN: &str = "example.test";

/// Several times what 100 connections ask for in a phase without a pit, so no name comes twice.
const GUESSES: usize = 4_000_000;

/// Of how many guesses one exists, on average.
const ONE_IN: usize = 200;

const GIVEN: [&str; 40] = [
    "anna", "ben", "carla", "david", "emma", "felix", "greta", "henry", "ida", "jonas", "karin",
    "leo", "maria", "nils", "olga", "paul", "rita", "simon", "tina", "ulf", "vera", "walter",
    "yuki", "zoe", "akira", "bruno", "chen", "dina", "erik", "fatima", "george", "hana", "ivan",
    "julia", "kofi", "lena", "mehmet", "nora", "omar", "priya",
];

const SURNAMES: [&str; 40] = [
    "smith",
    "mueller",
    "garcia",
    "rossi",
    "novak",
    "jensen",
    "kowalski",
    "dubois",
    "silva",
    "tanaka",
    "kim",
    "wang",
    "singh",
    "ivanov",
    "papadopoulos",
    "nagy",
    "yilmaz",
    "haddad",
    "okafor",
    "mensah",
    "jones",
    "brown",
    "meyer",
    "lopez",
    "ferrari",
    "svoboda",
    "hansen",
    "lewandowski",
    "martin",
    "santos",
    "sato",
    "lee",
    "zhang",
    "kumar",
    "petrov",
    "georgiou",
    "toth",
    "demir",
    "khoury",
    "adeyemi",
];

/// The guess with this number.
pub(super) fn guess(number: usize) -> String {
    let given = GIVEN[number % GIVEN.len()];
    let surname = SURNAMES[number / GIVEN.len() % SURNAMES.len()];
    match number / (GIVEN.len() * SURNAMES.len()) {
        0 => format!("{given}.{surname}@{DOMAIN}"),
        round => format!("{given}.{surname}{round}@{DOMAIN}"),
    }
}

/// Whether it exists: spread evenly, and the same in each race (Knuth's multiplicative hash).
fn exists(number: usize) -> bool {
    // From one on: the hash of 0 is 0, and the first guess of all would always be right.
    ((number + 1).wrapping_mul(2_654_435_761) >> 8).is_multiple_of(ONE_IN)
}

/// All that exist, for the gateway's configuration.
pub(super) fn existing() -> Vec<Box<str>> {
    (0..GUESSES)
        .filter(|&number| exists(number))
        .map(|number| guess(number).into())
        .collect()
}

/// Who of them gets the wanted mail.
pub(super) fn wanted() -> String {
    let first = (0..GUESSES).find(|&number| exists(number));
    guess(first.unwrap_or(0))
}

/// Hands out guesses to all connections, each once.
#[derive(Debug, Default)]
pub(super) struct Cursor(AtomicUsize);

impl Cursor {
    /// The next; `None` when all were made.
    pub(super) fn next(&self) -> Option<String> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        (number < GUESSES).then(|| guess(number))
    }
}
