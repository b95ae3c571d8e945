//! AUTH on a connection (RFC 4954): the upstream's answer decides, its lines are passed on.

use tarpit_core::Trouble;
use tarpit_smtp::{Mechanism, Reply, write_auth};

use super::connection::{Auth, Connection, Failure};

impl Connection {
    /// AUTH, with no transaction on the connection (RFC 4954 §4).
    pub(super) async fn auth(
        &mut self,
        mechanism: &str,
        initial: Option<&str>,
    ) -> Result<Reply, Failure> {
        let mechanism = Mechanism::from_name(mechanism).ok_or(Failure::Unfit(Trouble::Lacks))?;
        self.reset().await?;
        let mut line = Vec::new();
        write_auth(&mut line, mechanism, initial);
        self.exchange(&line).await
    }

    /// One more line of the exchange: base64, or `*`.
    pub(super) async fn auth_line(&mut self, text: &str) -> Result<Reply, Failure> {
        // What could end the line, or is no text, can't be base64: it cancels (RFC 4954 §4).
        let is_text = text.bytes().all(|octet| octet.is_ascii_graphic());
        let mut line = if is_text { text } else { "*" }.as_bytes().to_vec();
        line.extend_from_slice(b"\r\n");
        self.exchange(&line).await
    }

    async fn exchange(&mut self, line: &[u8]) -> Result<Reply, Failure> {
        self.wire.send(line, 1).await?;
        let reply = self.reply().await?;
        let code = reply.code();
        self.auth = match code.get() {
            334 => Auth::Exchange,
            _ if code.is_intermediate() => return Err(Trouble::Garbage.into()),
            _ if code.is_positive() => Auth::Done,
            _ => Auth::Failed,
        };
        Ok(reply)
    }
}
