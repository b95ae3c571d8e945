//! MAIL, RCPT and DATA on a connection, and the replay of what was accepted before.
//!
//! A replay is exact or it fails: MAIL and every RCPT that the client was told is accepted must be
//! accepted again, or nothing of the transaction goes on.

use tarpit_core::{Envelope, Recipient, Trouble};
use tarpit_smtp::{EnhancedCode, Reply, ReplyCode, Verb, write_mail, write_rcpt, write_verb};

use super::connection::{Connection, Failure, Standing};
use super::wire::{DATA_LIMIT, EARLY_LIMIT};

/// Commands in one write where the upstream offers PIPELINING (RFC 2920). So few lines and their
/// replies fit into the socket buffers of both sides: neither can wait for the other to read
/// (§3.1).
const GROUP_MAX: usize = 32;

/// Octets of RSET, MAIL, one RCPT and DATA, but for the longest of paths.
const GROUP_USUAL: usize = 256;

/// One command of a transaction.
enum Line<'a> {
    Rset,
    Mail(&'a str, &'a str),
    /// A recipient that was accepted before.
    Again(&'a Recipient),
    /// The recipient that is asked for.
    Rcpt(&'a Recipient),
    /// DATA, its reply left for later; only as the last one (RFC 2920 §3.1).
    Data,
}

impl Line<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Rset => write_verb(out, Verb::Rset),
            Self::Mail(path, params) => write_mail(out, path, params),
            Self::Again(recipient) | Self::Rcpt(recipient) => {
                write_rcpt(out, &recipient.path, &recipient.params);
            }
            Self::Data => write_verb(out, Verb::Data),
        }
    }
}

impl Connection {
    /// Whether exactly what the client was told stands here.
    pub(super) fn holds(&self, envelope: &Envelope) -> bool {
        self.standing
            == Standing::Transaction {
                serial: envelope.serial,
                recipients: envelope.accepted.len(),
            }
    }

    /// RCPT, after the envelope stands here. `before`: MAIL was accepted once. `data_follows`: the
    /// client has said DATA already.
    pub(super) async fn rcpt(
        &mut self,
        envelope: &Envelope,
        before: bool,
        recipient: &Recipient,
        data_follows: bool,
    ) -> Result<Reply, Failure> {
        let mut lines = self.missing(envelope)?;
        if self.lacks(recipient.uses) {
            return Err(Failure::Unfit(Trouble::Lacks));
        }
        lines.push(Line::Rcpt(recipient));
        let ahead = data_follows && self.may_run_ahead(envelope);
        if ahead {
            lines.push(Line::Data);
        }
        let reply = self.converse(&lines, envelope.serial, before).await;
        if ahead {
            match &reply {
                Ok(Some(reply)) if reply.code().is_positive() => self.data_ahead = true,
                // The connection is dropped.
                Err(Failure::Broken(_)) => {}
                _ => self.take_back_data().await,
            }
        }
        reply?
            .map(as_permanent)
            .ok_or_else(|| Trouble::Garbage.into())
    }

    /// Whether DATA may go in one write with RCPT. Only with the first recipient: if that is
    /// refused, so is DATA; with an earlier one accepted it would not be, and the connection would
    /// be lost.
    fn may_run_ahead(&self, envelope: &Envelope) -> bool {
        self.capabilities.pipelining
            && !self.is_pinned()
            && envelope.accepted.is_empty()
            && !envelope.binary
    }

    /// DATA went out behind a command that was refused, and is refused as well, with 503 or 554
    /// (RFC 2920 §3.1, RFC 5321 §3.3). After anything else the connection is not settled: closing
    /// it without the dot is the only way out of a 354.
    async fn take_back_data(&mut self) {
        match self.wire.reply(EARLY_LIMIT).await {
            Ok(reply) if reply.code().is_transient() || reply.code().is_permanent() => {
                self.note(&reply);
                self.standing = Standing::Stale;
            }
            Ok(_) => self.standing = Standing::Data,
            Err(_) => {}
        }
    }

    /// DATA, after the envelope stands here.
    pub(super) async fn data(
        &mut self,
        envelope: &Envelope,
        before: bool,
    ) -> Result<Reply, Failure> {
        if std::mem::take(&mut self.data_ahead) {
            let reply = self.wire.reply(DATA_LIMIT).await?;
            return self.begin_data(reply);
        }
        self.stand(envelope, before).await?;
        let reply = self.wire.verb(Verb::Data, DATA_LIMIT).await?;
        self.begin_data(reply)
    }

    /// Makes the envelope stand here, as accepted.
    pub(super) async fn stand(&mut self, envelope: &Envelope, before: bool) -> Result<(), Failure> {
        let lines = self.missing(envelope)?;
        self.converse(&lines, envelope.serial, before).await?;
        Ok(())
    }

    fn begin_data(&mut self, reply: Reply) -> Result<Reply, Failure> {
        self.note(&reply);
        let code = reply.code();
        if code == ReplyCode::START_DATA {
            self.standing = Standing::Data;
        } else if code.is_positive() || code.is_intermediate() {
            return Err(Trouble::Garbage.into());
        } else {
            // Whether the transaction is still there is the upstream's secret.
            self.standing = Standing::Stale;
        }
        Ok(reply)
    }

    /// RSET, if something stands here.
    pub(super) async fn reset(&mut self) -> Result<(), Failure> {
        if self.standing != Standing::Nothing {
            self.converse(&[Line::Rset], 0, false).await?;
        }
        Ok(())
    }

    /// The commands after which the envelope stands here.
    fn missing<'a>(&self, envelope: &'a Envelope) -> Result<Vec<Line<'a>>, Failure> {
        let mut lines = Vec::new();
        if self.holds(envelope) {
            return Ok(lines);
        }
        if self.lacks(envelope.uses()) {
            return Err(Failure::Unfit(Trouble::Lacks));
        }
        if self.standing != Standing::Nothing {
            lines.push(Line::Rset);
        }
        lines.push(Line::Mail(&envelope.reverse_path, &envelope.params));
        lines.extend(envelope.accepted.iter().map(Line::Again));
        Ok(lines)
    }

    /// Says the lines, in groups where the upstream takes them so. All replies of a group are read,
    /// whatever they say; the first failure counts.
    async fn converse(
        &mut self,
        lines: &[Line<'_>],
        serial: u32,
        before: bool,
    ) -> Result<Option<Reply>, Failure> {
        let group_max = if self.capabilities.pipelining {
            GROUP_MAX
        } else {
            1
        };
        let mut answer = None;
        let mut out = Vec::with_capacity(GROUP_USUAL);
        for group in lines.chunks(group_max) {
            out.clear();
            for line in group {
                line.write(&mut out);
                self.mails += u32::from(matches!(line, Line::Mail(..)));
            }
            let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
            self.wire.send(&out, count).await?;
            let mut failure = None;
            for line in group {
                if matches!(line, Line::Data) {
                    continue;
                }
                let reply = self.reply().await?;
                match self.judge(line, reply, serial, before) {
                    Ok(reply) => answer = reply,
                    Err(Failure::Broken(trouble)) => return Err(trouble.into()),
                    Err(other) => failure = failure.or(Some(other)),
                }
            }
            if let Some(failure) = failure {
                // Later lines of the group may have left something.
                self.standing = Standing::Stale;
                return Err(failure);
            }
        }
        Ok(answer)
    }

    fn judge(
        &mut self,
        line: &Line<'_>,
        reply: Reply,
        serial: u32,
        before: bool,
    ) -> Result<Option<Reply>, Failure> {
        let code = reply.code();
        if code.is_intermediate() {
            return Err(Trouble::Garbage.into());
        }
        match line {
            Line::Rset if code == ReplyCode::OK => self.standing = Standing::Nothing,
            // RFC 5321 §4.1.1.5: RSET gets 250. Whoever refuses it can't be cleared.
            Line::Rset => return Err(Trouble::Closed.into()),
            Line::Mail(..) if code.is_positive() => {
                self.standing = Standing::Transaction {
                    serial,
                    recipients: 0,
                };
            }
            Line::Mail(..) if before => return Err(Failure::Unfit(Trouble::Changed)),
            Line::Mail(..) => return Err(Failure::Sender(reply)),
            Line::Again(_) if !code.is_positive() => return Err(Failure::Unfit(Trouble::Changed)),
            Line::Again(_) => self.add_recipient(),
            // Its reply is not read here.
            Line::Data => {}
            Line::Rcpt(_) => {
                if code.is_positive() {
                    self.add_recipient();
                }
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    fn add_recipient(&mut self) {
        if let Standing::Transaction { recipients, .. } = &mut self.standing {
            *recipients += 1;
        }
    }
}

/// RFC 5321 §4.5.3.1.10 makes 552 to RCPT temporary ("too many recipients"); what servers mean by
/// it, a full mailbox, is permanent.
fn as_permanent(reply: Reply) -> Reply {
    match ReplyCode::new(550) {
        Some(code) if reply.code().get() == 552 => {
            let enhanced = EnhancedCode {
                class: 5,
                subject: 3,
                detail: 4,
            };
            reply.with_code(code, Some(enhanced))
        }
        _ => reply,
    }
}
