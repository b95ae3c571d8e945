//! What clients were told, against what was delivered.
//!
//! - Who was told 2yz at the end has its message delivered: whole, to all recipients that were
//!   accepted, and its server had said so before.
//! - Who was told 5yz has nothing delivered: the message, or to that recipient.
//! - A message that was not sent to its last octet is not delivered.
//! - Each message is delivered once. Where the client was told 4yz and the message is there all the
//!   same (its retry makes a duplicate), the server's own reply was lost on the way (RFC 5321
//!   §4.5.3.2.6).
//! - Whoever stays is answered.

use std::sync::atomic::Ordering;

use crate::case::{Case, Commit, Journal};
use crate::client::{Ending, Outcome, Told};
use crate::point::{Action, Leg};
use crate::script::Message;

/// Everything that is wrong with a case; nothing, if it is as it must be.
pub(crate) fn judge(case: &Case, outcome: &Outcome) -> Vec<String> {
    let journal = case.journal();
    let mut wrong = journal.violations.clone();
    let is_reset = case.point.leg.is_upstream() && case.point.action == Action::Reset;
    for (number, (message, told)) in case.script.messages.iter().zip(&outcome.told).enumerate() {
        let of_message = |commit: &&Commit| commit.message == number;
        let commits: Vec<&Commit> = journal.commits.iter().filter(of_message).collect();
        let mut problems = delivered(message, told, &commits, is_reset);
        if is_undisturbed(case, outcome)
            && told.begun
            && message.content.is_some()
            && !is_answered(told)
        {
            problems.push("never answered".to_owned());
        }
        let name = |problem| format!("message {number}: {problem}; told {told:?}, {commits:?}");
        wrong.extend(problems.into_iter().map(name));
    }
    if outcome.ending == Ending::Silent {
        wrong.push("the session hangs".to_owned());
    }
    if case.point.action == Action::Nothing {
        wrong.extend(all_well(outcome, &journal));
    }
    if !wrong.is_empty() {
        wrong.push(format!(
            "{:?}, shown out {:?}",
            outcome.ending, outcome.shown_out
        ));
    }
    wrong
}

/// Whether the client's own side was left alone, so that it must hear an answer. Whoever closes
/// its sending side may be taken for gone.
fn is_undisturbed(case: &Case, outcome: &Outcome) -> bool {
    let by_client = matches!(case.point.leg, Leg::ClientSent | Leg::ClientHeard);
    let fired = case.fired.load(Ordering::SeqCst);
    let is_stall = matches!(case.point.action, Action::Stall | Action::Nothing);
    let disturbed = fired && by_client && !is_stall;
    !disturbed && case.point.action != Action::Kill && outcome.shown_out.is_none()
}

fn is_answered(told: &Told) -> bool {
    let refused = |code: &Option<u16>| code.is_some_and(|code| code >= 400);
    told.end.is_some()
        || refused(&told.mail)
        || told.rcpt.iter().all(refused)
        || refused(&told.data)
}

fn class(code: Option<u16>) -> u16 {
    code.unwrap_or_default() / 100
}

/// `is_reset`: the server reset the connection, perhaps right behind its 250. Octets that the system
/// had taken and not yet sent are lost then.
fn delivered(message: &Message, told: &Told, commits: &[&Commit], is_reset: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut claim = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    claim(commits.len() <= 1, "delivered twice");
    let acknowledged = class(told.end) == 2;
    claim(
        !acknowledged || !commits.is_empty(),
        "LOST: acknowledged, and not there",
    );
    for commit in commits {
        claim(commit.exact, "not what was sent");
        claim(told.sent, "delivered before it was sent whole");
        claim(class(told.end) != 5, "delivered, and refused for good");
        claim(
            !matches!(class(told.data), 4 | 5) && !matches!(class(told.mail), 4 | 5),
            "delivered, and refused before its data",
        );
        claim(
            !acknowledged || commit.answered != Some(false),
            "acknowledged before the server had said so",
        );
        claim(
            class(told.end) != 4 || commit.answered != Some(true) || is_reset,
            "a duplicate without need: the server's 250 had come back",
        );
        for (path, code) in message.recipients.iter().zip(&told.rcpt) {
            let has = commit.recipients.iter().any(|one| one == path);
            claim(
                !has || !matches!(class(*code), 4 | 5),
                "delivered to a recipient that was refused",
            );
            claim(
                has || !acknowledged || class(*code) != 2,
                "LOST: a recipient was accepted, and has no copy",
            );
        }
    }
    wrong
}

/// Without a cut, everything must have worked.
fn all_well(outcome: &Outcome, journal: &Journal) -> Vec<String> {
    let mut wrong = Vec::new();
    if outcome.ending != Ending::Finished {
        wrong.push(format!("not cut, and ended as {:?}", outcome.ending));
    }
    let acknowledged = outcome.told.iter().filter(|told| told.end == Some(250));
    if acknowledged.count() != journal.commits.len() || journal.commits.is_empty() {
        wrong.push(format!("not cut, and told {:?}", outcome.told));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn case(text: &str) -> Arc<Case> {
        Case::new(1, text.parse().unwrap(), None)
    }

    fn outcome(end: Option<u16>) -> Outcome {
        Outcome {
            told: vec![Told {
                mail: Some(250),
                rcpt: vec![Some(250)],
                data: Some(354),
                end,
                begun: true,
                sent: true,
            }],
            shown_out: None,
            ending: Ending::Finished,
            took: std::time::Duration::ZERO,
            sent: 0,
            heard: 0,
        }
    }

    fn commit(answered: Option<bool>) -> Commit {
        Commit {
            message: 0,
            recipients: vec!["alice@example.org".to_owned()],
            exact: true,
            answered,
        }
    }

    /// Each thing that can go wrong is seen; what RFC 5321 leaves no choice about is let through.
    #[test]
    fn every_wrong_is_seen() {
        const CUT: &str = "told:plain/upstream-said.0/close@9#1";
        let said = Some(true);
        let unsaid = Some(false);
        let judged = |change: &dyn Fn(&mut Outcome, &mut Vec<Commit>), end, commits: &[Commit]| {
            let (case, mut outcome) = (case(CUT), outcome(end));
            let mut commits = commits.to_vec();
            change(&mut outcome, &mut commits);
            case.journal().commits = commits;
            judge(&case, &outcome)
        };
        let plain = |end, commits: &[Commit]| judged(&|_, _| {}, end, commits);
        // As it must be.
        assert!(plain(Some(250), &[commit(said)]).is_empty());
        assert!(plain(Some(250), &[commit(None)]).is_empty());
        assert!(plain(Some(451), &[]).is_empty());
        assert!(plain(Some(554), &[]).is_empty());
        assert!(
            plain(Some(451), &[commit(unsaid)]).is_empty(),
            "the reply was lost"
        );
        // Not as it must be.
        assert!(!plain(Some(250), &[]).is_empty(), "lost");
        assert!(!plain(Some(250), &[commit(unsaid)]).is_empty(), "too early");
        assert!(
            !plain(Some(250), &[commit(said), commit(said)]).is_empty(),
            "twice"
        );
        assert!(
            !plain(Some(554), &[commit(unsaid)]).is_empty(),
            "refused and delivered"
        );
        assert!(
            !plain(Some(451), &[commit(said)]).is_empty(),
            "a duplicate without need"
        );
        assert!(!plain(None, &[]).is_empty(), "no answer");
        let half = |outcome: &mut Outcome, _: &mut Vec<Commit>| outcome.told[0].sent = false;
        assert!(
            !judged(&half, None, &[commit(unsaid)]).is_empty(),
            "half a message"
        );
        let mangled = |_: &mut Outcome, commits: &mut Vec<Commit>| commits[0].exact = false;
        assert!(
            !judged(&mangled, Some(250), &[commit(said)]).is_empty(),
            "mangled"
        );
        let nobody = |_: &mut Outcome, commits: &mut Vec<Commit>| commits[0].recipients.clear();
        assert!(
            !judged(&nobody, Some(250), &[commit(said)]).is_empty(),
            "no copy"
        );
        let refused = |outcome: &mut Outcome, _: &mut Vec<Commit>| {
            outcome.told[0].rcpt = vec![Some(550)];
        };
        assert!(
            !judged(&refused, Some(250), &[commit(said)]).is_empty(),
            "a refused recipient"
        );
        let hangs = |outcome: &mut Outcome, _: &mut Vec<Commit>| outcome.ending = Ending::Silent;
        assert!(!judged(&hangs, Some(451), &[]).is_empty(), "hangs");
    }
}
