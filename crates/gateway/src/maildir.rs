//! The built-in maildir: it stands in for an upstream in `tarpit try` and in tests.
//!
//! It promises what DESIGN promise 1 asks of an upstream: 250 to end-of-data means that every copy
//! of the message is on disk and in its mailbox. One mailbox that fails fails the whole message
//! (452 4.3.1), and the copies that were already in place are taken back: the client will send the
//! message to all of them again.
//!
//! The body is spooled once and copied into each mailbox at the end. Writing it straight into all
//! of them was rejected: it would hold a file open for each of up to a thousand recipients while
//! a slow client sends. The spool is in memory up to 64 KiB and beyond that in a file without a
//! name, so a client that leaves, and a process that dies, leave nothing behind.
//!
//! Line ends stay CRLF, as they came (DESIGN promise 4). Most maildirs have LF; readers take both.

mod deliver;
mod names;
mod spool;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tarpit_core::{Answer, Ask, Chunk, Envelope, Trouble};
use tarpit_smtp::{Capabilities, Reply, ReplyCode, Unstuffer};

use crate::clock;
use crate::config;
use crate::trace;
use crate::upstream::ClientIdentity;
use deliver::Mailbox;
use spool::Spool;

/// The mailboxes, shared by all sessions.
#[derive(Debug)]
pub struct MaildirStore {
    config: config::Maildir,
    hostname: Box<str>,
    /// Keys of the addresses that exist ([`names::key`]).
    recipients: HashSet<String>,
    /// Their domains, for postmaster.
    domains: HashSet<String>,
    /// Mailboxes whose folders are known to be on disk, so that each delivery need not sync their
    /// parents again. At most one for each recipient.
    durable: Mutex<HashSet<PathBuf>>,
}

impl MaildirStore {
    /// The mailboxes below `config.root`, which is created. Mailboxes themselves are created at
    /// their first delivery. `hostname` goes into Received headers and file names.
    ///
    /// # Errors
    ///
    /// The root can't be created, or the address of a recipient is too long for a folder's name.
    pub fn new(config: config::Maildir, hostname: Box<str>) -> io::Result<Arc<Self>> {
        let recipients: HashSet<_> = config
            .recipients
            .iter()
            .map(|one| names::key(one))
            .collect();
        for key in &recipients {
            names::check_folder(key)?;
        }
        let domains = recipients
            .iter()
            .filter_map(|key| key.rsplit_once('@'))
            .map(|(_, domain)| domain.to_owned());
        let domains = domains.collect();
        deliver::create_folder(&config.root)?;
        Ok(Arc::new(Self {
            config,
            hostname,
            recipients,
            domains,
            durable: Mutex::default(),
        }))
    }

    /// What clients are offered.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            pipelining: true,
            size: Some(self.config.size_max),
            eight_bit_mime: true,
            enhanced_status_codes: true,
            chunking: true,
            binary_mime: true,
            ..Capabilities::default()
        }
    }

    /// The maildir of `recipient`, whether it exists or not: always a folder right below the root.
    #[must_use]
    pub fn path_of(&self, recipient: &str) -> PathBuf {
        self.config.root.join(names::folder(&names::key(recipient)))
    }

    /// Whose mailbox takes mail for a forward-path; `None` if nobody's does.
    fn mailbox(&self, forward_path: &str) -> Option<Mailbox> {
        let key = names::key(forward_path);
        let (local, domain) = key
            .rsplit_once('@')
            .map_or((key.as_str(), None), |(local, domain)| {
                (local, Some(domain))
            });
        // RFC 5321 §4.5.1: postmaster is taken with and without a domain.
        let is_role =
            local == "postmaster" && domain.is_none_or(|domain| self.domains.contains(domain));
        let address = if self.recipients.contains(&key) {
            key
        } else if is_role {
            names::key(self.config.recipients.first()?)
        } else {
            return None;
        };
        let folder = self.config.root.join(names::folder(&address));
        Some(Mailbox { address, folder })
    }
}

/// One session's line to the store.
#[derive(Debug)]
pub struct MaildirLink {
    store: Arc<MaildirStore>,
    receiving: Receiving,
}

/// How far the message is.
#[derive(Debug)]
enum Receiving {
    /// No DATA yet.
    Nothing,
    /// Its data comes in.
    Body(Box<Incoming>),
    /// It is larger than announced: the rest is thrown away, and the end is answered with 552.
    TooLarge,
    /// It can't be kept: the rest is thrown away, and the end is answered with 452.
    Failed,
}

/// A message that comes in.
#[derive(Debug)]
struct Incoming {
    who: ClientIdentity,
    reverse_path: Box<str>,
    /// The forward-path, if there is one only.
    only_path: Option<Box<str>>,
    mailboxes: Vec<Mailbox>,
    /// Takes the dots out that DATA needs; chunks have none.
    unstuffer: Option<Unstuffer>,
    spool: Spool,
}

impl MaildirLink {
    /// A line on which nothing was said yet.
    #[must_use]
    pub fn new(store: Arc<MaildirStore>) -> Self {
        Self {
            store,
            receiving: Receiving::Nothing,
        }
    }

    /// Answers a question as an upstream would. Never [`Answer::Trouble`].
    #[expect(
        clippy::unused_async,
        reason = "the shape of the line to a real upstream, where it waits"
    )]
    pub async fn ask(
        &mut self,
        ask: &Ask,
        who: &ClientIdentity,
        envelope: Option<&Envelope>,
    ) -> Answer {
        Answer::Reply(match ask {
            Ask::Rcpt(recipient) if self.store.mailbox(&recipient.path).is_some() => {
                reply(250, "2.1.5 Ok")
            }
            Ask::Rcpt(_) => reply(550, "5.1.1 No such user"),
            Ask::Data => self.data(who, envelope),
            // RFC 4954 §4: AUTH was not offered.
            Ask::Auth { .. } | Ask::AuthLine(_) => reply(503, "5.5.1 AUTH is not offered"),
        })
    }

    fn data(&mut self, who: &ClientIdentity, envelope: Option<&Envelope>) -> Reply {
        let Some(envelope) = envelope.filter(|envelope| !envelope.accepted.is_empty()) else {
            return reply(503, "5.5.1 No recipients");
        };
        let mut mailboxes = Vec::new();
        for recipient in &envelope.accepted {
            let Some(mailbox) = self.store.mailbox(&recipient.path) else {
                return reply(554, "5.1.1 No such user");
            };
            // Two paths to one mailbox (letter case, postmaster) make one copy.
            if !mailboxes.contains(&mailbox) {
                mailboxes.push(mailbox);
            }
        }
        let only_path = if let [only] = envelope.accepted.as_slice() {
            Some(only.path.clone())
        } else {
            None
        };
        self.receiving = Receiving::Body(Box::new(Incoming {
            who: who.clone(),
            reverse_path: envelope.reverse_path.clone(),
            only_path,
            mailboxes,
            unstuffer: Some(Unstuffer::new()),
            spool: Spool::new(),
        }));
        reply(354, "End data with <CR><LF>.<CR><LF>")
    }

    /// Takes message data as it came (dot-stuffed, in any chunks, without the final dot).
    ///
    /// A message that is too large or can't be kept is remembered, and refused at its end.
    ///
    /// # Errors
    ///
    /// [`Trouble::Closed`] if no data was asked for.
    pub async fn send_data(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        if matches!(self.receiving, Receiving::Nothing) {
            return Err(Trouble::Closed);
        }
        // In pieces, so that memory is bounded whatever the caller hands over.
        for piece in bytes.chunks(spool::MEMORY_MAX) {
            self.take(piece).await;
        }
        Ok(())
    }

    async fn take(&mut self, piece: &[u8]) {
        let Receiving::Body(incoming) = &mut self.receiving else {
            return;
        };
        match &mut incoming.unstuffer {
            Some(unstuffer) => unstuffer.unstuff(piece, incoming.spool.memory()),
            None => incoming.spool.memory().extend_from_slice(piece),
        }
        // RFC 1870 §5: octets with CRLF, without the dots that were doubled in transit.
        if incoming.spool.len() > self.store.config.size_max {
            self.receiving = Receiving::TooLarge;
            return;
        }
        if !incoming.spool.is_full() {
            return;
        }
        // Failed in case this future is dropped in the middle, and the spool with it.
        let Receiving::Body(mut incoming) = mem::replace(&mut self.receiving, Receiving::Failed)
        else {
            return;
        };
        let root = self.store.config.root.clone();
        let flushed = blocking(move || incoming.spool.flush(&root).map(|()| incoming)).await;
        match flushed {
            Ok(incoming) => self.receiving = Receiving::Body(incoming),
            Err(error) => {
                tracing::warn!(target: "tarpit::maildir", %error, "can't spool a message");
            }
        }
    }

    /// Takes the last of the message data and delivers: 250 2.0.0 when every copy is on disk and
    /// in place, 552 5.3.4 if it is too large, 452 4.3.1 if it can't be stored.
    pub async fn end_of_data(&mut self, tail: &[u8]) -> Reply {
        if self.send_data(tail).await.is_err() {
            return reply(503, "5.5.1 No message data was asked for");
        }
        let incoming = match mem::replace(&mut self.receiving, Receiving::Nothing) {
            Receiving::Body(incoming) => incoming,
            Receiving::TooLarge => return self.too_large(),
            Receiving::Nothing | Receiving::Failed => return cannot_store(),
        };
        let store = Arc::clone(&self.store);
        let now = clock::unix_now();
        let unique = names::unique(now, &store.hostname);
        match blocking(move || store.deliver(*incoming, now, &unique).map(|()| unique)).await {
            Ok(unique) => reply(250, &format!("2.0.0 Ok: stored as {unique}")),
            Err(error) => {
                tracing::warn!(target: "tarpit::maildir", %error, "can't store a message");
                cannot_store()
            }
        }
    }

    /// Makes ready for the octets of a chunk (RFC 3030), which come by [`Self::send_data`].
    ///
    /// # Errors
    /// The answer in place of the chunk's.
    pub fn open_chunk(
        &mut self,
        chunk: &Chunk,
        who: &ClientIdentity,
        envelope: Option<&Envelope>,
    ) -> Result<(), Answer> {
        if chunk.first {
            let reply = self.data(who, envelope);
            match &mut self.receiving {
                Receiving::Body(incoming) if reply.code().is_intermediate() => {
                    incoming.unstuffer = None;
                }
                _ => return Err(Answer::Reply(reply)),
            }
        }
        Ok(())
    }

    /// The reply to a chunk; after the last one the message is delivered, as after
    /// [`Self::end_of_data`].
    pub async fn end_chunk(&mut self, last: bool) -> Reply {
        if last {
            return self.end_of_data(b"").await;
        }
        match self.receiving {
            Receiving::Body(_) => reply(250, "2.0.0 Ok"),
            // Refused at once: there is no need to send the rest.
            Receiving::TooLarge => self.too_large(),
            Receiving::Nothing | Receiving::Failed => cannot_store(),
        }
    }

    fn too_large(&self) -> Reply {
        let limit = self.store.config.size_max;
        reply(552, &format!("5.3.4 Message is larger than {limit} octets"))
    }

    /// Whether a message is coming in.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        !matches!(self.receiving, Receiving::Nothing)
    }

    /// Forgets a message whose end won't come.
    pub fn abort(&mut self) {
        self.receiving = Receiving::Nothing;
    }
}

impl MaildirStore {
    fn deliver(&self, incoming: Incoming, now: u64, unique: &str) -> io::Result<()> {
        let Incoming {
            who,
            reverse_path,
            only_path,
            mailboxes,
            mut spool,
            ..
        } = incoming;
        // It announces neither AUTH nor SMTPUTF8.
        let with = trace::protocol(&who, false, false);
        let only_path = only_path.as_deref();
        let received = trace::received(&who, with, &self.hostname, unique, only_path, now);
        let head = |mailbox: &Mailbox| trace::head(&reverse_path, &mailbox.address, &received);
        deliver::deliver(&mailboxes, unique, &self.durable, |mailbox, file| {
            io::Write::write_all(file, head(mailbox).as_bytes())?;
            spool.copy_to(file)
        })
    }
}

/// Runs file work where it blocks no session.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn cannot_store() -> Reply {
    reply(452, "4.3.1 Can't store the message now")
}

fn reply(code: u16, text: &str) -> Reply {
    let code = ReplyCode::new(code).expect("a reply code of this file is within 200..=599");
    Reply::new(code, text)
}
