//! Plays one dialogue against a gateway of its own.

mod check;
mod stage;

use std::time::{Duration, Instant};

use tarpit_gateway::Gateway;
use tarpit_smtp::escape;
use tarpit_testkit::{DataFate, Dialog, HoldLine, MessageLine, Outcome, Placed, Step};
use tokio::sync::{mpsc, oneshot, watch};

use crate::client::{Client, Heard};
use crate::records;
use crate::time::{LATE, Metronome, OFF};
use crate::upstream::{Act, InData, Question};

/// What a dialogue and the gateway disagree about.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// Said, asked, recorded, or too early.
    Plain(String),
    /// Too late, which a busy machine can make it.
    Late(String),
}

type Checked = Result<(), String>;

/// Plays `dialog`; the text names the line.
pub(crate) async fn play(dialog: &Dialog) -> Result<(), Wrong> {
    let at = |line: usize| {
        move |what: String| Wrong::Plain(format!("{}.dialog:{line}: {what}", dialog.name))
    };
    let mut player = stage::set(dialog).await.map_err(at(0))?;
    for Placed { line, step } in &dialog.steps {
        player.line = *line;
        player.step(step).await.map_err(at(*line))?;
    }
    player.finish().await.map_err(at(0))?;
    match player.late.first() {
        Some(late) => Err(Wrong::Late(format!("{}.dialog:{late}", dialog.name))),
        None => Ok(()),
    }
}

struct Player {
    network: stage::Network,
    /// The line of the present step.
    line: usize,
    /// Clients speak TLS from the first octet.
    implicit_tls: bool,
    /// What the client says at once comes at once: in dialogues about STARTTLS it matters what was
    /// read together.
    gathers: bool,
    /// What came too late.
    late: Vec<String>,
    gateway: Gateway,
    upstream: tokio::task::JoinHandle<()>,
    clock: Metronome,
    clients: Vec<Part>,
    current: usize,
    asked: mpsc::UnboundedReceiver<Question>,
    /// Asked and not claimed yet.
    questions: Vec<Question>,
    in_data: watch::Sender<Option<InData>>,
    /// Clients are trusted to say who their own client is.
    xclient: bool,
    _folder: tempfile::TempDir,
}

/// One client and what the dialogue claims of its session.
struct Part {
    client: Client,
    /// All that it sent.
    sent: Vec<u8>,
    /// Gathered and not sent yet.
    unsent: Vec<u8>,
    /// The question that was claimed and waits for its answer, and whether it is a guess.
    open: Option<(oneshot::Sender<Act>, bool)>,
    /// Everything that was sent since 354, if a message is in progress.
    data: Option<Vec<u8>>,
    mail: Option<String>,
    left: bool,
    end: Option<String>,
    holds: Vec<HoldLine>,
    fields: Vec<(String, String)>,
    message: Option<MessageLine>,
}

impl Player {
    async fn step(&mut self, step: &Step) -> Checked {
        if !matches!(step, Step::Send(_)) && !self.clients.is_empty() {
            self.flush().await?;
        }
        match step {
            Step::Open { from, .. } => return self.open(*from).await,
            Step::Session(number) => self.current = number - 1,
            Step::Send(bytes) => {
                self.nothing_early()?;
                let bytes = &self.introduced(bytes);
                if let Some(data) = &mut self.part().data {
                    data.extend_from_slice(bytes);
                }
                self.part().unsent.extend_from_slice(bytes);
                self.part().sent.extend_from_slice(bytes);
                if !self.gathers {
                    return self.flush().await;
                }
            }
            Step::Say(line) => return self.say(line).await,
            Step::SayPart(octets) => return self.say_part(octets).await,
            Step::Ask { question, outcome } => return self.ask(question, outcome.as_ref()).await,
            Step::Answer(outcome) => return self.answer(outcome).await,
            Step::Mail(line) => self.part().mail = Some(line.clone()),
            Step::Data(fate) => self.data(fate),
            Step::Nothing => return self.nothing_early(),
            Step::Wait(span) => {
                self.clock.wait(*span).await;
                return self.nothing_early();
            }
            Step::Hold(line) => self.part().holds.push(line.clone()),
            Step::Record(fields) => self.part().fields.clone_from(fields),
            Step::Message(line) => self.part().message = Some(line.clone()),
            Step::Closed(end) => return self.closed(end).await,
            Step::HangUp => {
                self.part().left = true;
                self.part().client.hang_up().await;
            }
            Step::HalfClose => return self.part().client.half_close(),
            Step::Drain => self.gateway.handle().drain(),
            Step::Tls(true) => return self.part().client.secure().await,
            Step::Tls(false) => return self.part().client.fail_to_secure().await,
            Step::DrainOver | Step::Shed => {
                return Err("can't be played here; allowed with core only".to_owned());
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Checked {
        let part = self.part();
        if part.unsent.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut part.unsent);
        part.client.send(&bytes).await
    }

    /// XCLIENT names clients by the addresses of dialogues; here each is another one.
    fn introduced(&mut self, bytes: &[u8]) -> Vec<u8> {
        let network = self.network;
        let Some(line) = std::str::from_utf8(bytes)
            .ok()
            .filter(|line| line.starts_with("XCLIENT "))
        else {
            return bytes.to_vec();
        };
        let mut address = self.part().client.address;
        let words: Vec<String> = line
            .split(' ')
            .map(|word| {
                let (name, value) = word.trim_end().split_once('=').unwrap_or((word, ""));
                match (name, value.parse()) {
                    ("ADDR", Ok(of)) => {
                        let ip = network.address(of);
                        address = (ip, 0).into();
                        word.replace(value, &ip.to_string())
                    }
                    ("PORT", _) => {
                        address.set_port(value.parse().unwrap_or_default());
                        word.to_owned()
                    }
                    _ => word.to_owned(),
                }
            })
            .collect();
        if self.xclient {
            self.part().client.address = address;
        }
        words.join(" ").into_bytes()
    }

    fn part(&mut self) -> &mut Part {
        &mut self.clients[self.current]
    }

    async fn say(&mut self, line: &[u8]) -> Checked {
        let started = Instant::now();
        let expected = shown(line);
        let (at, heard) = self
            .part()
            .client
            .next()
            .await
            .ok_or_else(|| format!("expected {expected}, nothing came"))?;
        let Heard::Line(said) = heard else {
            return Err(format!("expected {expected}, the gateway closed"));
        };
        let said = self.by_number(&shown(&said))?;
        if said != expected {
            return Err(format!("expected {expected}, the gateway said {said}"));
        }
        self.note_late(at.saturating_duration_since(started), &said);
        self.not_early(at, &said)
    }

    /// A part of a line. What comes behind it may have come with it.
    async fn say_part(&mut self, octets: &[u8]) -> Checked {
        let started = Instant::now();
        let expected = shown(octets);
        let heard = self.part().client.octets(octets.len()).await;
        let (at, said) = heard.ok_or_else(|| format!("expected {expected}, nothing came"))?;
        let said = shown(&said);
        if said != expected {
            return Err(format!("expected {expected}, the gateway said {said}"));
        }
        self.note_late(at.saturating_duration_since(started), &said);
        self.not_early(at, &said)
    }

    /// The gateway's ids are its own; dialogues count sessions. An id has to stay the same.
    fn by_number(&mut self, said: &str) -> Result<String, String> {
        let Some((text, id)) = said
            .split_once("[tp-")
            .and_then(|(text, id)| Some((text, id.strip_suffix(']')?)))
        else {
            return Ok(said.to_owned());
        };
        let number = self.current + 1;
        let known = self.part().client.id.get_or_insert_with(|| id.to_owned());
        if known != id {
            return Err(format!("the session's id was {known}, now it is {id}"));
        }
        Ok(format!("{text}[tp-{number:08}]"))
    }

    async fn ask(&mut self, question: &str, outcome: Option<&Outcome>) -> Checked {
        // The upstream has answered these by itself.
        let wanted = match outcome {
            Some(Outcome::SenderRefused(_)) => "MAIL",
            Some(Outcome::ServiceRefused(_)) => "GREETING",
            _ => question,
        };
        let Question {
            at,
            mail,
            body,
            answer,
            ..
        } = self.question(wanted).await?;
        self.not_early(at, wanted)?;
        if let Some(expected) = self.part().mail.take()
            && mail != expected
        {
            return Err(format!(
                "expected {expected:?}, the upstream was told {mail:?}"
            ));
        }
        if question.starts_with("BDAT") && !contains(&self.part().sent, &body) {
            return Err(format!("the upstream got other octets: {}", shown(&body)));
        }
        if question == "." {
            let sent = self.part().data.take().unwrap_or_default();
            // What follows the dot in the same packet is not data.
            if !sent.starts_with(&[&body, &b".\r\n"[..]].concat()) {
                return Err(format!("the upstream got other data: {}", shown(&body)));
            }
        }
        let is_guess = ["RCPT ", "AUTH ", "LINE "]
            .iter()
            .any(|verb| wanted.starts_with(verb));
        self.part().open = answer.map(|answer| (answer, is_guess));
        match outcome {
            Some(Outcome::SenderRefused(_) | Outcome::ServiceRefused(_)) | None => Ok(()),
            Some(outcome) => self.answer(outcome).await,
        }
    }

    async fn question(&mut self, wanted: &str) -> Result<Question, String> {
        let deadline = tokio::time::Instant::now() + LATE;
        loop {
            if let Some(place) = self
                .questions
                .iter()
                .position(|question| question.text == wanted)
            {
                return Ok(self.questions.remove(place));
            }
            match tokio::time::timeout_at(deadline, self.asked.recv()).await {
                Ok(Some(question)) => self.questions.push(question),
                _ => {
                    let others: Vec<&str> = self
                        .questions
                        .iter()
                        .map(|question| question.text.as_str())
                        .collect();
                    return Err(format!(
                        "the upstream was not asked {wanted:?}; it was asked {others:?}"
                    ));
                }
            }
        }
    }

    async fn answer(&mut self, outcome: &Outcome) -> Checked {
        let act = match outcome {
            Outcome::Reply(reply) => Act::Say(reply.clone()),
            Outcome::Trouble(tarpit_core::Trouble::Garbage) => Act::Babble,
            Outcome::Trouble(tarpit_core::Trouble::Closed | tarpit_core::Trouble::AuthLost) => {
                Act::Close
            }
            _ => return Err("can't be played here; allowed with core only".to_owned()),
        };
        if matches!(&act, Act::Say(reply) if reply.code().get() == 354) {
            self.part().data = Some(Vec::new());
        }
        let (open, is_guess) = self
            .part()
            .open
            .take()
            .ok_or("nothing was asked that could be answered")?;
        let is_wrong_guess =
            is_guess && matches!(&act, Act::Say(reply) if reply.code().is_permanent());
        let client = self.part().client.address.ip();
        let acts = records::acts(client);
        // The gateway may have hung up with its client.
        let _ = open.send(act);
        if is_wrong_guess {
            // Its client hears nothing for now. But if the next session's guess were charged before
            // this one, each of them would wait for the other's time.
            records::one_more_act(client, acts).await;
        }
        Ok(())
    }

    fn data(&self, fate: &DataFate) {
        let fate = match fate {
            DataFate::Refused(reply) => InData::Refuse(reply.clone()),
            DataFate::Lost(_) | DataFate::TooSlow => InData::Close,
        };
        self.in_data.send_replace(Some(fate));
    }

    /// Nothing has come that was not claimed, as far as can be seen now.
    fn nothing(&mut self) -> Checked {
        for (number, part) in self.clients.iter_mut().enumerate() {
            if let Some((_, Heard::Line(line))) = part.client.peek() {
                return Err(format!(
                    "session {} heard {}, which the dialogue does not claim",
                    number + 1,
                    shown(&line)
                ));
            }
        }
        Ok(())
    }

    /// Nothing has come before the present moment that was not claimed.
    fn nothing_early(&mut self) -> Checked {
        let clock = self.clock;
        for (number, part) in self.clients.iter_mut().enumerate() {
            if let Some((at, Heard::Line(line))) = part.client.peek()
                && clock.is_early(at)
            {
                return Err(format!(
                    "session {} heard {}, {:?} too early",
                    number + 1,
                    shown(&line),
                    clock.lead(at)
                ));
            }
        }
        while let Ok(question) = self.asked.try_recv() {
            self.questions.push(question);
        }
        match self
            .questions
            .iter()
            .find(|question| clock.is_early(question.at))
        {
            Some(early) => Err(format!(
                "the upstream was asked {:?}, which the dialogue does not know of",
                early.text
            )),
            None => Ok(()),
        }
    }

    fn note_late(&mut self, by: Duration, what: &str) {
        if by > OFF {
            self.late
                .push(format!("{}: {what}: {by:?} too late", self.line));
        }
    }

    fn not_early(&self, at: Instant, what: &str) -> Checked {
        if self.clock.is_early(at) {
            Err(format!("{what}: {:?} too early", self.clock.lead(at)))
        } else {
            Ok(())
        }
    }

    async fn closed(&mut self, end: &str) -> Checked {
        self.part().end = Some(end.to_owned());
        if self.part().left {
            return Ok(());
        }
        match self.part().client.next().await {
            Some((at, Heard::End)) => self.not_early(at, "the end"),
            Some((_, Heard::Line(line))) => Err(format!(
                "expected the end, the gateway said {}",
                shown(&line)
            )),
            None => Err("the gateway has not closed the session".to_owned()),
        }
    }
}

fn contains(sent: &[u8], body: &[u8]) -> bool {
    body.is_empty() || sent.windows(body.len()).any(|octets| octets == body)
}

fn shown(bytes: &[u8]) -> String {
    escape(bytes).to_string()
}
