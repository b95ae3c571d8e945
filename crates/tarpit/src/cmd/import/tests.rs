//! Files of real servers and what comes of them: `tests/import/SERVER/CASE/` has the files, and
//! `expected.toml` what is printed.
//!
//! After a meant change: `TARPIT_BLESS=1 cargo test -p tarpit import`, then read the difference.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::config::parse;

/// Which file of a case is given on the command line, the first that is there.
const GIVEN: &[&str] = &[
    "main.cf",
    "update-exim4.conf.conf",
    "exim.conf",
    "sendmail.mc",
    "sendmail.cf",
    "connectors.txt",
    "smtp.reg",
];

/// Every case: whose it is, and the file.
fn cases() -> Vec<(From, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let servers = [
        (From::Postfix, "postfix"),
        (From::Exim, "exim"),
        (From::Sendmail, "sendmail"),
        (From::Exchange, "exchange"),
    ];
    let mut list = Vec::new();
    for (from, name) in servers {
        let before = list.len();
        for case in fs::read_dir(root.join(name)).unwrap() {
            let folder = case.unwrap().path();
            let given = GIVEN
                .iter()
                .map(|name| folder.join(name))
                .find(|file| file.is_file());
            list.push((
                from,
                given.unwrap_or_else(|| panic!("{}", folder.display())),
            ));
        }
        assert!(list.len() > before + 1, "{name}");
    }
    list.sort_by(|(_, one), (_, other)| one.cmp(other));
    list
}

/// What is printed where no certificate can be read.
fn printed(from: From, file: &Path) -> anyhow::Result<String> {
    Ok(draft(from, file)?.print_with(|_| false))
}

/// What our own reader makes of it; a name for a machine that has none is put in.
#[track_caller]
fn takes(text: &str, about: &Path) {
    let text = text.replace("\n# hostname = ", "\nhostname = ");
    let loaded = parse(Path::new("printed.toml"), &text)
        .unwrap_or_else(|findings| panic!("{}:\n{findings}\n{text}", about.display()));
    for listener in &loaded.gateway.listeners {
        let mode = listener.policy.mode;
        assert_eq!(
            mode,
            tarpit_core::policy::Mode::Observe,
            "{}",
            about.display()
        );
    }
}

#[test]
fn what_is_printed() {
    let mut differing = String::new();
    for (from, file) in cases() {
        let text = printed(from, &file).unwrap();
        takes(&text, &file);
        let expected = file.with_file_name("expected.toml");
        if std::env::var_os("TARPIT_BLESS").is_some() {
            fs::write(&expected, &text).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            differing.push_str(&format!("{}, found:\n{text}\n", expected.display()));
        }
    }
    assert!(differing.is_empty(), "{differing}");
}

/// docs/coming-from.md shows some of them whole, each behind a comment that names its case.
#[test]
fn the_page_shows_what_is_printed() {
    const MARK: &str = "<!-- tests/import/";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("../../docs/coming-from.md");
    let found = fs::read_to_string(&file).unwrap();
    let mut page = String::new();
    let mut lines = found.lines();
    let mut shown = 0;
    while let Some(line) = lines.next() {
        page.push_str(line);
        page.push('\n');
        let Some(case) = line
            .strip_prefix(MARK)
            .and_then(|rest| rest.strip_suffix(" -->"))
        else {
            continue;
        };
        let case = root.join("tests/import").join(case);
        let (from, given) = cases()
            .into_iter()
            .find(|(_, given)| given.starts_with(&case))
            .unwrap();
        assert_eq!(lines.next(), Some("```toml"));
        assert!(lines.any(|line| line == "```"));
        page.push_str(&format!("```toml\n{}```\n", printed(from, &given).unwrap()));
        shown += 1;
    }
    assert_eq!(shown, 3);
    if std::env::var_os("TARPIT_BLESS").is_some() {
        fs::write(&file, &page).unwrap();
    } else {
        assert!(
            page == found,
            "needed: TARPIT_BLESS=1 cargo test -p tarpit import"
        );
    }
}

/// Copies a folder with what is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Whatever is in a file: either it is an error that names the file, or our reader takes what is
/// printed.
#[test]
fn files_that_are_cut_or_changed() {
    const STRANGE: [&[u8]; 11] = [
        b"", b"\n", b"\"", b"=", b"$(", b"{", b"\xFF\n", b"\x1B[2J", b"`", b"\\", b"!*;^@ ",
    ];
    for (from, file) in cases() {
        let folder = tempfile::tempdir().unwrap();
        copy(file.parent().unwrap(), folder.path());
        let whole = fs::read(&file).unwrap();
        let name = file.file_name().unwrap();
        let changed = folder.path().join(name);
        let step = (whole.len() / 90).max(1);
        for (turn, at) in (0..whole.len()).step_by(step).enumerate() {
            let (before, behind) = whole.split_at(at);
            let put_in = [before, STRANGE[turn % STRANGE.len()], behind].concat();
            for octets in [put_in, before.to_vec()] {
                fs::write(&changed, &octets).unwrap();
                match printed(from, &changed) {
                    Ok(text) => takes(&text, &file),
                    Err(error) => assert!(
                        error.to_string().contains(name.to_str().unwrap()),
                        "{error}"
                    ),
                }
            }
        }
    }
}

/// A certificate that can be read is in use, and so is TLS.
#[test]
fn certificates_that_are_there() {
    let pem = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/configs/mx1.example.org.pem"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("main.cf");
    let text = format!(
        "myhostname = mx1.example.org\nsmtpd_tls_security_level = may\nsmtpd_tls_cert_file = {pem}\n\
         smtpd_tls_key_file = $smtpd_tls_cert_file\n"
    );
    fs::write(&file, text).unwrap();
    let text = draft(From::Postfix, &file).unwrap().print();
    let loaded = parse(Path::new("printed.toml"), &text).unwrap();
    assert_eq!(loaded.gateway.certificates.len(), 1, "{text}");
    assert_eq!(
        loaded.gateway.listeners[0].tls,
        tarpit_gateway::config::ListenerTls::StartTls
    );
}

/// A file can't put a setting of its own into what is printed.
#[test]
fn nothing_is_put_in_by_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connectors.txt");
    let text = "Name : x\"\u{2028}\r[tarpit]\rmode = \"enforce\"\nTarpitInterval : 00:00:05\nBindings : {0.0.0.0:25}\n\n\
                Name : y\\\" \u{202E} \u{1b}]0;z\nTarpitInterval : 00:00:00\nBindings : {0.0.0.0:25}\nRemoteIPRanges : {10.0.0.0/8}\n";
    fs::write(&file, text).unwrap();
    let text = printed(From::Exchange, &file).unwrap();
    takes(&text, &file);
    assert!(!text.contains(['\r', '\u{1b}', '\u{202E}']), "{text:?}");
}

/// Sixty lists in a list, and so on, with nothing in the last.
#[test]
fn lists_of_lists_of_nothing_have_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exim.conf");
    let level = |number: usize| {
        let next = format!("+l{}", number + 1);
        format!("hostlist l{number} = {}\n", vec![next; 60].join(" : "))
    };
    let levels: String = (0..6).map(level).collect();
    fs::write(
        &file,
        format!("{levels}hostlist l6 =\nhostlist relay_from_hosts = +l0\n"),
    )
    .unwrap();
    takes(&printed(From::Exim, &file).unwrap(), &file);
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let missing = draft(From::Postfix, &folder.path().join("main.cf")).unwrap_err();
    assert!(
        missing.to_string().contains("main.cf: can't be read"),
        "{missing}"
    );
    let is_folder = draft(From::Postfix, folder.path()).unwrap_err();
    assert!(is_folder.to_string().contains("is no file"), "{is_folder}");
    let file = folder.path().join("main.cf");
    fs::write(&file, b"a = 1\n\0").unwrap();
    let binary = draft(From::Postfix, &file).unwrap_err();
    assert!(
        binary.to_string().contains("main.cf:2: holds a NUL"),
        "{binary}"
    );
    fs::File::create(&file).unwrap().set_len(17 << 20).unwrap();
    let large = draft(From::Postfix, &file).unwrap_err();
    assert!(large.to_string().contains("4 MiB"), "{large}");
}

#[test]
fn the_tables_are_sound() {
    for table in [
        postfix::TABLE,
        exim::TABLE,
        sendmail::TABLE,
        exchange::TABLE,
    ] {
        assert!(table.len() > 20);
        assert_eq!(table::mistakes(table), Vec::<String>::new());
    }
}
