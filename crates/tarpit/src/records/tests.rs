use std::fs;
use std::path::Path;

use super::file::{Rotating, older};
use super::*;

fn settings(folder: &Path) -> Settings {
    Settings {
        file: folder.join("records.jsonl"),
        is_said: true,
        max_size: 1000,
        keep: 3,
        max_age: Duration::from_secs(14 * 86_400),
    }
}

fn line(time: &str, number: usize) -> String {
    format!("{{\"v\":1,\"timestamp\":\"{time}\",\"n\":{number:0>60}}}\n")
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[test]
fn all_that_is_queued_is_written_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(settings(folder.path())).unwrap();
    let queue = records.queue();
    for number in 0..5 {
        queue.push(line(&now(), number).as_bytes());
    }
    drop(records);
    let text = fs::read_to_string(folder.path().join("records.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 5);
    assert!(text.ends_with("4}\n"), "{text}");
    assert_eq!(queue.lost(), 0);
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let queue = Queue::default();
    let large = vec![b'x'; queue::WAITING_MAX - 1];
    queue.push(&large);
    queue.push(b"y\n");
    queue.push(b"\n");
    assert_eq!(queue.lost(), 1);
    let mut batch = Vec::new();
    assert!(queue.take(&mut batch, Duration::ZERO));
    assert_eq!(batch.len(), queue::WAITING_MAX);
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    // A device that is always full.
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let settings = Settings {
        file: full.to_owned(),
        ..settings(Path::new("/"))
    };
    let records = Records::open(settings).unwrap();
    let queue = records.queue();
    queue.push(b"{}\n{}\n");
    drop(records);
    assert_eq!(queue.lost(), 2);
}

#[test]
fn files_are_full_at_their_size_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let mut file = Rotating::open(settings.clone()).unwrap();
    let mut written = 0;
    let mut files = 0;
    while files < 5 {
        let before = fs::metadata(&settings.file).unwrap().len();
        file.append(line(&now(), written).as_bytes()).unwrap();
        written += 1;
        let after = fs::metadata(&settings.file).unwrap().len();
        assert!(after <= settings.max_size);
        files += usize::from(after < before);
    }
    let old = older(&settings.file).unwrap();
    assert_eq!(old.len(), settings.keep, "{old:?}");
    // The newest are those that are left, in their order.
    let mut numbers = Vec::new();
    for path in old.iter().chain([&settings.file]) {
        for line in fs::read_to_string(path).unwrap().lines() {
            let number = line.rsplit(':').next().unwrap().trim_end_matches('}');
            numbers.push(number.parse::<usize>().unwrap());
        }
    }
    assert_eq!(*numbers.last().unwrap(), written - 1);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

/// Files that are full within the same millisecond, and a clock that went back: the next name is never
/// one that a file had which is gone already.
#[test]
fn the_file_that_was_put_away_last_has_the_last_name() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let ahead = folder.path().join("records.jsonl.29990102T030405.999Z");
    let mut file = Rotating::open(settings.clone()).unwrap();
    fs::write(&ahead, line(&now(), 0)).unwrap();
    // Of a length that lets one line fill a file.
    let long = format!("{{\"timestamp\":\"{}\",\"n\":{:0>900}}}\n", now(), 0);
    for turns in 1..=10_i64 {
        file.append(long.as_bytes()).unwrap();
        let old = older(&settings.file).unwrap();
        let moment: jiff::Timestamp = "2999-01-02T03:04:05.999Z".parse().unwrap();
        let moment = moment + jiff::SignedDuration::from_millis(turns - 1);
        let last = folder.path().join(format!(
            "records.jsonl.{}",
            moment.strftime("%Y%m%dT%H%M%S.%3fZ")
        ));
        assert_eq!(old.last(), Some(&last), "after {turns} turns");
    }
}

#[test]
fn no_line_is_kept_for_longer_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let name = |stamp: &str| folder.path().join(format!("records.jsonl.{stamp}"));
    let (old, young) = (name("20200102T030405.678Z"), name("20200103T030405.678Z"));
    fs::write(&old, line("2020-01-01T00:00:00.5Z", 0)).unwrap();
    fs::write(&young, line(&now(), 0)).unwrap();
    // Names that are not ours stay, whatever is in them.
    let other = name("bak");
    fs::write(&other, line("2020-01-01T00:00:00.5Z", 0)).unwrap();
    drop(Rotating::open(settings).unwrap());
    assert_eq!(
        (old.exists(), young.exists(), other.exists()),
        (false, true, true)
    );
}

/// What a rush brings at once is more than a file takes.
#[test]
fn a_batch_goes_into_as_many_files_as_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.keep = 100;
    let mut file = Rotating::open(settings.clone()).unwrap();
    let lines: Vec<String> = (0..50).map(|number| line(&now(), number)).collect();
    let long = "x".repeat(3000) + "\n";
    let batch = lines.concat() + &long + &lines[0];
    file.append(batch.as_bytes()).unwrap();
    let mut files = older(&settings.file).unwrap();
    files.push(settings.file);
    let texts: Vec<String> = files
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(texts.concat(), batch);
    let too_large: Vec<&String> = texts.iter().filter(|text| text.len() > 1000).collect();
    assert_eq!(too_large, [&long]);
}

/// A gateway without mail has an age limit too.
#[test]
fn what_is_old_goes_though_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.max_age = Duration::ZERO;
    let mut file = Rotating::open(settings.clone()).unwrap();
    let old = folder.path().join("records.jsonl.20200102T030405.678Z");
    fs::write(&old, line("2020-01-01T00:00:00.5Z", 0)).unwrap();
    file.tend().unwrap();
    assert!(!old.exists());
    settings.max_age = Duration::from_secs(14 * 86_400);
    let yesterday = jiff::Timestamp::now() - Duration::from_secs(90_000);
    fs::write(&settings.file, line(&yesterday.to_string(), 0)).unwrap();
    let mut file = Rotating::open(settings.clone()).unwrap();
    file.tend().unwrap();
    assert_eq!(older(&settings.file).unwrap().len(), 1);
    assert_eq!(fs::metadata(&settings.file).unwrap().len(), 0);
}

#[test]
fn a_file_whose_first_line_was_cut_is_as_old_as_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let name = |stamp: &str| folder.path().join(format!("records.jsonl.{stamp}"));
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S.000Z");
    let (old, young) = (name("20200102T030405.678Z"), name(&now.to_string()));
    for path in [&old, &young] {
        fs::write(path, "{\"v\":1,\"timest").unwrap();
    }
    drop(Rotating::open(settings(folder.path())).unwrap());
    assert_eq!((old.exists(), young.exists()), (false, true));
}

/// Whoever may read the file may lock it.
#[test]
fn somebody_who_locks_the_file_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let mut file = Rotating::open(settings.clone()).unwrap();
    let text = "x".repeat(600) + "\n";
    file.append(text.as_bytes()).unwrap();
    let locked = fs::File::open(&settings.file).unwrap();
    locked.lock_shared().unwrap();
    let (done, is_done) = channel();
    let more = text.clone();
    std::thread::spawn(move || {
        file.append(more.as_bytes()).unwrap();
        done.send(file).unwrap();
    });
    let mut file = is_done
        .recv_timeout(Duration::from_secs(20))
        .expect("it waits for the lock");
    assert_eq!(
        fs::read_to_string(&settings.file).unwrap().lines().count(),
        2
    );
    // Nor does it grow for ever.
    for _ in 0..3 {
        file.append(text.as_bytes()).unwrap();
    }
    let text = fs::read_to_string(&settings.file).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(older(&settings.file).unwrap().len(), 1);
}

/// Nor does it grow old.
#[test]
fn somebody_who_locks_the_file_keeps_no_old_line() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    for (hours, files) in [(25, 0), (49, 1)] {
        let began = jiff::Timestamp::now() - Duration::from_secs(hours * 3600);
        fs::write(&settings.file, line(&began.to_string(), 0)).unwrap();
        let mut file = Rotating::open(settings.clone()).unwrap();
        let locked = fs::File::open(&settings.file).unwrap();
        locked.lock_shared().unwrap();
        file.tend().unwrap();
        assert_eq!(older(&settings.file).unwrap().len(), files, "{hours} h");
    }
}

#[test]
fn a_file_spans_a_day_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let yesterday = jiff::Timestamp::now() - Duration::from_secs(90_000);
    fs::write(&settings.file, line(&yesterday.to_string(), 0)).unwrap();
    let mut file = Rotating::open(settings.clone()).unwrap();
    file.append(line(&now(), 1).as_bytes()).unwrap();
    assert_eq!(older(&settings.file).unwrap().len(), 1);
    assert_eq!(
        fs::read_to_string(&settings.file).unwrap().lines().count(),
        1
    );
}

#[test]
fn two_processes_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let mut first = Rotating::open(settings.clone()).unwrap();
    let mut second = Rotating::open(settings.clone()).unwrap();
    let text = "x".repeat(600) + "\n";
    first.append(text.as_bytes()).unwrap();
    first.append(text.as_bytes()).unwrap();
    assert_eq!(older(&settings.file).unwrap().len(), 1);
    // It goes on in the new file, though its own was renamed.
    second.append(b"last\n").unwrap();
    let text = fs::read_to_string(&settings.file).unwrap();
    assert!(text.ends_with("x\nlast\n"), "{text}");
}

#[test]
fn a_line_that_was_cut_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    fs::write(&settings.file, "{\"v\":1,\"time").unwrap();
    let mut file = Rotating::open(settings.clone()).unwrap();
    file.append(b"{}\n").unwrap();
    assert_eq!(
        fs::read_to_string(&settings.file).unwrap(),
        "{\"v\":1,\"time\n{}\n"
    );
}
