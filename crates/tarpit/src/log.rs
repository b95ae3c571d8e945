//! Where records go: standard error, one line each, for people or as JSON, with RFC 3339 times in
//! UTC; no colours off a terminal. And the record file, if there is one.
//!
//! The filter of the log comes from the variable `TARPIT_LOG` (`warn`, `info,tarpit_gateway=debug`,
//! ...) rather than from the file, so that one start can be watched closely without an edit. The
//! record file has all records whatever the filter says: else a quiet log would falsify a report.

mod json;
mod sink;

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use crate::records::Records;
use sink::Sink;

/// How a record looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: time, level, target, message, `key=value`.
    Human,
    /// For programs: one JSON object a line.
    Json,
}

/// The environment variable with the filter.
const FILTER_VARIABLE: &str = "TARPIT_LOG";

/// Records of what happens. For a gateway that serves.
pub(crate) const USUAL: &str = "info";

/// Warnings only, where the terminal is used for something else.
pub(crate) const QUIET: &str = "warn";

/// Starts logging for the whole process. `usual` is the filter where `TARPIT_LOG` is not set.
///
/// # Errors
///
/// `TARPIT_LOG` is not a filter, or logging was started before.
pub(crate) fn start(format: Format, usual: &str, records: Option<&Records>) -> anyhow::Result<()> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).with_context(|| {
            format!("{FILTER_VARIABLE}: found {text:?}; allowed: a level or target=level, separated by commas")
        })?,
        _ => EnvFilter::new(usual),
    };
    // https://no-color.org: set and not empty.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal() && !no_color)
        .with_writer(io::stderr);
    let log = match format {
        Format::Human => log.with_filter(filter).boxed(),
        Format::Json => log.event_format(json::Json).with_filter(filter).boxed(),
    };
    let mut layers: Vec<Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>> = vec![log];
    if let Some(records) = records {
        layers.push(Sink::layer(records.queue()).boxed());
    }
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|error| anyhow::anyhow!("can't start logging: {error}"))
}
