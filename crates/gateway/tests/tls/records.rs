//! The records of sessions, kept for the tests to look at.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, Once, PoisonError};

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::span;

/// One session: its fields by name, as text.
pub(crate) type Record = HashMap<&'static str, String>;

static SESSIONS: Mutex<Vec<Record>> = Mutex::new(Vec::new());
/// A record was.
static WRITTEN: Notify = Notify::const_new();

/// Begins to keep records, for the whole process.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Keeper).unwrap());
}

/// The record of the session whose client had this address. It is written when the session ends.
pub(crate) async fn session(client: SocketAddr) -> Record {
    let client = client.to_string();
    let is_it = |record: &Record| record.get("client") == Some(&client);
    // Taken out: the system gives a port again, and that client's record is another.
    let take = || {
        let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sessions.iter().rposition(is_it)?;
        Some(sessions.swap_remove(at))
    };
    let taken = async {
        loop {
            // Before the look: a record that is written in between is not missed.
            let written = WRITTEN.notified();
            if let Some(record) = take() {
                return record;
            }
            written.await;
        }
    };
    tokio::time::timeout(super::stage::LATE, taken)
        .await
        .expect("a record is written")
}

struct Keeper;

impl tracing::Subscriber for Keeper {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "tarpit::session"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(Record::new());
        event.record(&mut fields);
        let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.push(fields.0);
        drop(sessions);
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
