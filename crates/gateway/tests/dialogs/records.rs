//! What the gateway writes to its log, kept for the tests to look at.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::events;
pub(crate) use crate::events::Record;
use crate::time::{LATE, OFF};

static SESSIONS: Mutex<Vec<Record>> = Mutex::new(Vec::new());
static HOLDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());
/// How many, by the client's address.
static ACTS: LazyLock<Mutex<HashMap<String, usize>>> = LazyLock::new(Mutex::default);

/// Begins to keep records, for the whole process.
pub(crate) fn install() {
    events::give(take);
}

/// The record of the session whose client had this address. It is written when the session ends.
pub(crate) async fn session(client: &str) -> Option<Record> {
    let is_it = |record: &&Record| {
        let found = record.get("client");
        found.is_some_and(|address| address == client)
    };
    events::find(LATE, || {
        let sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().find(is_it).cloned()
    })
    .await
}

/// How many acts of clients with this address were judged.
pub(crate) fn acts(address: IpAddr) -> usize {
    let acts = ACTS.lock().unwrap_or_else(PoisonError::into_inner);
    acts.get(&address.to_string()).copied().unwrap_or(0)
}

/// Waits until there are more acts than `before`, for as long as that is no matter of chance. If
/// there is none, what the dialogue claims of it will be missed.
pub(crate) async fn one_more_act(address: IpAddr, before: usize) {
    events::find(OFF, || (acts(address) > before).then_some(())).await;
}

/// The holds of one session, in order.
pub(crate) fn holds(session: &str) -> Vec<Record> {
    let holds = HOLDS.lock().unwrap_or_else(PoisonError::into_inner);
    holds
        .iter()
        .filter(|record| record.get("session").is_some_and(|id| id == session))
        .cloned()
        .collect()
}

fn take(mut record: Record) {
    let list = match record.get("message").map(String::as_str) {
        Some("session") => &SESSIONS,
        Some("hold") => &HOLDS,
        Some("act") => {
            let mut acts = ACTS.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(client) = record.remove("client") {
                *acts.entry(client).or_default() += 1;
            }
            return;
        }
        _ => return,
    };
    list.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(record);
}
