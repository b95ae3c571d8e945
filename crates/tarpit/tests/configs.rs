//! Configuration files and what `tarpit check` says to them: `configs/bad/NAME.toml` must be
//! refused with exactly the findings in `NAME.txt`, `configs/good/NAME.toml` must be taken with
//! exactly the values and warnings in `NAME.txt`.
//!
//! After a meant change: `TARPIT_BLESS=1 cargo test -p tarpit`, then read the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn tarpit(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarpit"));
    command
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Compares with what stands in `file`; writes it instead, if that is asked for.
fn compare(file: &Path, text: &str, differing: &mut Vec<String>) {
    if std::env::var_os("TARPIT_BLESS").is_some() {
        fs::write(file, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if expected != text {
        differing.push(format!(
            "{}:\n--- expected\n{expected}--- found\n{text}",
            file.display()
        ));
    }
}

/// Checks each file of `tests/configs/KIND` and compares one stream of what is printed.
fn check_all(kind: &str, code: i32, stream: impl Fn(&Output) -> &[u8]) {
    let folder = root().join("tests/configs").join(kind);
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    assert!(names.len() > 4, "{names:?}");
    let mut differing = Vec::new();
    for name in names {
        let output = tarpit(&["check", "--no-probe", "--config", &name], &folder);
        let text = String::from_utf8(stream(&output).to_vec()).unwrap();
        if output.status.code() != Some(code) {
            differing.push(format!(
                "{name}: exit {:?} in place of {code}:\n{text}",
                output.status.code()
            ));
        }
        compare(
            &folder.join(&name).with_extension("txt"),
            &text,
            &mut differing,
        );
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn bad_files_are_refused_with_every_finding() {
    check_all("bad", 78, |output| &output.stderr);
}

#[test]
fn good_files_are_taken() {
    check_all("good", 0, |output| &output.stdout);
}

#[test]
fn the_committed_pages_are_those_of_the_table() {
    let docs = root().join("../../docs");
    let mut differing = Vec::new();
    for (page, file) in [("sample", "tarpit.toml"), ("reference", "configuration.md")] {
        let output = tarpit(&["generate", page], &root());
        assert!(output.status.success());
        compare(
            &docs.join(file),
            &String::from_utf8(output.stdout).unwrap(),
            &mut differing,
        );
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn the_committed_sample_is_a_good_file() {
    let docs = root().join("../../docs");
    let output = tarpit(&["check", "--no-probe", "--config", "tarpit.toml"], &docs);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Every key that the sample has commented out can be put in use as it stands there, but for those
/// that exclude each other.
#[test]
fn the_defaults_in_the_sample_are_good_values() {
    let sample = fs::read_to_string(root().join("../../docs/tarpit.toml")).unwrap();
    let excluded = [
        "#root",
        "#recipients =",
        "#size_max",
        "#[maildir]",
        "#file",
        "#[[exempt]]",
        "#network",
        "#reason",
        "#until",
    ];
    let used: String = sample
        .lines()
        .filter(|line| !excluded.iter().any(|start| line.starts_with(start)))
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    // Files that are there on every machine, and TLS that has a use for tls_name.
    let pem = root().join("tests/configs/mx1.example.org.pem");
    let used = [
        "/etc/letsencrypt/live/mx1.example.org/fullchain.pem",
        "/etc/letsencrypt/live/mx1.example.org/privkey.pem",
        "/etc/ssl/certs/ca-certificates.crt",
        // Its first line would do as a token.
        "/etc/tarpit/token",
    ]
    .iter()
    .fold(used, |text, file| text.replace(file, pem.to_str().unwrap()))
    .replace("tls = \"off\"", "tls = \"required\"");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("used.toml"), used).unwrap();
    let output = tarpit(
        &["check", "--no-probe", "--config", "used.toml"],
        folder.path(),
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(!stdout.contains("# default"), "{stdout}");
}

#[test]
fn a_file_that_is_not_there_is_bad_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["check", "run"] {
        let output = tarpit(&[command, "--config", "none.toml"], folder.path());
        assert_eq!(output.status.code(), Some(78));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with("none.toml: can't be read: "), "{stderr}");
    }
}

#[test]
fn bad_usage_is_told_apart_from_bad_configuration() {
    let output = tarpit(&["run"], &root());
    assert_eq!(output.status.code(), Some(2));
}
