//! What the client says, step by step, and which replies it waits for.

use tarpit_interop::stuffed;

use crate::point::Dialogue;

/// A reply that the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Greeting,
    Mail(usize),
    Rcpt(usize, usize),
    Data(usize),
    /// The reply to end-of-data.
    End(usize),
    /// The reply to a chunk that is not the last.
    Chunk(usize),
    /// The reply to STARTTLS; the handshake follows.
    StartTls,
    /// EHLO, RSET, QUIT: says nothing about a message.
    Other,
}

/// Octets, and the reply that they ask for.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) octets: Vec<u8>,
    pub(crate) expect: Option<Expect>,
}

/// What is sent at once.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Waits for longer than the grace time first.
    pub(crate) pause: bool,
    /// The message that it is about; left out once that has failed.
    pub(crate) about: Option<usize>,
    /// Message data: only after 354.
    pub(crate) is_content: bool,
    pub(crate) parts: Vec<Part>,
}

/// A message, as it was meant.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// In its reverse-path and in its header; nowhere else.
    pub(crate) token: String,
    pub(crate) recipients: Vec<&'static str>,
    /// `None` for a transaction that never comes to its message.
    pub(crate) content: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) messages: Vec<Message>,
    pub(crate) steps: Vec<Step>,
}

/// What every server behind makes of these: two exist, one doesn't.
pub(crate) const ALICE: &str = "alice@example.org";
pub(crate) const BOB: &str = "bob@example.org";
pub(crate) const NOBODY: &str = "nobody@example.org";

/// Refused for now by the scripted server alone.
pub(crate) const LATER: &str = "later@example.org";

const BIG: usize = 96 * 1024;

/// The token of a message. All have the same length, so that positions mean the same in each case.
pub(crate) fn token(case: u64, message: usize) -> String {
    format!("c{case:09}m{message}")
}

impl Script {
    /// `secured`: STARTTLS comes before all else.
    pub(crate) fn new(dialogue: Dialogue, case: u64, secured: bool) -> Self {
        let mut script = Self {
            messages: Vec::new(),
            steps: Vec::new(),
        };
        script.hello(secured);
        let one = |script: &mut Self, recipients: &[&'static str], body: &str| {
            let message = script.message(case, recipients, Some(body));
            script.stepwise(message);
            script.step(Some(message), [part("DATA\r\n", Expect::Data(message))]);
            message
        };
        match dialogue {
            Dialogue::Plain | Dialogue::Mixed | Dialogue::Dots | Dialogue::Big => {
                let (recipients, body) = single(dialogue);
                let message = one(&mut script, recipients, &body);
                script.content(message, &[]);
            }
            Dialogue::Idle => {
                let message = one(&mut script, &[ALICE, BOB], PLAIN);
                if let Some(data) = script.steps.last_mut() {
                    data.pause = true;
                }
                script.content(message, &[]);
            }
            Dialogue::Drip => {
                let message = one(&mut script, &[ALICE], PLAIN);
                script.dripped(message);
            }
            Dialogue::Reset => {
                let given_up = script.message(case, &[ALICE], None);
                script.stepwise(given_up);
                script.step(None, [part("RSET\r\n", Expect::Other)]);
                let message = one(&mut script, &[BOB], PLAIN);
                script.content(message, &[]);
            }
            Dialogue::Pipelined => {
                let message = script.message(case, &[ALICE, NOBODY, BOB], Some(PLAIN));
                let group = script.group(message);
                script.step(Some(message), group);
                script.content(message, &[part("QUIT\r\n", Expect::Other)]);
                return script;
            }
            Dialogue::Chunks | Dialogue::Converted => {
                let message = script.message(case, &[ALICE, BOB], Some(DOTS));
                script.stepwise(message);
                for chunk in script.chunks(message) {
                    script.step(Some(message), [chunk]);
                }
            }
            Dialogue::ChunksPipelined => {
                let message = script.message(case, &[ALICE, NOBODY], Some(PLAIN));
                let mut group = script.envelope(message);
                group.extend(script.chunks(message));
                group.push(part("QUIT\r\n", Expect::Other));
                script.step(Some(message), group);
                return script;
            }
            Dialogue::Two => {
                let first = script.message(case, &[ALICE], Some(PLAIN));
                let second = script.message(case, &[BOB, ALICE], Some(DOTS));
                let group = script.group(first);
                script.step(Some(first), group);
                // RFC 2920 §3.1: DATA ends a group, the dot does not.
                let next = script.group(second);
                script.content(first, &next);
                script.content(second, &[]);
            }
        }
        script.step(None, [part("QUIT\r\n", Expect::Other)]);
        script
    }

    fn hello(&mut self, secured: bool) {
        self.step(None, [part("", Expect::Greeting)]);
        self.step(None, [part("EHLO client.example.net\r\n", Expect::Other)]);
        if secured {
            self.step(None, [part("STARTTLS\r\n", Expect::StartTls)]);
            self.step(None, [part("EHLO client.example.net\r\n", Expect::Other)]);
        }
    }

    fn message(&mut self, case: u64, recipients: &[&'static str], body: Option<&str>) -> usize {
        let token = token(case, self.messages.len());
        let content = body.map(|body| {
            let header = format!(
                "From: <sender@example.net>\r\nTo: <alice@example.org>\r\nSubject: {token}\r\n\
                 Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{token}@example.net>\r\n\r\n"
            );
            (header + body).into_bytes()
        });
        self.messages.push(Message {
            token,
            recipients: recipients.to_vec(),
            content,
        });
        self.messages.len() - 1
    }

    /// MAIL and RCPT of a message.
    fn envelope(&self, message: usize) -> Vec<Part> {
        let Message {
            token, recipients, ..
        } = &self.messages[message];
        let mail = part(
            &format!("MAIL FROM:<{token}@example.net>\r\n"),
            Expect::Mail(message),
        );
        let recipients = recipients.iter().enumerate().map(|(number, path)| {
            part(
                &format!("RCPT TO:<{path}>\r\n"),
                Expect::Rcpt(message, number),
            )
        });
        std::iter::once(mail).chain(recipients).collect()
    }

    fn group(&self, message: usize) -> Vec<Part> {
        let mut parts = self.envelope(message);
        parts.push(part("DATA\r\n", Expect::Data(message)));
        parts
    }

    fn stepwise(&mut self, message: usize) {
        for part in self.envelope(message) {
            self.step(Some(message), [part]);
        }
    }

    fn step(&mut self, about: Option<usize>, parts: impl Into<Vec<Part>>) {
        self.steps.push(Step {
            pause: false,
            about,
            is_content: false,
            parts: parts.into(),
        });
    }

    fn wire(&self, message: usize) -> Vec<u8> {
        let content = self.messages[message].content.as_deref();
        stuffed(content.unwrap_or_default())
    }

    /// The message and the dot, with `behind` in the same write.
    fn content(&mut self, message: usize, behind: &[Part]) {
        let content = Part {
            octets: self.wire(message),
            expect: Some(Expect::End(message)),
        };
        let mut parts = vec![content];
        parts.extend_from_slice(behind);
        self.step(Some(message), parts);
        self.is_content();
    }

    /// The message in three chunks, cut anywhere, the last of them empty (RFC 3030 §2).
    fn chunks(&self, message: usize) -> Vec<Part> {
        let content = self.messages[message].content.as_deref();
        let content = content.unwrap_or_default();
        let (first, second) = content.split_at(content.len() / 2 + 1);
        let chunk = |content: &[u8], last: &str, expect| Part {
            octets: [
                format!("BDAT {}{last}\r\n", content.len()).as_bytes(),
                content,
            ]
            .concat(),
            expect: Some(expect),
        };
        vec![
            chunk(first, "", Expect::Chunk(message)),
            chunk(second, "", Expect::Chunk(message)),
            chunk(b"", " LAST", Expect::End(message)),
        ]
    }

    fn dripped(&mut self, message: usize) {
        let wire = self.wire(message);
        let (head, tail) = wire.split_at(wire.len() / 2);
        let head = Part {
            octets: head.to_vec(),
            expect: None,
        };
        let tail = Part {
            octets: tail.to_vec(),
            expect: Some(Expect::End(message)),
        };
        self.step(Some(message), [head]);
        self.is_content();
        self.step(Some(message), [tail]);
        self.is_content();
        if let Some(step) = self.steps.last_mut() {
            step.pause = true;
        }
    }

    fn is_content(&mut self) {
        if let Some(step) = self.steps.last_mut() {
            step.is_content = true;
        }
    }
}

fn part(text: &str, expect: Expect) -> Part {
    Part {
        octets: text.as_bytes().to_vec(),
        expect: Some(expect),
    }
}

const PLAIN: &str = "Greetings.\r\n\r\nAnd farewell.\r\n";

/// Its unstuffed lines hold every kind of near end.
const DOTS: &str = ".\r\n..\r\n. \r\n.\r\n\r\n.\r\n.x\r\n\r\n...\r\nQUIT\r\n.\r\n";

/// Recipients and body of the dialogues that differ in nothing else.
fn single(dialogue: Dialogue) -> (&'static [&'static str], String) {
    match dialogue {
        Dialogue::Mixed => (&[ALICE, NOBODY, LATER, BOB], PLAIN.to_owned()),
        Dialogue::Dots => (&[ALICE, BOB], DOTS.to_owned()),
        Dialogue::Big => (&[ALICE], big()),
        _ => (&[ALICE], PLAIN.to_owned()),
    }
}

fn big() -> String {
    (0..BIG / 64)
        .map(|number| format!("{number:010} the quick brown fox jumps over the lazy dog 0123\r\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without that, a position would be another octet in each case.
    #[test]
    fn all_cases_of_a_dialogue_are_equally_long() {
        let length = |case| -> Vec<usize> {
            let script = Script::new(Dialogue::Two, case, false);
            let parts = script.steps.iter().flat_map(|step| &step.parts);
            parts.map(|part| part.octets.len()).collect()
        };
        assert_eq!(length(1), length(999_999_999));
    }
}
