//! Commands: what was parsed prints as one clean line, and parses to itself again.

use tarpit_smtp::{Command, CommandError, ForwardPath, Mechanism, ReversePath, XclientClaim};
use tarpit_smtp::{
    write_auth, write_bdat, write_ehlo, write_helo, write_mail, write_rcpt, write_verb,
};

/// Parsing never panics; a command printed and parsed is the same command; errors explain themselves.
pub(crate) fn check(line: &[u8]) {
    match Command::parse(line) {
        Ok(command) => reprints(command),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            // Whatever follows, the verb is what decides here.
            if let CommandError::UnknownVerb | CommandError::NotImplemented(_) = error {
                let word = line.split(|octet| matches!(octet, b' ' | b'\t')).next();
                assert_eq!(Command::parse(word.unwrap_or(line)), Err(error));
            }
        }
    }
}

fn reprints(command: Command<'_>) {
    let mut out = Vec::new();
    match command {
        Command::Mail { path, params } => {
            assert_eq!(ReversePath::parse(path.as_str()), Ok(path));
            assert_eq!(path.to_string(), format!("<{}>", path.as_str()));
            write_mail(&mut out, path.as_str(), &params.printed());
        }
        Command::Rcpt { path, params } => {
            assert_eq!(ForwardPath::parse(path.as_str()), Ok(path));
            if let ForwardPath::Mailbox(mailbox) = path {
                assert_eq!(
                    mailbox.as_str(),
                    format!("{}@{}", mailbox.local(), mailbox.domain())
                );
                assert!(mailbox.local_unquoted().len() <= mailbox.local().len());
            }
            write_rcpt(&mut out, path.as_str(), &params.printed());
        }
        Command::Bdat { size, last } => write_bdat(&mut out, size, last),
        Command::Xclient(claim) => return claims_are_clean(claim),
        Command::Ehlo(name) => write_ehlo(&mut out, name),
        Command::Helo(name) => write_helo(&mut out, name),
        Command::Auth { mechanism, initial } => match Mechanism::from_name(mechanism) {
            Some(known) => write_auth(&mut out, known, initial),
            None => return,
        },
        Command::Vrfy(text) | Command::Expn(text) => {
            assert!(
                !text.is_empty()
                    && text
                        .bytes()
                        .all(|octet| !octet.is_ascii_control() || octet == b'\t')
            );
            return;
        }
        other => write_verb(&mut out, other.verb()),
    }
    let printed = out.strip_suffix(b"\r\n").expect("a line");
    assert!(
        printed.iter().all(|octet| !octet.is_ascii_control()),
        "no control"
    );
    match (Command::parse(printed), command) {
        // The mechanism's name is printed upper case.
        (
            Ok(Command::Auth { mechanism, initial }),
            Command::Auth {
                mechanism: sent,
                initial: sent_initial,
            },
        ) => {
            assert!(mechanism.eq_ignore_ascii_case(sent) && initial == sent_initial);
        }
        (again, _) => assert_eq!(again, Ok(command)),
    }
}

/// What is claimed is fit for logs and for another XCLIENT.
fn claims_are_clean(claim: XclientClaim<'_>) {
    let texts = [claim.name, claim.helo, claim.login, claim.reverse_name];
    for text in texts.into_iter().flatten() {
        let plain = text.decode();
        assert!(!plain.is_empty() && plain.len() <= 255);
        assert!(!plain.chars().any(char::is_control));
    }
    assert!(claim.port != Some(0) && claim.dest_port != Some(0));
}
