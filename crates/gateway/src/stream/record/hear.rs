//! What a record means: data, an alert, new keys, or a fault; and what TLS itself answers.

use std::io::{self, IoSlice};

use rustls::{AlertDescription, ContentType, Error, HandshakeType, InvalidMessage, PeerMisbehaved};

use super::aead::{Cipher, HEADER, Version};
use super::{End, Half, Records, following, of_tls};

/// Records in a row that bring no data: empty ones, warnings, new keys. The library allows as many.
pub(super) const FRUITLESS_MAX: u8 = 32;

impl Records {
    /// How many octets are missing before there is one whole record.
    pub(super) fn missing(&self, bytes: &[u8]) -> Result<usize, Error> {
        let Some(&[kind, _, _, high, low]) = bytes.first_chunk::<HEADER>() else {
            return Ok(HEADER - bytes.len());
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > self.version.payload_max() {
            return Err(Error::PeerSentOversizedRecord);
        }
        // RFC 8446 §5: after the handshake everything is encrypted, and looks like data.
        let kind = ContentType::from(kind);
        let expected: &[ContentType] = match self.version {
            Version::Tls13 => &[ContentType::ApplicationData],
            Version::Tls12 => &[
                ContentType::ApplicationData,
                ContentType::Alert,
                ContentType::Handshake,
            ],
        };
        if !expected.contains(&kind) {
            return Err(unexpected(kind));
        }
        Ok((HEADER + len).saturating_sub(bytes.len()))
    }

    /// Opens one record: what it has of data.
    pub(super) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a [u8], Error> {
        let cipher = Cipher::of(self.version, &self.read.secrets)?;
        let (kind, place) = cipher.open(self.read.sequence, record)?;
        self.read.sequence = following(self.read.sequence)?;
        let text = &record[place];
        match kind {
            ContentType::ApplicationData if !text.is_empty() => {
                self.fruitless = 0;
                return Ok(text);
            }
            ContentType::ApplicationData => {}
            ContentType::Alert => self.hear_alert(text)?,
            ContentType::Handshake => self.hear_handshake(text)?,
            kind => return Err(unexpected(kind)),
        }
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_MAX {
            return Err(PeerMisbehaved::TooManyEmptyFragments.into());
        }
        Ok(&[])
    }

    /// RFC 8446 §6: one alert is one record; the level has no meaning. RFC 5246 §7.2: warnings
    /// exist.
    fn hear_alert(&mut self, text: &[u8]) -> Result<(), Error> {
        let &[level, description] = text else {
            return Err(unexpected(ContentType::Alert));
        };
        match (self.version, level, AlertDescription::from(description)) {
            (_, _, AlertDescription::CloseNotify) => self.end = End::Closed,
            (Version::Tls13, _, AlertDescription::UserCanceled) | (Version::Tls12, 1, _) => {}
            (_, _, description) => return Err(Error::AlertReceived(description)),
        }
        Ok(())
    }

    fn hear_handshake(&mut self, text: &[u8]) -> Result<(), Error> {
        const KEY_UPDATE: u8 = 24;
        const CLIENT_HELLO: u8 = 1;
        match (self.version, text) {
            // RFC 8446 §4.6.3. Nothing may stand behind it in its record (§5.1).
            (Version::Tls13, &[KEY_UPDATE, 0, 0, 1, wanted @ (0 | 1)]) => {
                let kernel = self.kernel.as_mut().ok_or(Error::HandshakeNotComplete)?;
                let (sequence, secrets) = kernel.update_rx_secret()?;
                self.read = Half { secrets, sequence };
                self.update_wanted |= wanted == 1;
                Ok(())
            }
            (Version::Tls13, &[KEY_UPDATE, ..]) => Err(InvalidMessage::InvalidKeyUpdate.into()),
            // RFC 5246 §7.2.2: a warning, and the session goes on. Who asks again is sent away.
            (Version::Tls12, &[CLIENT_HELLO, ..]) if !self.refused => {
                self.refused = true;
                self.alert(1, AlertDescription::NoRenegotiation);
                Ok(())
            }
            (_, text) => Err(Error::InappropriateHandshakeMessage {
                expect_types: vec![HandshakeType::KeyUpdate],
                got_type: text.first().copied().unwrap_or_default().into(),
            }),
        }
    }

    /// Ends the session: says why, once. Data that came before is delivered first.
    pub(super) fn fail(&mut self, error: Error, filled: usize) -> io::Result<usize> {
        let description = match &error {
            Error::AlertReceived(_) => None,
            Error::DecryptError => Some(AlertDescription::BadRecordMac),
            Error::PeerSentOversizedRecord => Some(AlertDescription::RecordOverflow),
            Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => {
                Some(AlertDescription::IllegalParameter)
            }
            _ => Some(AlertDescription::UnexpectedMessage),
        };
        if let Some(description) = description {
            self.alert(2, description);
        }
        self.closed = true;
        self.end = End::Failed(Box::new(error.clone()));
        if filled > 0 {
            return Ok(filled);
        }
        Err(of_tls(error))
    }

    pub(super) fn alert(&mut self, level: u8, description: AlertDescription) {
        if !self.closed {
            let text = [level, description.into()];
            // Without a key there is nothing to say.
            let _ = self.seal_one(ContentType::Alert, (&[IoSlice::new(&text)], 0, 2));
        }
    }

    /// New keys for our side, if the peer wants them and reads.
    pub(super) fn answer(&mut self) {
        if self.update_wanted && self.owed.is_empty() && !self.closed {
            self.update_wanted = false;
            // It was the peer's wish; a failure shows with the next record.
            let _ = self.update();
        }
    }

    /// RFC 8446 §4.6.3: says it with the old key, then takes the new one.
    pub(super) fn update(&mut self) -> Result<(), Error> {
        let kernel = self.kernel.as_mut().ok_or(Error::EncryptError)?;
        let (sequence, secrets) = kernel.update_tx_secret()?;
        let text = IoSlice::new(&[24, 0, 0, 1, 0]);
        self.seal_one(ContentType::Handshake, (&[text], 0, text.len()))?;
        self.write = Half { secrets, sequence };
        Ok(())
    }
}

fn unexpected(kind: ContentType) -> Error {
    Error::InappropriateMessage {
        expect_types: vec![ContentType::ApplicationData],
        got_type: kind,
    }
}
