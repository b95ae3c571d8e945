//! `tarpit import` and `tarpit audit` as they are called: what they print where, and how they end.

use std::path::Path;
use std::process::{Command, Output};

fn tarpit(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tarpit"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// From another server's file to a verdict: what is printed can be checked, and is a finding until it
/// is enforced.
#[test]
fn from_connectors_to_a_pass() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let connectors = "Name : Default\nFqdn : mx.example.org\nBindings : {192.0.2.7:25}\nTarpitInterval : 00:00:05\n";
    std::fs::write(folder.join("connectors.txt"), connectors).unwrap();
    let imported = tarpit(&["import", "exchange", "connectors.txt"], folder);
    assert_eq!(
        (imported.status.code(), err(&imported).as_str()),
        (Some(0), "")
    );
    std::fs::write(folder.join("tarpit.toml"), out(&imported)).unwrap();

    let checked = tarpit(&["check", "--no-probe", "--config", "tarpit.toml"], folder);
    assert_eq!(checked.status.code(), Some(0), "{}", err(&checked));

    let audit = ["audit", "stig", "--config", "tarpit.toml"];
    let finding = tarpit(&audit, folder);
    assert_eq!(finding.status.code(), Some(1));
    assert!(
        out(&finding).contains("FINDING  mx  [::]:2525  mode observe"),
        "{}",
        out(&finding)
    );

    let enforced = out(&imported).replace("mode = \"observe\"\n", "mode = \"enforce\"\n");
    std::fs::write(folder.join("tarpit.toml"), enforced).unwrap();
    let pass = tarpit(&audit, folder);
    assert_eq!(pass.status.code(), Some(0), "{}", out(&pass));
    let json = tarpit(
        &["audit", "stig", "--json", "--config", "tarpit.toml"],
        folder,
    );
    assert_eq!(json.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(json["pass"], true);
    assert_eq!(json["rule"], "EX19-ED-000135");
}

#[test]
fn what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let missing = tarpit(&["audit", "stig", "--config", "tarpit.toml"], folder);
    assert_eq!(
        (missing.status.code(), out(&missing).as_str()),
        (Some(2), "")
    );
    assert!(
        err(&missing).contains("tarpit.toml: can't be read"),
        "{}",
        err(&missing)
    );

    std::fs::write(
        folder.join("main.cf"),
        "myhostname = mx.example.org\nnonsense\n",
    )
    .unwrap();
    let broken = tarpit(&["import", "postfix", "main.cf"], folder);
    assert_eq!((broken.status.code(), out(&broken).as_str()), (Some(1), ""));
    assert!(
        err(&broken).contains("main.cf:2: found \"nonsense\""),
        "{}",
        err(&broken)
    );
}
