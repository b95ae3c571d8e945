//! A scripted upstream: it answers what the dialogue says, when the dialogue says it.
//!
//! What belongs to the way (EHLO, MAIL, RSET, QUIT, the gateway's own probe) it answers by itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tarpit_smtp::Reply;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// What the gateway asked. The answer is given through it.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) at: Instant,
    /// As dialogues write it.
    pub(crate) text: String,
    /// The last MAIL line on this connection.
    pub(crate) mail: String,
    /// Message data, for the question `.`.
    pub(crate) body: Vec<u8>,
    /// `None` if the upstream has answered by itself: the sender or the session was refused.
    pub(crate) answer: Option<oneshot::Sender<Act>>,
}

/// What the upstream does.
#[derive(Debug)]
pub(crate) enum Act {
    /// It says this.
    Say(Reply),
    /// It says what is no reply.
    Babble,
    /// It closes the connection.
    Close,
}

/// What can happen in the middle of message data.
#[derive(Clone, Debug)]
pub(crate) enum InData {
    /// It refuses.
    Refuse(Reply),
    /// It closes the connection.
    Close,
}

/// What it knows from the start.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) ehlo: Reply,
    /// MAIL that is refused, by its reverse-path with brackets.
    pub(crate) senders: HashMap<String, Reply>,
    /// Its greeting, once the gateway has started.
    pub(crate) greeting: Mutex<Option<Reply>>,
    pub(crate) questions: mpsc::UnboundedSender<Question>,
    pub(crate) in_data: tokio::sync::watch::Receiver<Option<InData>>,
}

/// Listens until its runtime ends.
pub(crate) async fn start(
    script: Arc<Script>,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            // An error is a connection that the gateway closed.
            tokio::spawn(async move { Conn::new(stream, script).serve().await.ok() });
        }
    });
    Ok((address, task))
}

struct Conn {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    script: Arc<Script>,
    mail: String,
    refused: bool,
    /// Recipients of the present transaction.
    accepted: Vec<String>,
    /// Of them, those that the gateway will say again, since DATA was refused.
    again: Vec<String>,
}

type Served<T> = std::io::Result<T>;

impl Conn {
    fn new(stream: TcpStream, script: Arc<Script>) -> Self {
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self {
            reader: BufReader::new(reader),
            writer,
            script,
            mail: String::new(),
            refused: false,
            accepted: Vec::new(),
            again: Vec::new(),
        }
    }

    async fn serve(mut self) -> Served<()> {
        let refusal = self.script.greeting.lock().unwrap().clone();
        if let Some(refusal) = refusal {
            self.tell("GREETING".to_owned());
            return self.say(&refusal).await;
        }
        self.write(b"220 upstream.example.org ESMTP\r\n").await?;
        while let Some(line) = self.line().await? {
            let verb = line
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            let goes_on = match verb.as_str() {
                "EHLO" => {
                    let ehlo = self.script.ehlo.clone();
                    self.say(&ehlo).await.map(|()| true)
                }
                "HELO" | "RSET" | "NOOP" => self.write(b"250 Ok\r\n").await.map(|()| true),
                "QUIT" => self.write(b"221 Bye\r\n").await.map(|()| false),
                "MAIL" => self.mail_command(line).await.map(|()| true),
                "RCPT" => self.rcpt(&line).await,
                "DATA" => self.data().await,
                "BDAT" => self.chunk(line).await,
                "AUTH" => self.auth(line).await,
                _ => self.write(b"500 What?\r\n").await.map(|()| true),
            }?;
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn mail_command(&mut self, line: String) -> Served<()> {
        let path = line
            .strip_prefix("MAIL FROM:")
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_default();
        let refusal = self.script.senders.get(path).cloned();
        self.refused = refusal.is_some();
        self.accepted.clear();
        self.mail = line;
        match refusal {
            Some(reply) => {
                self.tell("MAIL".to_owned());
                self.say(&reply).await
            }
            None => self.write(b"250 2.1.0 Ok\r\n").await,
        }
    }

    async fn rcpt(&mut self, line: &str) -> Served<bool> {
        // The path, and the parameters behind it; no path here is quoted.
        let path = line
            .strip_prefix("RCPT TO:<")
            .and_then(|rest| rest.split_once('>'))
            .map_or_else(
                || line.to_owned(),
                |(path, params)| format!("{path}{params}"),
            );
        let path = &*path;
        // The gateway's own question whether we relay for it.
        if path == "postmaster@example.com" {
            return self
                .write(b"550 5.7.1 Relaying denied\r\n")
                .await
                .map(|()| true);
        }
        if self.refused {
            return self.write(b"503 5.5.1 Need MAIL\r\n").await.map(|()| true);
        }
        if let Some(place) = self.again.iter().position(|again| again == path) {
            self.accepted.push(self.again.remove(place));
            return self.write(b"250 2.1.5 Ok\r\n").await.map(|()| true);
        }
        let code = self.ask(format!("RCPT {path}"), Vec::new()).await?;
        if code == Some(250) {
            self.accepted.push(path.to_owned());
        }
        Ok(code.is_some())
    }

    async fn auth(&mut self, line: String) -> Served<bool> {
        let mut question = line;
        loop {
            match self.ask(question, Vec::new()).await? {
                None => return Ok(false),
                Some(334) => {}
                Some(_) => return Ok(true),
            }
            let Some(line) = self.line().await? else {
                return Ok(false);
            };
            question = format!("LINE {line}");
        }
    }

    /// A chunk: its octets, then whatever the dialogue answers; in the middle of them whatever
    /// happens in data.
    async fn chunk(&mut self, line: String) -> Served<bool> {
        let size = line.split(' ').nth(1).and_then(|size| size.parse().ok());
        let mut body = vec![0; size.unwrap_or(0)];
        let (mut come, mut answered) = (0, false);
        let mut in_data = self.script.in_data.clone();
        while come < body.len() {
            let fate = tokio::select! {
                // The gateway may have kept the octets until it had judged them.
                biased;
                Ok(fate) = in_data.wait_for(Option::is_some), if !answered => fate.clone(),
                count = self.reader.read(&mut body[come..]) => match count? {
                    0 => return Ok(false),
                    count => {
                        come += count;
                        continue;
                    }
                },
            };
            match fate {
                Some(InData::Refuse(reply)) => {
                    answered = true;
                    self.say(&reply).await?;
                }
                _ => return Ok(false),
            }
        }
        if answered {
            return Ok(true);
        }
        self.ask(line, body).await.map(|code| code.is_some())
    }

    async fn data(&mut self) -> Served<bool> {
        match self.ask("DATA".to_owned(), Vec::new()).await? {
            None => return Ok(false),
            Some(354) => {}
            Some(_) => {
                self.again = std::mem::take(&mut self.accepted);
                return Ok(true);
            }
        }
        let (mut body, mut answered) = (Vec::new(), false);
        let mut in_data = self.script.in_data.clone();
        let mut line = Vec::new();
        loop {
            let fate = tokio::select! {
                // What a cancelled read has got stays in `line`.
                count = self.reader.read_until(b'\n', &mut line) => if count? == 0 {
                    return Ok(false);
                } else {
                    None
                },
                Ok(fate) = in_data.wait_for(Option::is_some), if !answered => fate.clone(),
            };
            match fate {
                Some(InData::Refuse(reply)) => {
                    answered = true;
                    self.say(&reply).await?;
                }
                Some(InData::Close) => return Ok(false),
                None if line == b".\r\n" => break,
                None => body.append(&mut line),
            }
        }
        if answered {
            return Ok(true);
        }
        self.ask(".".to_owned(), body)
            .await
            .map(|code| code.is_some())
    }

    /// Lets the dialogue answer. The code that was said; `None` if the connection is to be closed.
    async fn ask(&mut self, text: String, body: Vec<u8>) -> Served<Option<u16>> {
        let (answer, answered) = oneshot::channel();
        let question = Question {
            at: Instant::now(),
            text,
            mail: self.mail.clone(),
            body,
            answer: Some(answer),
        };
        if self.script.questions.send(question).is_err() {
            // The dialogue is over.
            return Ok(None);
        }
        match answered.await {
            Ok(Act::Say(reply)) => {
                self.say(&reply).await?;
                Ok(Some(reply.code().get()))
            }
            Ok(Act::Babble) => {
                self.write(b"hello, how are you\r\n").await?;
                Ok(Some(0))
            }
            Ok(Act::Close) | Err(_) => Ok(None),
        }
    }

    /// What was answered without the dialogue, for its eyes.
    fn tell(&self, text: String) {
        let question = Question {
            at: Instant::now(),
            text,
            mail: self.mail.clone(),
            body: Vec::new(),
            answer: None,
        };
        let _ = self.script.questions.send(question);
    }

    async fn line(&mut self) -> Served<Option<String>> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        Ok(Some(
            String::from_utf8_lossy(line.trim_ascii_end()).into_owned(),
        ))
    }

    async fn say(&mut self, reply: &Reply) -> Served<()> {
        let mut bytes = Vec::new();
        reply.write_to(&mut bytes);
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Served<()> {
        self.writer.write_all(bytes).await
    }
}
