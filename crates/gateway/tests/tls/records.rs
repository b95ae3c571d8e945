//! The records of sessions, kept for the tests to look at.

use std::net::SocketAddr;
use std::sync::{Mutex, Once, PoisonError};

use crate::events::{self, Record};
use crate::stage::LATE;

static SESSIONS: Mutex<Vec<Record>> = Mutex::new(Vec::new());

/// Begins to keep records, for the whole process.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| events::give(take));
}

/// The record of the session whose client had this address and came by one of these listeners.
/// The system gives a port again, and tests run side by side: without the listener, the record of
/// another test's client is found while this one's is not written yet.
pub(crate) async fn session(client: SocketAddr, listeners: &[&str]) -> Record {
    let client = client.to_string();
    let is_it = |record: &Record| {
        let listener = record.get("listener").map_or("", String::as_str);
        record.get("client") == Some(&client) && listeners.contains(&listener)
    };
    let found = events::find(LATE, || {
        let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sessions.iter().rposition(is_it)?;
        // Taken out: the system gives a port again, and that client's record is another.
        Some(sessions.swap_remove(at))
    });
    found.await.expect("a record is written")
}

fn take(record: Record) {
    if record
        .get("message")
        .is_some_and(|message| message == "session")
    {
        let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.push(record);
    }
}
