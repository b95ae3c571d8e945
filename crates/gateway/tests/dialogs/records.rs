//! What the gateway writes to its log, kept for the tests to look at.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::span;

use crate::time::LATE;

/// One event: its fields by name, as text.
pub(crate) type Record = HashMap<&'static str, String>;

static SESSIONS: Mutex<Vec<Record>> = Mutex::new(Vec::new());
static HOLDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());
/// A record was.
static WRITTEN: Notify = Notify::const_new();

/// Begins to keep records, for the whole process.
pub(crate) fn install() {
    tracing::subscriber::set_global_default(Keeper).unwrap();
}

/// The record of the session whose client had this address. It is written when the session ends.
pub(crate) async fn session(client: &str) -> Option<Record> {
    let find = || {
        let sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        sessions
            .iter()
            .find(|record| {
                record
                    .get("client")
                    .is_some_and(|address| address == client)
            })
            .cloned()
    };
    let found = async {
        loop {
            // Before the look: a record that is written in between is not missed.
            let written = WRITTEN.notified();
            if let Some(record) = find() {
                return record;
            }
            written.await;
        }
    };
    tokio::time::timeout(LATE, found).await.ok()
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

struct Keeper;

impl tracing::Subscriber for Keeper {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("tarpit::")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(Record::new());
        event.record(&mut fields);
        let list = match fields.0.get("message").map(String::as_str) {
            Some("session") => &SESSIONS,
            Some("hold") => &HOLDS,
            _ => return,
        };
        list.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fields.0);
        WRITTEN.notify_waiters();
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields(Record);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}
