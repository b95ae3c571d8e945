//! `tarpit check` against scripted servers: what it finds out, what it says, how it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

/// A server that answers each line, for as many connections as come.
fn server(answer: impl Fn(&str) -> Option<&'static str> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::from("GREETING");
            while let Some(reply) = answer(line.trim_end()) {
                if write!(stream.get_mut(), "{reply}\r\n").is_err() {
                    break;
                }
                line.clear();
                if stream.read_line(&mut line).is_err() || line.is_empty() {
                    break;
                }
            }
        }
    });
    address
}

/// What a sound server says. `None` hangs up.
fn sound(line: &str) -> Option<&'static str> {
    let line = line.to_ascii_uppercase();
    let starts = |word: &str| line.starts_with(word);
    Some(match () {
        () if starts("GREETING") => "220 mail.example.org ESMTP",
        () if starts("EHLO") => {
            "250-mail.example.org\r\n250-SIZE 1000000\r\n250-STARTTLS\r\n250-XCLIENT NAME ADDR PORT PROTO HELO\r\n250 PIPELINING"
        }
        () if starts("XCLIENT") => "220 mail.example.org ESMTP",
        () if starts("MAIL") || starts("RSET") => "250 2.1.0 Ok",
        () if starts("RCPT") && line.contains("@EXAMPLE.ORG") => "550 5.1.1 No such user",
        () if starts("RCPT") => "554 5.7.1 Relay access denied",
        () if starts("QUIT") => "221 2.0.0 Bye",
        () => "502 5.5.2 What?",
    })
}

/// Checks a configuration with this upstream; the exit code and what was printed.
fn check(address: SocketAddr, upstream: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\nname = \"mx\"\n\
         address = \"127.0.0.1:0\"\n[[upstream]]\naddress = \"{address}\"\n{upstream}\n"
    );
    check_text(folder.path(), &text)
}

fn check_text(folder: &std::path::Path, text: &str) -> (Option<i32>, String) {
    std::fs::write(folder.join("tarpit.toml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tarpit"))
        .args(["check", "--config", "tarpit.toml"])
        .current_dir(folder)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), stdout)
}

#[track_caller]
fn expect(found: &(Option<i32>, String), code: i32, says: &[&str]) {
    let (exit, text) = found;
    assert_eq!(*exit, Some(code), "{text}");
    for line in says {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn a_sound_server() {
    let found = check(server(sound), "identity = \"xclient\"");
    let says = [
        "It greets: 220 mail.example.org ESMTP",
        "Clients will be offered: PIPELINING, SIZE 1000000\n",
        "STARTTLS: Each leg has its own",
        "It doesn't offer, so clients won't be offered: AUTH, ENHANCEDSTATUSCODES, 8BITMIME, DSN, SMTPUTF8, CHUNKING, ",
        "Identity: it takes XCLIENT",
        "Relaying: it doesn't relay for us (554 5.7.1 Relay access denied)",
        "example.org: an unknown name is refused at RCPT after ",
    ];
    expect(&found, 0, &says);
    assert!(!found.1.contains("PROBLEM"), "{}", found.1);
}

/// Each way is tried on its own; the choice is judged by that.
#[test]
fn ways_to_tell_who_the_client_is() {
    let says = [
        "each tried on a connection of its own; it takes: xclient\n",
        "proxy-v1: it takes the header for a command",
        "proxy-v2: ",
        "WARNING: identity is \"none\", but it would take \"xclient\"",
        "TLS to it: none (tls = \"off\")",
        "Its own TLS can't be looked into: it closed the connection at STARTTLS",
    ];
    // What it says to STARTTLS here is no yes.
    let no_tls = |line: &str| {
        if line == "STARTTLS" {
            None
        } else {
            sound(line)
        }
    };
    expect(&check(server(no_tls), "identity = \"none\""), 0, &says);
}

/// All servers are asked, and one that is away is a problem.
#[test]
fn each_server_of_several() {
    let first = server(sound);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = listener.local_addr().unwrap();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n[[listener]]\nname = \"mx\"\n\
         address = \"127.0.0.1:0\"\n[[upstream]]\naddress = [\"{first}\", \"{second}\"]\n"
    );
    let found = check_text(folder.path(), &text);
    let says = [
        &*format!("server 1 of 2 at {first}"),
        "It greets: 220 mail.example.org ESMTP",
        &*format!("server 2 of 2 at {second}"),
        "PROBLEM: it can't be probed: it can't be connected to",
    ];
    expect(&found, 1, &says);
}

#[test]
fn a_server_that_trusts_us() {
    let trusting = |line: &str| {
        if line.starts_with("RCPT") {
            Some("250 2.1.5 Ok")
        } else {
            sound(line)
        }
    };
    let found = check(server(trusting), "");
    let says = [
        "PROBLEM: your server trusts this gateway's address",
        "Postfix: mynetworks",
        "the pit will never fire. Turn on recipient filtering",
        "Exim: `require verify = recipient`",
        "identity is \"none\"",
    ];
    expect(&found, 1, &says);
    let found = check(server(trusting), "upstream_relays = true");
    expect(&found, 0, &["as upstream_relays = true says"]);
    assert!(!found.1.contains("PROBLEM"), "{}", found.1);
}

#[test]
fn a_server_that_takes_no_identity() {
    let plain = |line: &str| {
        if line.starts_with("EHLO") {
            Some("250 mail.example.org")
        } else {
            sound(line)
        }
    };
    let found = check(server(plain), "identity = \"xclient\"");
    expect(
        &found,
        1,
        &[
            "PROBLEM: identity can't be told",
            "smtpd_authorized_xclient_hosts",
        ],
    );
    let found = check(server(plain), "");
    expect(
        &found,
        0,
        &[
            "Clients will be offered: nothing beyond plain SMTP",
            "Identity: not told",
        ],
    );
}

#[test]
fn a_server_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    expect(
        &check(address, ""),
        1,
        &["PROBLEM: it can't be probed: it can't be connected to"],
    );
}

#[test]
fn a_server_that_refuses_us() {
    let found = check(server(|_| Some("554 5.7.1 Go away")), "");
    expect(
        &found,
        1,
        &["PROBLEM: it doesn't serve us: 554 5.7.1 Go away"],
    );
}

#[test]
fn a_server_that_hangs_up_at_unknown_names() {
    let rude = |line: &str| {
        if line.contains("tarpit-check-") {
            None
        } else {
            sound(line)
        }
    };
    expect(
        &check(server(rude), ""),
        1,
        &["PROBLEM: example.org: no answer to an unknown name (it closed the connection)"],
    );
}

/// `| head` closes what we print to: that is no error of ours.
#[test]
fn whoever_has_read_enough_may_leave() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarpit"));
    command.args(["generate", "reference"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
