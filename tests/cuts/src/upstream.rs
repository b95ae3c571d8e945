//! A mail server that keeps a journal, takes nothing but strict SMTP, and is cut where a point says.
//!
//! It shares no code with the gateway. What it took is taken before it says so: between the two it
//! may die, as every server may.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::case::{Attached, Registry};
use crate::chance::Pieces;
use crate::point::{Action, Dialogue};
use crate::stream::Stream;

mod talk;
mod wire;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) port: u16,
    accept: JoinHandle<()>,
}

impl Upstream {
    /// `told`: each connection begins with a PROXY header (version 2) that tells the client.
    pub(crate) async fn start(registry: Arc<Registry>, told: bool) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&registry), told));
            }
        });
        Ok(Self { port, accept })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn serve(stream: TcpStream, registry: Arc<Registry>, told: bool) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        stream: Stream::Plain(stream),
        registry,
        told,
        unread: Vec::new(),
        next: 0,
        heard: 0,
        said: 0,
        replies: 0,
        attached: None,
        is_due: false,
        is_mute: false,
        is_secure: false,
        in_content: None,
        is_early: false,
        pieces: Pieces::new(2, false),
        messages: 0,
    };
    // How it ends is in the journal.
    let _: io::Result<()> = connection.talk().await;
    connection.note_lengths();
}

/// One connection, and where its cut stands.
#[derive(Debug)]
struct Connection {
    stream: Stream,
    registry: Arc<Registry>,
    told: bool,
    unread: Vec<u8>,
    /// Of `unread`, how many were taken.
    next: usize,
    /// Counted from the start of the connection, or of the transaction where connections are
    /// shared.
    heard: u32,
    said: u32,
    replies: u32,
    attached: Option<Attached>,
    is_due: bool,
    is_mute: bool,
    is_secure: bool,
    /// Octets of the message so far.
    in_content: Option<u32>,
    /// The message was refused before its end.
    is_early: bool,
    pieces: Pieces,
    messages: u64,
}

impl Connection {
    fn attach(&mut self, attached: Attached) {
        self.note_lengths();
        self.registry.activity.fetch_add(1, Ordering::Relaxed);
        let point = attached.case.point;
        self.is_due = attached.due && point.action != Action::Nothing;
        self.pieces = Pieces::new(u64::from(point.seed) + 1, point.dialogue == Dialogue::Big);
        (self.heard, self.said, self.replies) = (0, 0, 0);
        self.attached = Some(attached);
    }

    fn note_lengths(&self) {
        if let Some(attached) = &self.attached
            && let Some(lengths) = attached.case.journal().lengths.get_mut(attached.number)
        {
            *lengths = [self.heard, self.said, self.replies];
        }
    }

    /// What no gateway may send.
    fn violation(&self, what: &str) {
        match &self.attached {
            Some(attached) => attached.case.journal().violations.push(what.to_owned()),
            None => eprintln!("upstream: {what}, outside of any case"),
        }
    }
}
