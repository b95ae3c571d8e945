//! Octets in and out, one by one, so that the cut comes exactly where it is due.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::Connection;
use crate::client::PAUSE;
use crate::point::{Action, Leg};

impl Connection {
    /// Whether the octets count for the cut on this leg, and how many are left until then.
    fn room(&self, said: bool) -> Option<u32> {
        let point = self.attached.as_ref()?.case.point;
        let (is_leg, done) = match point.leg {
            Leg::UpstreamSaid(_) => (said, self.said),
            Leg::UpstreamHeard(_) => (!said, self.heard),
            Leg::ClientSent | Leg::ClientHeard => (false, 0),
        };
        let done = match point.action {
            Action::Say(_) => None,
            Action::Early(_) => self.in_content,
            _ => Some(done),
        };
        let done = done.filter(|_| self.is_due && is_leg)?;
        Some(point.at.saturating_sub(done))
    }

    /// The next octet that the gateway sent.
    pub(super) async fn octet(&mut self) -> io::Result<u8> {
        if self.room(false) == Some(0) || self.room(true) == Some(0) {
            self.act().await?;
        }
        if self.next == self.unread.len() {
            self.unread.resize(4096, 0);
            let count = self.stream.read(&mut self.unread).await;
            self.unread.truncate(*count.as_ref().unwrap_or(&0));
            self.next = 0;
            if count? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.registry.activity.fetch_add(1, Ordering::Relaxed);
        }
        let octet = self.unread[self.next];
        self.next += 1;
        self.heard += 1;
        self.in_content = self.in_content.map(|count| count + 1);
        Ok(octet)
    }

    /// Says a whole reply; whether all of it went out.
    pub(super) async fn write(&mut self, text: &str) -> io::Result<bool> {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let room = self.room(true);
            if room == Some(0) {
                self.act().await?;
            }
            if self.is_mute {
                return Ok(false);
            }
            let room = self.room(true);
            let most = room.map_or(usize::MAX, |room| room as usize);
            let (now, rest) = left.split_at(self.pieces.next(left.len()).min(most));
            self.stream.write_all(now).await?;
            self.said += u32::try_from(now.len()).unwrap_or(u32::MAX);
            left = rest;
            if !left.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        // A cut right behind it comes when the next command is awaited.
        Ok(true)
    }

    /// The cut.
    async fn act(&mut self) -> io::Result<()> {
        self.is_due = false;
        let Some(attached) = &self.attached else {
            return Ok(());
        };
        attached.case.fire();
        match attached.case.point.action {
            Action::Stall => sleep(PAUSE).await,
            Action::Kill => attached.case.park().await,
            Action::HalfClose => {
                // It may be gone already.
                let _ = self.stream.shutdown().await;
                self.is_mute = true;
            }
            Action::Early(code) => {
                self.is_early = true;
                self.stream
                    .write_all(format!("{code} 4.3.1 said early\r\n").as_bytes())
                    .await?;
            }
            Action::Reset => {
                self.stream.set_zero_linger()?;
                return Err(ErrorKind::ConnectionAborted.into());
            }
            Action::StallClose => {
                sleep(PAUSE).await;
                return Err(ErrorKind::ConnectionAborted.into());
            }
            Action::Close | Action::Nothing | Action::Say(_) => {
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }

    /// A line without its CRLF. Strict: a bare CR or LF is a violation.
    pub(super) async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let octet = self.octet().await?;
            let after_cr = line.last() == Some(&b'\r');
            if (octet == b'\n') != after_cr {
                self.violation("a bare CR or LF");
            }
            line.push(octet);
            if octet == b'\n' {
                line.truncate(line.len().saturating_sub(2));
                return Ok(line);
            }
        }
    }

    /// The header of the PROXY protocol, version 2: the client's address as text, `None` for the
    /// gateway's own connections (LOCAL).
    pub(super) async fn proxy_header(&mut self) -> io::Result<Option<String>> {
        const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).await?;
        if !head.starts_with(SIGNATURE) {
            self.violation("no PROXY header");
            return Err(ErrorKind::InvalidData.into());
        }
        let mut rest = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
        self.stream.read_exact(&mut rest).await?;
        let is_proxied = head[12] == 0x21 && head[13] == 0x11;
        Ok(match rest.get(..12) {
            Some([a, b, c, d, _, _, _, _, high, low, ..]) if is_proxied => Some(format!(
                "{a}.{b}.{c}.{d}:{}",
                u16::from_be_bytes([*high, *low])
            )),
            _ => None,
        })
    }
}
