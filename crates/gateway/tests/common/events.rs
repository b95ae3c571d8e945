//! What the gateway writes to its log, for tests that look at it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::span;

/// One event: its fields by name, as text.
pub(crate) type Record = HashMap<&'static str, String>;

/// One was taken.
static WRITTEN: Notify = Notify::const_new();

/// Gives every event of the gateway to `take`, for the whole process.
pub(crate) fn give(take: fn(Record)) {
    tracing::subscriber::set_global_default(Giver(take)).unwrap();
}

/// Looks again after each event until something is found; `None` if that takes too long.
pub(crate) async fn find<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let found = async {
        loop {
            // Before the look: what is written in between is not missed.
            let written = WRITTEN.notified();
            if let Some(found) = look() {
                return found;
            }
            written.await;
        }
    };
    tokio::time::timeout(limit, found).await.ok()
}

struct Giver(fn(Record));

impl tracing::Subscriber for Giver {
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
        (self.0)(fields.0);
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
