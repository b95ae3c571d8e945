//! `[records]`

use std::path::PathBuf;

use super::super::Records;
use super::super::effective::Origin;
use super::super::options;
use super::super::read::quote;
use super::super::reader::Reader;
use crate::records::Settings;

/// Reads it.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Records> {
    let view = reader.single("records");
    let is_said = Reader::is_said(&view, "file");
    let said = reader.path_or_off(&view, "file");
    let max_size = reader.count(&view, "max_size");
    let keep = reader.count(&view, "keep");
    let max_age = reader.time(&view, "max_age");
    let file = if is_said { said? } else { own_place() };
    if let Some(file) = file.as_ref().filter(|_| !is_said)
        && let Some(option) = options::section("records").option("file")
    {
        let origin = Origin::Elsewhere("STATE_DIRECTORY");
        reader.hold(&view, option, quote(&file.display().to_string()), origin);
    }
    let (max_size, keep, max_age) = (max_size?, keep?, max_age?);
    let is_off = is_said && file.is_none();
    let settings = file.map(|file| Settings {
        file,
        is_said,
        max_size,
        keep,
        max_age,
    });
    Some(Records {
        settings,
        is_off,
        max_age,
    })
}

/// Where the service manager lets a service keep what outlives it. It may name several folders.
fn own_place() -> Option<PathBuf> {
    let list = std::env::var("STATE_DIRECTORY").ok()?;
    let first = list.split(':').next().filter(|first| !first.is_empty())?;
    Some(PathBuf::from(first).join("records.jsonl"))
}
