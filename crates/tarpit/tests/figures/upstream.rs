//! A mail server behind: it offers AUTH, knows one password, and says "no" in many ways.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Base64 of NUL, a name, NUL and a password: the one that is right.
pub(crate) const RIGHT: &str = "AGFsaWNlAHMzY3IzdC1yaWdodA==";
/// And one that is not.
pub(crate) const WRONG: &str = "AGFsaWNlAHMzY3IzdC13cm9uZw==";

/// Starts it.
///
/// alice exists, later is put off, relay is refused for another reason, and nobody else exists. Mail of
/// banned is refused; a message is refused for the line `spam`, and put off for the line `busy`.
pub(crate) fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || converse(socket));
        }
    });
    address
}

/// Where a conversation is.
#[derive(Default)]
struct Talk {
    in_data: bool,
    lines_of_auth: u8,
    verdict: &'static str,
}

fn converse(socket: TcpStream) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut writer = socket;
    let mut talk = Talk::default();
    let mut reply = "220 upstream";
    loop {
        if !reply.is_empty() && writer.write_all(format!("{reply}\r\n").as_bytes()).is_err() {
            return;
        }
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end();
        reply = if talk.in_data {
            talk.data(line)
        } else if talk.lines_of_auth > 0 {
            talk.auth_line(line)
        } else {
            talk.command(line)
        };
    }
}

impl Talk {
    fn data(&mut self, line: &str) -> &'static str {
        match line {
            "." => {
                self.in_data = false;
                return self.verdict;
            }
            "spam" => self.verdict = "554 5.7.1 no spam",
            "busy" => self.verdict = "451 4.3.0 busy",
            _ => {}
        }
        ""
    }

    fn auth_line(&mut self, line: &str) -> &'static str {
        self.lines_of_auth -= 1;
        if line == "*" {
            self.lines_of_auth = 0;
            return "501 5.7.0 cancelled";
        }
        if self.lines_of_auth > 0 {
            "334 UGFzc3dvcmQ6"
        } else {
            "535 5.7.8 no"
        }
    }

    fn command(&mut self, line: &str) -> &'static str {
        let verb = line.split(' ').next().unwrap_or("").to_uppercase();
        match verb.as_str() {
            "EHLO" => "250-upstream\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH PLAIN LOGIN",
            "AUTH" if line == "AUTH LOGIN" => {
                self.lines_of_auth = 2;
                "334 VXNlcm5hbWU6"
            }
            "AUTH" if line.ends_with(RIGHT) => "235 2.7.0 yes",
            "AUTH" => "535 5.7.8 no",
            "MAIL" if line.contains("banned") => "550 5.7.1 not from you",
            "RCPT" if line.contains("relay") => "554 5.7.1 no relay",
            "RCPT" if line.contains("later") => "451 4.2.1 later",
            "RCPT" if line.contains("alice") => "250 2.1.5 ok",
            "RCPT" => "550 5.1.1 nobody",
            "DATA" => {
                self.in_data = true;
                self.verdict = "250 2.0.0 taken";
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 2.0.0 ok",
        }
    }
}
