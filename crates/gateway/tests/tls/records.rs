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

/// The record of the session whose client had this address. It is written when the session ends.
pub(crate) async fn session(client: SocketAddr) -> Record {
    let client = client.to_string();
    let is_it = |record: &Record| record.get("client") == Some(&client);
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
