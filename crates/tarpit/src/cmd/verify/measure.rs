//! The conversation with the server: what was said, what came back, and how long it took.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tarpit_smtp::Reply;

use super::smtp::{Client, NoReply, literal};

/// Limit on one TCP connect: Linux itself gives up after about two minutes, and a server that is
/// there answers within a second.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How long the reply to QUIT is awaited: it tells nothing.
const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// 421: the server closes the connection (RFC 5321 §3.8).
const CLOSING: u16 = 421;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Plan {
    /// The address that exists.
    pub(super) good: String,
    /// Addresses that don't.
    pub(super) unknown: Vec<String>,
    /// Limit on each reply.
    pub(super) limit: Duration,
}

impl Plan {
    /// Unknown, known, unknown, ...: begins and ends with an unknown name.
    fn recipients(&self) -> impl Iterator<Item = (Step, &str)> {
        let pairs = self
            .unknown
            .iter()
            .flat_map(|name| [(Step::Known, self.good.as_str()), (Step::Unknown, name)]);
        pairs.skip(1)
    }

    /// Letters in the longest command.
    pub(super) fn widest_command(&self) -> usize {
        self.recipients()
            .map(|(_, path)| rcpt(path).chars().count())
            .max()
            .unwrap_or(0)
    }
}

fn rcpt(path: &str) -> String {
    format!("RCPT TO:<{path}>")
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Connecting, and the greeting.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT to a made-up name.
    Unknown,
    /// RCPT to the good address.
    Known,
}

impl Step {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Greeting | Self::Hello | Self::Mail => "",
            Self::Unknown => "unknown",
            Self::Known => "known",
        }
    }
}

/// What came of a step.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A reply, whatever it says.
    Reply(Reply),
    /// No reply.
    None(NoReply),
    /// No connection; what the system said.
    Unreachable(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) => f.write_str(&reply.to_log()),
            Self::None(why) => why.fmt(f),
            Self::Unreachable(why) => write!(f, "can't connect: {why}"),
        }
    }
}

/// One step and its time.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) step: Step,
    /// For the table.
    pub(super) command: String,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

impl Row {
    /// The reply, unless it was none or only said that the connection closes.
    pub(super) fn reply(&self) -> Option<&Reply> {
        match &self.outcome {
            Outcome::Reply(reply) if reply.code().get() != CLOSING => Some(reply),
            _ => None,
        }
    }

    fn answer(&self) -> Answer {
        match &self.outcome {
            Outcome::Reply(reply) if reply.code().get() == CLOSING => Answer::Closing,
            Outcome::Reply(reply) if reply.code().is_positive() => Answer::Yes,
            Outcome::Reply(_) => Answer::No,
            Outcome::None(NoReply::Closed) => Answer::Closing,
            Outcome::None(_) | Outcome::Unreachable(_) => Answer::Nothing,
        }
    }
}

/// What a row means for the rest of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// The connection is gone; asking again on a new one may still get an answer.
    Closing,
    /// Nothing more can be measured.
    Nothing,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Measurements {
    /// In the order of the conversation.
    pub(super) rows: Vec<Row>,
    /// For each time that the server closed the connection on a recipient: how many refusals that
    /// connection had had.
    pub(super) closings: Vec<usize>,
}

/// Asks for all recipients of the plan. `show` is called with each row as soon as it is there.
pub(super) async fn measure(
    servers: &[SocketAddr],
    plan: &Plan,
    show: impl FnMut(&Row),
) -> Measurements {
    let mut run = Run {
        plan,
        servers,
        show,
        measured: Measurements::default(),
        client: None,
        errors: 0,
    };
    for (step, path) in plan.recipients() {
        if run.recipient(step, path).await.is_none() {
            break;
        }
    }
    if let Some(mut client) = run.client {
        let _ = client.command("QUIT", QUIT_LIMIT).await;
    }
    run.measured
}

struct Run<'a, F> {
    plan: &'a Plan,
    servers: &'a [SocketAddr],
    show: F,
    measured: Measurements,
    client: Option<Client>,
    /// Refusals on this connection.
    errors: usize,
}

impl<F: FnMut(&Row)> Run<'_, F> {
    /// Asks for one recipient; once more on a new connection if the server closed this one. None
    /// if nothing more can be measured.
    async fn recipient(&mut self, step: Step, path: &str) -> Option<()> {
        for _ in 0..2 {
            let mut client = match self.client.take() {
                Some(client) => client,
                None => self.open().await?,
            };
            match self.say(&mut client, step, rcpt(path)).await {
                Answer::Yes => {}
                Answer::No => self.errors += 1,
                Answer::Closing => {
                    self.measured.closings.push(self.errors);
                    continue;
                }
                Answer::Nothing => return None,
            }
            self.client = Some(client);
            return Some(());
        }
        None
    }

    /// A connection with MAIL on it.
    async fn open(&mut self) -> Option<Client> {
        self.errors = 0;
        let start = Instant::now();
        let connected = self.connect().await;
        let (client, outcome) = match connected {
            Ok(mut client) => {
                let greeting = client.reply(self.plan.limit).await;
                (
                    Some(client),
                    greeting.map_or_else(Outcome::None, Outcome::Reply),
                )
            }
            Err(error) => (None, Outcome::Unreachable(error.to_string())),
        };
        let command = "connect, greeting".to_owned();
        if self.keep(Row {
            step: Step::Greeting,
            command,
            outcome,
            took: start.elapsed(),
        }) != Answer::Yes
        {
            return None;
        }
        let mut client = client?;
        let name = literal(client.local().ok()?);
        // RFC 5321 §3.2: a server without extensions is greeted with HELO.
        if self
            .say(&mut client, Step::Hello, format!("EHLO {name}"))
            .await
            != Answer::Yes
            && self
                .say(&mut client, Step::Hello, format!("HELO {name}"))
                .await
                != Answer::Yes
        {
            return None;
        }
        let mail = self
            .say(&mut client, Step::Mail, "MAIL FROM:<>".to_owned())
            .await;
        (mail == Answer::Yes).then_some(client)
    }

    async fn connect(&self) -> std::io::Result<Client> {
        let mut last = std::io::Error::other("the host has no address");
        for &server in self.servers {
            match Client::connect(server, None, CONNECT_LIMIT).await {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn say(&mut self, client: &mut Client, step: Step, command: String) -> Answer {
        let (reply, took) = client.command(&command, self.plan.limit).await;
        self.keep(Row {
            step,
            command,
            outcome: reply.map_or_else(Outcome::None, Outcome::Reply),
            took,
        })
    }

    fn keep(&mut self, row: Row) -> Answer {
        (self.show)(&row);
        let answer = row.answer();
        self.measured.rows.push(row);
        answer
    }
}
