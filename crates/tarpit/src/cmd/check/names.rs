//! How the upstream treats a name that doesn't exist: without a refusal at RCPT there is
//! nothing for a tar pit to hold.

use std::time::Duration;

use tarpit_smtp::{EnhancedCode, Reply};

use super::show_seconds;

/// A refusal that takes this long was delayed by the server on purpose: a look-up of a name takes
/// milliseconds, and the least delay that servers have is one second (Postfix's
/// `smtpd_error_sleep_time`).
const SLOW: Duration = Duration::from_secs(1);

/// What became of a random name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Refused as unknown, at once.
    Refused,
    /// Refused as unknown, but slowly: the server has a pit of its own.
    RefusedSlowly,
    /// Refused for another reason than that the name is unknown.
    RefusedByPolicy,
    /// Accepted.
    Accepted,
    /// Put off.
    PutOff,
}

/// Judges the reply to RCPT with a random name.
pub(super) fn judge(reply: &Reply, took: Duration) -> Treatment {
    let enhanced = reply.enhanced();
    // 4yz with x.1.1 is an unknown recipient too: Postfix can be set so.
    let is_unknown = matches!(
        enhanced,
        Some(EnhancedCode {
            subject: 1,
            detail: 1,
            ..
        })
    );
    if reply.code().is_positive() {
        Treatment::Accepted
    } else if reply.code().is_transient() && !is_unknown {
        Treatment::PutOff
    } else if enhanced.is_some_and(is_about_something_else) {
        Treatment::RefusedByPolicy
    } else if took >= SLOW {
        Treatment::RefusedSlowly
    } else {
        Treatment::Refused
    }
}

/// Policy (x.7.z), or the sender (x.1.7, x.1.8). RFC 3463 §3.2, §3.8
fn is_about_something_else(code: EnhancedCode) -> bool {
    matches!((code.subject, code.detail), (7, _) | (1, 7 | 8))
}

/// What to say about it: a line, then advice if there is any. `has_file`: names that a file doesn't
/// have are refused by Tarpit itself.
pub(super) fn describe(
    domain: &str,
    reply: &Reply,
    took: Duration,
    has_file: bool,
) -> (String, Vec<String>) {
    let said = reply.to_log();
    let seconds = show_seconds(took);
    match judge(reply, took) {
        Treatment::Refused => (format!("{domain}: an unknown name is refused at RCPT after {seconds} ({said}). Good."), Vec::new()),
        Treatment::RefusedSlowly => (
            format!("{domain}: an unknown name is refused slowly: the upstream delays {seconds} itself ({said})"),
            lines(SLOW_ADVICE),
        ),
        Treatment::RefusedByPolicy => (
            format!("{domain}: refused, but not as an unknown name ({said})"),
            vec![format!("Does the upstream accept mail for {domain} at all, and from this address?")],
        ),
        Treatment::Accepted if has_file => (
            format!("{domain}: the upstream accepts an unknown name ({said}); Tarpit refuses it by the file"),
            Vec::new(),
        ),
        Treatment::Accepted => (
            format!("{domain}: an unknown name is accepted ({said}): the pit will never fire. Turn on recipient filtering:"),
            lines(FILTER_ADVICE),
        ),
        Treatment::PutOff => (
            format!("{domain}: an unknown name is put off ({said}): the pit fires for 5yz, and for 4yz with x.1.1 only"),
            vec!["Greylisting, or a look-up that fails? Check again later; if it stays, have unknown names refused with 550 5.1.1.".to_owned()],
        ),
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

const SLOW_ADVICE: &str = "\
Each such refusal keeps a process of the server and a connection waiting. Let Tarpit wait instead:
Postfix: smtpd_error_sleep_time = 0 (for the service that Tarpit connects to)
Exim: no `delay` in the ACLs that this gateway's connections meet
Exchange: Set-ReceiveConnector NAME -TarpitInterval 00:00:00 (for the connector that Tarpit connects to)";

const FILTER_ADVICE: &str = "\
Postfix: name the valid recipients: local_recipient_maps, relay_recipient_maps or virtual_mailbox_maps; keep
  smtpd_reject_unlisted_recipient = yes; no catch-all (luser_relay, `@domain` in a virtual map). Where another
  server knows the names: reject_unverified_recipient in smtpd_recipient_restrictions
Exim: `require verify = recipient` in the ACL of acl_smtp_rcpt; `verify = recipient/callout` where another server
  knows the names
Exchange: on an Edge server Set-RecipientFilterConfig -RecipientValidationEnabled $true, and
  Set-AcceptedDomain NAME -AddressBookEnabled $true. A Mailbox server refuses too late: use a file there
Any server: recipients.source = \"file\", with a list of the valid names";

#[cfg(test)]
mod tests {
    use tarpit_smtp::ReplyCode;

    use super::*;

    #[test]
    fn judges_replies() {
        for (code, text, millis, treatment) in [
            (550, "5.1.1 no such user", 3, Treatment::Refused),
            (550, "no such user", 999, Treatment::Refused),
            (550, "5.1.1 no such user", 5_000, Treatment::RefusedSlowly),
            (450, "4.1.1 no such user", 3, Treatment::Refused),
            (450, "4.1.1 no such user", 1_000, Treatment::RefusedSlowly),
            (450, "4.2.0 greylisted", 3, Treatment::PutOff),
            (451, "try later", 5_000, Treatment::PutOff),
            (
                554,
                "5.7.1 relay access denied",
                3,
                Treatment::RefusedByPolicy,
            ),
            (250, "2.1.5 ok", 3, Treatment::Accepted),
            (252, "can't verify", 3, Treatment::Accepted),
        ] {
            let reply = Reply::new(ReplyCode::new(code).unwrap(), text);
            assert_eq!(
                judge(&reply, Duration::from_millis(millis)),
                treatment,
                "{code} {text}"
            );
        }
    }

    #[test]
    fn says_what_to_do() {
        let reply = |code, text| Reply::new(ReplyCode::new(code).unwrap(), text);
        let (line, advice) = describe(
            "example.org",
            &reply(250, "2.1.5 Ok"),
            Duration::from_millis(2),
            false,
        );
        assert!(
            line.contains("the pit will never fire. Turn on recipient filtering"),
            "{line}"
        );
        for server in ["Postfix", "Exim", "Exchange"] {
            assert!(
                advice.iter().any(|line| line.starts_with(server)),
                "{server}"
            );
        }
        let (line, advice) = describe(
            "example.org",
            &reply(550, "5.1.1 no"),
            Duration::from_millis(5_012),
            false,
        );
        assert!(
            line.contains("delays 5.0 s itself (550 5.1.1 no)"),
            "{line}"
        );
        assert!(!advice.is_empty());
        let (line, advice) = describe(
            "example.org",
            &reply(550, "5.1.1 no"),
            Duration::from_millis(12),
            false,
        );
        assert!(
            line.contains("refused at RCPT after 0.0 s") && advice.is_empty(),
            "{line}"
        );
        let (line, advice) = describe("example.org", &reply(250, "Ok"), Duration::ZERO, true);
        assert!(
            line.contains("Tarpit refuses it by the file") && advice.is_empty(),
            "{line}"
        );
    }
}
