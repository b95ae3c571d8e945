//! The records among all that is logged, on their way to the record file.

use std::cell::RefCell;
use std::sync::Arc;

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::json;
use crate::records::Queue;

/// The kinds of lines in the record file, as targets of the log.
const TARGETS: &[&str] = &["tarpit::act", "tarpit::hold", "tarpit::session"];

/// Takes records, and nothing else.
pub(super) struct Sink {
    queue: Arc<Queue>,
}

impl Sink {
    /// With its filter.
    pub(super) fn layer<S>(queue: Arc<Queue>) -> impl Layer<S> + Send + Sync
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let filter: FilterFn = filter_fn(is_record);
        let filter: FilterFn = filter.with_max_level_hint(LevelFilter::DEBUG);
        Self { queue }.with_filter(filter)
    }
}

/// A session that is no more than a proxy's own check is told of with a line of its own, which is
/// none of a record.
fn is_record(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && TARGETS.contains(&metadata.target())
        && metadata.fields().field("source").is_some()
}

thread_local! {
    /// A line is made here, and copied into the queue: no memory is asked for on the way of mail.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S> Layer<S> for Sink
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            // A record whose fields can't be shown is none; there is no such field.
            if json::record(line, event).is_ok() {
                self.queue.push(line.as_bytes());
            }
        });
    }
}
