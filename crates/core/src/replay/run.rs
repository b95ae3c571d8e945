//! The clients of the records, once more.

use std::cmp::Reverse;
use std::collections::hash_map::RandomState;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tarpit_smtp::{Capabilities, Mechanisms, Reply, ReplyCode};

use super::{Effects, Nature, Settings, Step, Trace};
use crate::event::{Admission, Answer, Ask, DataEnd, Input, Then};
use crate::filter::{Filter, Names};
use crate::ledger::{Account, Ledger, Ticket};
use crate::policy::{Offence, Scope};
use crate::record::{ActRecord, Deed, HoldEnd, HoldRecord, Judged};
use crate::session::{Env, Session};
use crate::{Door, Kind, Outbox, Prefixes, SessionId, Source, Tick};

/// What is handed out on the way.
pub trait Watch {
    /// An act was judged.
    fn act(&mut self, _at: Tick, _act: &ActRecord) {}
    /// A hold was over, or would have begun.
    fn hold(&mut self, _at: Tick, _hold: &HoldRecord) {}
    /// A session ended: which trace, when, and how long it was.
    fn ended(&mut self, _at: Tick, _trace: usize, _long: Duration) {}
}

impl Watch for () {}

/// Runs all sessions, which are in the order of their beginning.
///
/// `hasher` keys the tables of the ledger.
#[must_use]
pub fn run(
    traces: &[Trace],
    natures: &HashMap<Source, Nature>,
    settings: &Settings,
    hasher: RandomState,
    watch: &mut dyn Watch,
) -> Effects {
    let replies = Replies::new();
    let mut replay = Replay {
        traces,
        natures,
        settings,
        ledger: Ledger::new(settings.ledger, hasher),
        stage: Stage::new(),
        replies: &replies,
        live: HashMap::new(),
        due: BinaryHeap::new(),
        out: Outbox::default(),
        woken: Vec::new(),
        effects: Effects::default(),
        watch,
    };
    for (at, trace) in traces.iter().enumerate() {
        replay.until(trace.opened);
        replay.open(at, trace);
    }
    replay.until(Tick::from_millis(u64::MAX));
    replay.effects
}

/// What all sessions may look at.
struct Stage {
    capabilities: Capabilities,
    filter: Filter,
    door: Door,
}

impl Stage {
    fn new() -> Self {
        let mut auth = Mechanisms::default();
        if let Some(plain) = tarpit_smtp::Mechanism::from_name("PLAIN") {
            auth.insert(plain);
        }
        Self {
            capabilities: Capabilities {
                auth,
                ..Capabilities::default()
            },
            filter: Filter::new(
                vec!["ours.invalid".into()],
                Some(Names::new(["known@ours.invalid".into()])),
                false,
            ),
            door: Door {
                // Submission asks for AUTH first; who did not authenticate there has no acts.
                kind: Kind::Mx,
                auth_plain: true,
                ..Door::default()
            },
        }
    }
}

/// What the upstream says.
struct Replies {
    ok: Reply,
    later: Reply,
    unknown: Reply,
    refused: Reply,
    sender: Reply,
    go_on: Reply,
    auth_ok: Reply,
    auth_failed: Reply,
    auth_wrong: Reply,
}

impl Replies {
    fn new() -> Self {
        let reply = |code: u16, text: &str| {
            #[expect(clippy::expect_used, reason = "the codes are those below")]
            let code = ReplyCode::new(code).expect("a reply code");
            Reply::new(code, text)
        };
        Self {
            ok: reply(250, "2.1.5 ok"),
            later: reply(451, "4.3.0 later"),
            unknown: reply(550, "5.1.1 unknown"),
            refused: reply(550, "5.7.1 refused"),
            sender: reply(550, "5.1.8 sender"),
            go_on: reply(354, "go on"),
            auth_ok: reply(235, "2.7.0 ok"),
            auth_failed: reply(535, "5.7.8 failed"),
            auth_wrong: reply(504, "5.5.4 wrong"),
        }
    }
}

/// One session that runs.
struct Live {
    session: Session,
    /// The step that is next, or is being answered.
    step: usize,
    /// When its command came.
    began: Tick,
    /// The moment of the event that counts; others are stale.
    due: Tick,
    next: Next,
    turned_to: u32,
}

/// What happens next in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next command comes, or the client leaves.
    Command,
    /// The upstream answers.
    Answer,
    /// The upstream answers the message.
    End,
    /// A hold is over.
    Resume,
    /// The client leaves.
    Leave,
}

struct Replay<'a> {
    traces: &'a [Trace],
    natures: &'a HashMap<Source, Nature>,
    settings: &'a Settings,
    ledger: Ledger,
    stage: Stage,
    replies: &'a Replies,
    live: HashMap<usize, Live>,
    /// The soonest first; of one moment, in the order of the sessions.
    due: BinaryHeap<Reverse<(Tick, usize)>>,
    out: Outbox,
    woken: Vec<Ticket>,
    effects: Effects,
    watch: &'a mut dyn Watch,
}

impl Replay<'_> {
    /// All that is due before `end`.
    fn until(&mut self, end: Tick) {
        while let Some(Reverse((at, _))) = self.due.peek()
            && *at <= end
        {
            let Some(Reverse((at, which))) = self.due.pop() else {
                return;
            };
            // What was put off, or is over, has left its old entry behind.
            if let Some(live) = self.live.get(&which)
                && live.due == at
            {
                self.step(at, which);
            }
        }
    }

    fn open(&mut self, which: usize, trace: &Trace) {
        let now = trace.opened;
        self.effects.sessions = self.effects.sessions.saturating_add(1);
        self.effects.end = self.effects.end.max(now);
        if self.is_turned_away(now, trace) {
            let effect = self.effects.sources.entry(trace.source).or_default();
            effect.turned_away = effect.turned_away.saturating_add(1);
            return;
        }
        let id = SessionId(which as u64);
        let live = Live {
            session: Session::new(id, trace.source, trace.exempt),
            step: 0,
            began: now,
            due: now,
            next: Next::Command,
            turned_to: 0,
        };
        self.live.insert(which, live);
        self.handle(now, which, Input::Opened(Admission::Open));
        self.handle(now, which, Input::Bytes(b"EHLO client.invalid\r\n"));
        self.go_on(now, which);
    }

    /// As the gateway does at accept.
    fn is_turned_away(&self, now: Tick, trace: &Trace) -> bool {
        let limit = self.settings.door_debt;
        let Some(rules) = self.settings.listeners.get(trace.listener) else {
            return false;
        };
        let policy = &rules.policy;
        !limit.is_zero()
            && policy.enforces()
            && policy.scope == Scope::Source
            && rules.kind == Kind::Mx
            && !trace.exempt
            && self.ledger.claimed(now, trace.source, Account::Rcpt) >= limit
            && !self.ledger.is_known(now, trace.source)
    }

    fn step(&mut self, now: Tick, which: usize) {
        self.effects.end = self.effects.end.max(now);
        let Some((live, trace)) = self.live.get(&which).zip(self.traces.get(which)) else {
            return;
        };
        let step = trace.steps.get(live.step).copied();
        match (live.next, step) {
            (Next::Command, Some(step)) => self.command(now, which, step),
            (Next::Command | Next::Leave, _) => self.leave(now, which),
            (Next::Answer, Some(step)) => self.answer(now, which, step),
            (Next::End, Some(step)) => self.end_message(now, which, step),
            (Next::Resume, _) | (_, None) => {
                let then = self.handle(now, which, Input::Resume);
                self.follow(now, which, then);
            }
        }
    }

    fn leave(&mut self, now: Tick, which: usize) {
        self.handle(now, which, Input::Gone);
        self.close(now, which);
    }

    /// The client says what it said, if that still makes sense.
    fn command(&mut self, now: Tick, which: usize, step: Step) {
        if let Some(live) = self.live.get_mut(&which) {
            live.began = now;
        }
        let needs_mail = !matches!(
            step.deed,
            Deed::Auth | Deed::AuthMistake | Deed::Command | Deed::Chunk
        );
        if needs_mail {
            self.begin_transaction(now, which, step.transaction);
        }
        let (has_mail, has_recipients) = self.transaction(which);
        let line: &[u8] = match step.deed {
            _ if needs_mail && !has_mail => return self.skip(now, which),
            Deed::Message if !has_recipients => return self.skip(now, which),
            Deed::FollowUp if has_recipients => return self.skip(now, which),
            Deed::Rcpt | Deed::Sender | Deed::Service if step.role => {
                b"RCPT TO:<postmaster@ours.invalid>\r\n"
            }
            Deed::Rcpt | Deed::Sender | Deed::Service => b"RCPT TO:<known@ours.invalid>\r\n",
            Deed::Unlisted => b"RCPT TO:<guess@ours.invalid>\r\n",
            Deed::Foreign => b"RCPT TO:<guess@theirs.invalid>\r\n",
            Deed::Auth => b"AUTH PLAIN AGE=\r\n",
            Deed::AuthMistake => b"AUTH NONESUCH\r\n",
            Deed::Command | Deed::Chunk => b"NONESUCH\r\n",
            Deed::FollowUp | Deed::Message => b"DATA\r\n",
        };
        // A command that nobody is asked about was judged when it came; what it took is in between.
        let then = self.handle(now, which, Input::Bytes(line));
        self.follow(now, which, then);
    }

    /// MAIL, where the transaction is another one than before.
    fn begin_transaction(&mut self, now: Tick, which: usize, transaction: u32) {
        let (has_mail, _) = self.transaction(which);
        let Some(live) = self.live.get_mut(&which) else {
            return;
        };
        if has_mail && live.turned_to == transaction {
            return;
        }
        live.turned_to = transaction;
        if has_mail {
            self.handle(now, which, Input::Bytes(b"RSET\r\n"));
        }
        self.handle(
            now,
            which,
            Input::Bytes(b"MAIL FROM:<client@client.invalid>\r\n"),
        );
    }

    /// Whether there is a transaction, and whether it has a recipient.
    fn transaction(&self, which: usize) -> (bool, bool) {
        let live = self.live.get(&which);
        let envelope = live.and_then(|live| live.session.envelope());
        let has_recipients = envelope.is_some_and(|envelope| !envelope.accepted.is_empty());
        (envelope.is_some(), has_recipients)
    }

    fn skip(&mut self, now: Tick, which: usize) {
        if let Some(live) = self.live.get_mut(&which) {
            live.step = live.step.saturating_add(1);
        }
        self.go_on(now, which);
    }

    /// What the machine wants.
    fn follow(&mut self, now: Tick, which: usize, then: Then) {
        let Some((live, trace)) = self.live.get_mut(&which).zip(self.traces.get(which)) else {
            return;
        };
        let Some(step) = trace.steps.get(live.step) else {
            return self.go_on(now, which);
        };
        let took = Duration::from_millis(step.took.into());
        match then {
            Then::Hold { until } => {
                let patience = Duration::from_millis(step.patience.into());
                let leaves = (live.began + patience).max(now);
                if step.patience != u32::MAX && leaves < until {
                    self.wait(which, leaves, Next::Leave);
                } else {
                    self.wait(which, until, Next::Resume);
                }
            }
            Then::Ask(Ask::Data) => {
                let go_on = Input::Answer(Answer::Reply(self.replies.go_on.clone()));
                let then = self.handle(now, which, go_on);
                self.follow(now, which, then);
            }
            Then::Ask(_) => self.wait(which, now + took, Next::Answer),
            Then::Relay => self.wait(which, now + took, Next::End),
            Then::Close => self.close(now, which),
            _ => self.skip(now, which),
        }
    }

    fn answer(&mut self, now: Tick, which: usize, step: Step) {
        if matches!(step.judged, Judged::LeftAsking(_)) {
            return self.leave(now, which);
        }
        let answer = self.answer_to(which, step);
        let then = self.handle(now, which, Input::Answer(answer));
        self.follow(now, which, then);
    }

    fn answer_to(&self, which: usize, step: Step) -> Answer {
        let source = self.traces.get(which).map(|trace| trace.source);
        let nature = source.and_then(|source| self.natures.get(&source));
        let nature = nature.copied().unwrap_or_default();
        let replies = self.replies;
        let is_auth = step.deed == Deed::Auth;
        let reply = match step.judged {
            Judged::Accepted if is_auth => &replies.auth_ok,
            Judged::Accepted => &replies.ok,
            Judged::Deferred => &replies.later,
            Judged::Offence(Offence::FailedAuth) => &replies.auth_failed,
            Judged::Offence(Offence::AuthMistake) => &replies.auth_wrong,
            Judged::Offence(Offence::UnknownRecipient) => &replies.unknown,
            Judged::Offence(Offence::SenderRefused) if step.deed == Deed::Rcpt => &replies.sender,
            Judged::Offence(_) | Judged::Repeated => &replies.refused,
            // Nobody knows.
            _ if is_auth && nature.guessed_password => &replies.auth_failed,
            _ if is_auth => &replies.auth_ok,
            _ if nature.guessed => &replies.unknown,
            _ => &replies.ok,
        };
        let reply = reply.clone();
        match step.deed {
            Deed::Sender => Answer::SenderRefused(reply),
            Deed::Service => Answer::ServiceRefused(reply),
            _ => Answer::Reply(reply),
        }
    }

    fn end_message(&mut self, now: Tick, which: usize, step: Step) {
        let reply = match step.judged {
            Judged::Accepted => &self.replies.ok,
            Judged::Offence(_) => &self.replies.refused,
            _ => &self.replies.later,
        };
        let end = DataEnd::Reply(reply.clone());
        let then = self.handle(now, which, Input::DataEnd(end));
        self.follow(now, which, then);
    }

    /// The reply was said: when the next command comes, or the client leaves.
    fn go_on(&mut self, now: Tick, which: usize) {
        let Some((live, trace)) = self.live.get(&which).zip(self.traces.get(which)) else {
            return;
        };
        let gap = trace
            .steps
            .get(live.step)
            .map_or(trace.rest, |step| Duration::from_millis(step.gap.into()));
        self.wait(which, now + gap, Next::Command);
    }

    fn wait(&mut self, which: usize, until: Tick, next: Next) {
        if let Some(live) = self.live.get_mut(&which) {
            live.due = until;
            live.next = next;
            self.due.push(Reverse((until, which)));
        }
    }

    fn handle(&mut self, now: Tick, which: usize, input: Input<'_>) -> Then {
        let Some((live, trace)) = self.live.get_mut(&which).zip(self.traces.get(which)) else {
            return Then::Close;
        };
        let rules = self.settings.listeners.get(trace.listener);
        let Some(rules) = rules.or_else(|| self.settings.listeners.first()) else {
            return Then::Close;
        };
        let env = Env {
            hostname: "mx.invalid",
            policy: &rules.policy,
            ledger: &self.ledger,
            capabilities: &self.stage.capabilities,
            filter: &self.stage.filter,
            door: self.stage.door,
            prefixes: Prefixes::default(),
        };
        let then = live.session.handle(now, input, &env, &mut self.out);
        self.out.bytes.clear();
        self.write_down(now);
        self.wake(now);
        then
    }

    /// In the order in which the gateway writes them.
    fn write_down(&mut self, now: Tick) {
        let holds = std::mem::take(&mut self.out.holds);
        for hold in holds.iter().filter(|hold| hold.is_before_look_up()) {
            self.watch.hold(now, hold);
        }
        for act in self.out.acts.drain(..) {
            let effect = self.effects.sources.entry(act.source).or_default();
            effect.note(act.deed, act.judged);
            self.watch.act(now, &act);
        }
        for hold in holds.iter().filter(|hold| !hold.is_before_look_up()) {
            self.watch.hold(now, hold);
        }
        for hold in &holds {
            let effect = self.effects.sources.entry(hold.source).or_default();
            effect.holds = effect.holds.saturating_add(1);
            effect.held = effect.held.saturating_add(hold.held);
            let hung_up = u64::from(hold.end == HoldEnd::HangUp);
            effect.hung_up = effect.hung_up.saturating_add(hung_up);
        }
    }

    /// Those that have room now look at once.
    fn wake(&mut self, now: Tick) {
        self.ledger.take_woken(&mut self.woken);
        for Ticket(number) in std::mem::take(&mut self.woken) {
            let which = usize::try_from(number).unwrap_or(usize::MAX);
            let waits = |live: &Live| live.session.waits_for_room();
            if self.live.get(&which).is_some_and(waits) {
                self.wait(which, now, Next::Resume);
            }
        }
    }

    fn close(&mut self, now: Tick, which: usize) {
        self.effects.end = self.effects.end.max(now);
        if let Some((_, trace)) = self.live.remove(&which).zip(self.traces.get(which)) {
            self.watch.ended(now, which, now.since(trace.opened));
        }
    }
}
