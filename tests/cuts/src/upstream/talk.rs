//! The dialogue: strict, and with a journal.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Connection;
use crate::case::{Case, Commit, Open};
use crate::point::{Action, Dialogue, Leg};
use crate::script::{ALICE, BOB, LATER};

/// What stands between MAIL and end-of-data.
#[derive(Debug)]
struct Transaction {
    /// `None` for those of the gateway itself: its probe.
    case: Option<(Arc<Case>, usize)>,
    recipients: Vec<String>,
    /// What came in chunks; with a first one only chunks and RSET may follow.
    chunks: Option<Vec<u8>>,
    _open: Option<Open>,
}

const GREETING: &str = "220 journal.example.org ESMTP\r\n";
const EHLO: &str = "250-journal.example.org\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n";

impl Connection {
    pub(super) async fn talk(&mut self) -> io::Result<()> {
        if self.told
            && let Some(client) = self.proxy_header().await?
            && let Some(case) = self.registry.address(&client)
        {
            self.attach(case.attach());
        }
        self.say(GREETING).await?;
        let mut transaction = None;
        loop {
            let line = self.line().await?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let verb = line.split(' ').next().unwrap_or_default();
            match verb {
                "EHLO" => {
                    let is_converted = self.attached.as_ref().is_some_and(|attached| {
                        attached.case.point.dialogue == Dialogue::Converted
                    });
                    let offer = if is_converted {
                        EHLO.replace("250-CHUNKING\r\n", "")
                    } else {
                        EHLO.to_owned()
                    };
                    let has_tls = self.registry.tls.get().is_some() && !self.is_secure;
                    let starttls = if has_tls { "250-STARTTLS\r\n" } else { "" };
                    let offer =
                        offer.replace("250-PIPELINING", &format!("{starttls}250-PIPELINING"));
                    self.say(&offer).await?;
                }
                "STARTTLS" => self.start_tls().await?,
                "BDAT" => self.chunk(&line, &mut transaction).await?,
                "MAIL" => self.mail(&line, &mut transaction).await?,
                "RCPT" => self.rcpt(&line, &mut transaction).await?,
                "DATA" => self.data(&mut transaction).await?,
                "RSET" => {
                    self.end_of_transaction(&mut transaction);
                    self.say("250 2.0.0 Ok\r\n").await?;
                }
                "QUIT" => {
                    self.say("221 2.0.0 Bye\r\n").await?;
                    return Ok(());
                }
                _ => {
                    self.violation(&format!("no command: {line:?}"));
                    self.say("502 5.5.2 What?\r\n").await?;
                }
            }
        }
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        if self.say("220 2.0.0 Go on\r\n").await?.0 != 220 {
            return Ok(());
        }
        if self.next < self.unread.len() {
            self.violation("something in the clear behind STARTTLS");
        }
        let registry = Arc::clone(&self.registry);
        let tls = registry.tls.get().ok_or(ErrorKind::Unsupported)?;
        self.stream.secure(tls, false).await?;
        self.is_secure = true;
        Ok(())
    }

    /// What the point says in place of the next reply.
    fn planned(&self) -> Option<u16> {
        let attached = self.attached.as_ref()?;
        match (attached.case.point.leg, attached.case.point.action) {
            (Leg::UpstreamSaid(_), Action::Say(code))
                if self.is_due && attached.case.point.at == self.replies =>
            {
                Some(code)
            }
            _ => None,
        }
    }

    /// Says a reply, or what the point says instead. The code, and whether all of it went out.
    async fn say(&mut self, text: &str) -> io::Result<(u16, bool)> {
        let planned = self.planned();
        self.replies += 1;
        let Some(code) = planned else {
            let code = text.get(..3).and_then(|code| code.parse().ok());
            return Ok((code.unwrap_or_default(), self.write(text).await?));
        };
        self.is_due = false;
        if let Some(attached) = &self.attached {
            attached.case.fire();
        }
        let class = code / 100;
        let text = format!("{code} {class}.3.0 as planned\r\n");
        let whole = self.write(&text).await?;
        if code == 421 {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok((code, whole))
    }

    fn end_of_transaction(&mut self, transaction: &mut Option<Transaction>) {
        *transaction = None;
        if !self.told {
            self.note_lengths();
            self.attached = None;
            self.is_due = false;
        }
    }

    async fn mail(&mut self, line: &str, transaction: &mut Option<Transaction>) -> io::Result<()> {
        if transaction.is_some() {
            self.violation("MAIL within a transaction");
            self.say("503 5.5.1 Nested\r\n").await?;
            return Ok(());
        }
        let token = path(line).split('@').next().unwrap_or_default().to_owned();
        let case = self.registry.message(&token);
        if let (false, Some((case, message))) = (self.told, &case) {
            self.registry
                .reused
                .fetch_add(u64::from(self.messages > 0), Ordering::Relaxed);
            // The last message of a dialogue: what came before it was well.
            if message + 1 == case.script.messages.len() {
                self.attach(case.attach());
            }
        }
        if self.say("250 2.1.0 Ok\r\n").await?.0 == 250 {
            *transaction = Some(Transaction {
                _open: case.as_ref().map(|(case, _)| case.open()),
                case,
                recipients: Vec::new(),
                chunks: None,
            });
        } else {
            self.end_of_transaction(transaction);
        }
        Ok(())
    }

    async fn rcpt(&mut self, line: &str, transaction: &mut Option<Transaction>) -> io::Result<()> {
        let Some(transaction) = transaction else {
            // Right behind a refused MAIL, pipelined, this is no mistake.
            self.say("503 5.5.1 No MAIL\r\n").await?;
            return Ok(());
        };
        let path = path(line);
        let reply = match path {
            ALICE | BOB => "250 2.1.5 Ok\r\n",
            LATER => "450 4.2.0 Later\r\n",
            _ if path.ends_with("@example.org") => "550 5.1.1 No such user\r\n",
            _ => "554 5.7.1 No relaying\r\n",
        };
        if self.say(reply).await?.0 == 250 {
            transaction.recipients.push(path.to_owned());
        }
        Ok(())
    }

    async fn data(&mut self, slot: &mut Option<Transaction>) -> io::Result<()> {
        if slot.as_ref().is_some_and(|one| one.chunks.is_some()) {
            self.violation("DATA behind a chunk");
        }
        let transaction = slot.take().filter(|one| !one.recipients.is_empty());
        let Some(transaction) = transaction else {
            self.say("554 5.5.1 No recipients\r\n").await?;
            self.end_of_transaction(slot);
            return Ok(());
        };
        if self.say("354 Go on\r\n").await?.0 != 354 {
            self.end_of_transaction(slot);
            return Ok(());
        }
        self.in_content = Some(0);
        let content = self.content().await?;
        self.in_content = None;
        if self.is_early {
            self.messages += 1;
            // It said what it had to say; no second word.
            self.is_early = false;
            self.replies += 1;
            self.end_of_transaction(slot);
            return Ok(());
        }
        self.taken(&transaction, &content).await?;
        self.end_of_transaction(slot);
        Ok(())
    }

    async fn chunk(&mut self, line: &str, slot: &mut Option<Transaction>) -> io::Result<()> {
        let mut words = line.split(' ').skip(1);
        let size = words.next().and_then(|size| size.parse::<usize>().ok());
        let Some(size) = size else {
            self.violation(&format!("no chunk: {line:?}"));
            return Err(ErrorKind::InvalidData.into());
        };
        let is_last = words.next() == Some("LAST");
        let mut octets = Vec::with_capacity(size);
        for _ in 0..size {
            octets.push(self.octet().await?);
        }
        let usable = slot.as_mut().filter(|one| !one.recipients.is_empty());
        let Some(transaction) = usable else {
            self.say("503 5.5.1 No transaction\r\n").await?;
            return Ok(());
        };
        transaction.chunks.get_or_insert_default().extend(octets);
        if !is_last {
            if self.say("250 2.0.0 Ok: chunk\r\n").await?.0 != 250 {
                self.end_of_transaction(slot);
            }
            return Ok(());
        }
        let Some(transaction) = slot.take() else {
            return Ok(());
        };
        let content = transaction.chunks.as_deref().unwrap_or_default();
        self.taken(&transaction, content).await?;
        self.end_of_transaction(slot);
        Ok(())
    }

    /// The whole message is there: takes it and says so, unless the point says otherwise.
    async fn taken(&mut self, transaction: &Transaction, content: &[u8]) -> io::Result<()> {
        self.registry.activity.fetch_add(1, Ordering::Relaxed);
        self.messages += 1;
        let place = match (&transaction.case, self.planned()) {
            (Some((case, message)), None) => {
                Some(commit(case, *message, &transaction.recipients, content))
            }
            _ => None,
        };
        let (_, whole) = self.say("250 2.0.0 Ok: queued\r\n").await?;
        if let (Some((case, _)), Some(place)) = (&transaction.case, place)
            && let Some(commit) = case.journal().commits.get_mut(place)
        {
            commit.answered = Some(whole);
        }
        Ok(())
    }

    /// Message data up to the dot, unstuffed.
    async fn content(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let line = self.line().await?;
            if line == b"." {
                return Ok(content);
            }
            let line = line.strip_prefix(b".").unwrap_or(&line);
            content.extend_from_slice(line);
            content.extend_from_slice(b"\r\n");
        }
    }
}

fn commit(case: &Case, message: usize, recipients: &[String], content: &[u8]) -> usize {
    let expected = case.script.messages[message].content.as_deref();
    let mut journal = case.journal();
    journal.commits.push(Commit {
        message,
        recipients: recipients.to_vec(),
        exact: expected == Some(content),
        answered: Some(false),
    });
    journal.commits.len() - 1
}

/// What stands between the brackets.
fn path(line: &str) -> &str {
    line.split(['<', '>']).nth(1).unwrap_or_default()
}
