//! What the system says about this process. Everything is a read of a file of `/proc` or a call
//! that does not wait; what the system does not say is left out.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::ProcessFigures;

/// Directory entries that are counted at most where the kernel does not tell the number: a process
/// with a million sockets must not be slowed by who counts them.
const COUNTED_MAX: usize = 4096;

pub(super) fn read(started: u64) -> ProcessFigures {
    let status = fs::read_to_string("/proc/self/stat").ok();
    let fields = status.as_deref().and_then(Fields::of);
    let field = |number| fields.as_ref().and_then(|fields| fields.get(number));
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks of a hundredth of a second stay exact for millions of years"
    )]
    let cpu = field(14)
        .zip(field(15))
        .map(|(user, system)| (user + system) as f64 / clock_ticks_per_second().max(1) as f64);
    ProcessFigures {
        started,
        cpu_seconds: cpu,
        virtual_octets: field(23),
        resident_octets: field(24).map(|pages| pages * page_size() as u64),
        open_files: open_files(),
        max_files: getrlimit(Resource::Nofile).current,
    }
}

/// Linux 6.2 and later tell the number as the size of the folder.
fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    let size = fs::metadata(folder).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    let count = fs::read_dir(folder).ok()?.take(COUNTED_MAX).count();
    (count < COUNTED_MAX).then_some(count as u64)
}

/// The fields of `/proc/self/stat`, numbered as proc(5) does.
struct Fields<'a>(Vec<&'a str>);

impl<'a> Fields<'a> {
    /// The second field is a name in parentheses, in which anything may stand.
    fn of(line: &'a str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        Some(Self(rest.split_whitespace().collect()))
    }

    fn get(&self, number: usize) -> Option<u64> {
        self.0.get(number.checked_sub(3)?)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_parentheses_and_spaces() {
        let fields = Fields::of("42 (a) 9 (b) R 1 2 3").unwrap();
        assert_eq!(
            (fields.get(3), fields.get(4), fields.get(6)),
            (None, Some(1), Some(3))
        );
        assert_eq!(fields.get(7), None);
    }

    #[test]
    fn this_process_has_files_and_memory() {
        let before = read(0);
        let held: Vec<_> = (0..50)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        let after = read(0);
        assert!(after.open_files.unwrap() >= held.len() as u64, "{after:?}");
        assert!(
            after
                .max_files
                .is_none_or(|max| max > after.open_files.unwrap())
        );
        assert!(before.resident_octets.unwrap() > 100_000, "{before:?}");
        assert!(before.virtual_octets > before.resident_octets);
    }
}
