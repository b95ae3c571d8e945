//! One session's line to whoever takes the mail: the upstream, or the built-in maildir.

use std::time::Duration;

use tarpit_core::{Answer, Ask, Chunk, DataEnd, Envelope, Trouble};
use tarpit_smtp::Reply;

use crate::maildir::MaildirLink;
use crate::upstream::{Claim, ClientIdentity, Lost, Placed, Stopped, UpstreamLink};

/// A closed pair rather than a trait: there are two, and each call says which it is.
#[derive(Debug)]
pub(crate) enum Link {
    Upstream(UpstreamLink),
    Maildir(MaildirLink),
}

impl Link {
    pub(crate) async fn ask(
        &mut self,
        ask: &Ask,
        who: &ClientIdentity,
        claim: Claim,
        envelope: Option<&Envelope>,
        limit: Duration,
    ) -> Answer {
        match self {
            Self::Upstream(link) => link.ask(ask, who, claim, envelope, limit).await,
            Self::Maildir(link) => link.ask(ask, who, envelope).await,
        }
    }

    /// The client has said DATA right behind the recipient that is asked for next.
    pub(crate) fn expect_data(&mut self) {
        if let Self::Upstream(link) = self {
            link.expect_data();
        }
    }

    /// `body`: what was withheld until it was judged, and what follows it.
    pub(crate) async fn send_data(
        &mut self,
        body: [&[u8]; 2],
        limit: Duration,
    ) -> Result<(), Trouble> {
        match self {
            Self::Upstream(link) => link.send_data(body, limit).await,
            Self::Maildir(link) => {
                for piece in body {
                    link.send_data(piece).await?;
                }
                Ok(())
            }
        }
    }

    pub(crate) async fn end_of_data(
        &mut self,
        body: [&[u8]; 2],
        limit: Duration,
    ) -> Result<Reply, Lost> {
        match self {
            Self::Upstream(link) => link.end_of_data(body, limit).await,
            Self::Maildir(link) => {
                let [withheld, body] = body;
                // If no data was asked for, the next call says so.
                let _ = link.send_data(withheld).await;
                Ok(link.end_of_data(body).await)
            }
        }
    }

    /// Makes ready for the octets of a chunk; an error is the answer in place of the chunk's.
    pub(crate) async fn open_chunk(
        &mut self,
        chunk: &Chunk,
        who: &ClientIdentity,
        claim: Claim,
        envelope: Option<&Envelope>,
        limit: Duration,
    ) -> Result<(), Answer> {
        match self {
            Self::Upstream(link) => link.open_chunk(chunk, who, claim, envelope, limit).await,
            Self::Maildir(link) => link.open_chunk(chunk, who, envelope),
        }
    }

    pub(crate) async fn send_chunk(
        &mut self,
        octets: &[u8],
        limit: Duration,
    ) -> Result<(), Stopped> {
        match self {
            Self::Upstream(link) => link.send_chunk(octets, limit).await,
            Self::Maildir(link) => link.send_data(octets).await.map_err(Stopped::Trouble),
        }
    }

    pub(crate) async fn end_chunk(&mut self, last: bool, limit: Duration) -> DataEnd {
        match self {
            Self::Upstream(link) => link.end_chunk(limit).await,
            Self::Maildir(link) => DataEnd::Reply(link.end_chunk(last).await),
        }
    }

    /// Which upstream was asked last, and which of its servers, for the record; `None` if none was.
    pub(crate) fn asked(&self) -> Option<String> {
        match self {
            Self::Upstream(link) => link.asked(),
            Self::Maildir(_) => None,
        }
    }

    /// Gives up what there is of a message.
    pub(crate) fn abort_message(&mut self) {
        match self {
            Self::Upstream(link) => link.abort_message(),
            Self::Maildir(link) => link.abort(),
        }
    }

    pub(crate) async fn early_reply(&mut self) -> Option<Reply> {
        match self {
            Self::Upstream(link) => link.early_reply().await,
            Self::Maildir(_) => None,
        }
    }

    /// Closes without the dot: the only way to abort DATA.
    pub(crate) fn abort(&mut self) {
        match self {
            Self::Upstream(link) => link.abort(),
            Self::Maildir(link) => link.abort(),
        }
    }

    /// Lets go of what a held or idle session must not keep.
    pub(crate) fn let_go(&mut self) {
        if let Self::Upstream(link) = self {
            link.let_go();
        }
    }

    /// What is to be remembered while the session is nothing but a record.
    pub(crate) fn placed(&self) -> Option<Placed> {
        match self {
            Self::Upstream(link) => link.placed(),
            Self::Maildir(_) => None,
        }
    }

    /// Takes up what was remembered.
    pub(crate) fn restore(&mut self, placed: Placed) {
        if let Self::Upstream(link) = self {
            link.restore(placed);
        }
    }

    /// Whether nothing ties the session to a connection that it could not do without.
    pub(crate) fn is_free(&self) -> bool {
        match self {
            Self::Upstream(link) => {
                !link.is_pinned() && !link.is_in_message() && !link.is_authenticated()
            }
            Self::Maildir(link) => !link.is_receiving(),
        }
    }

    /// Whether there is an upstream connection that an idle session must let go of.
    pub(crate) fn is_lettable(&self) -> bool {
        matches!(self, Self::Upstream(link) if link.is_connected() && !link.is_pinned() && !link.is_in_message())
    }

    pub(crate) fn close(&mut self) {
        match self {
            Self::Upstream(link) => link.close(),
            Self::Maildir(link) => link.abort(),
        }
    }
}
