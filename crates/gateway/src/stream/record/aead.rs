//! One TLS record sealed or opened: the layouts of RFC 8446 §5.2 and of RFC 5246 §6.2.3.3 with the
//! nonces of RFC 5288 (GCM) and RFC 7905 (ChaCha20-Poly1305). No state, so that published records
//! can be tried.
//!
//! The library's own record ciphers were rejected for this: they can't be made twice from the same
//! key (an `AeadKey` is consumed, and one of 16 octets can't be built outside the library), and
//! kept they take 1.3 KiB, more than all the rest of a session. The algorithms are the same.

use std::io::IoSlice;
use std::ops::Range;

use aws_lc_rs::aead::{self, Aad, Algorithm, LessSafeKey, NONCE_LEN, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, PeerMisbehaved};

/// Type, version and length (RFC 8446 §5.1).
pub(super) const HEADER: usize = 5;

/// RFC 8446 §5.1: the plaintext of one record.
pub(super) const PLAINTEXT_MAX: usize = 1 << 14;

/// All algorithms that are spoken have tags of this length.
const TAG: usize = 16;

/// RFC 5288 §3: the part of the nonce that travels with each record.
const EXPLICIT: usize = 8;

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

impl Version {
    /// What the length in a header may say (RFC 5246 §6.2.3, RFC 8446 §5.2).
    pub(super) const fn payload_max(self) -> usize {
        match self {
            Self::Tls12 => PLAINTEXT_MAX + 2048,
            Self::Tls13 => PLAINTEXT_MAX + 256,
        }
    }
}

/// The key of one direction, for one record.
pub(super) struct Cipher<'a> {
    version: Version,
    key: LessSafeKey,
    iv: &'a [u8],
    /// The nonce travels in part.
    explicit: bool,
}

impl<'a> Cipher<'a> {
    pub(super) fn of(
        version: Version,
        secrets: &'a ConnectionTrafficSecrets,
    ) -> Result<Self, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return Err(Error::General("unknown kind of secrets".into())),
        };
        Self::new(version, algorithm, key.as_ref(), iv.as_ref())
    }

    /// `iv` is what the sequence number is mixed with (12 octets).
    pub(super) fn new(
        version: Version,
        algorithm: &'static Algorithm,
        key: &[u8],
        iv: &'a [u8],
    ) -> Result<Self, Error> {
        let key = UnboundKey::new(algorithm, key).map_err(|_| Error::EncryptError)?;
        Ok(Self {
            version,
            key: LessSafeKey::new(key),
            iv,
            explicit: version == Version::Tls12 && *algorithm != aead::CHACHA20_POLY1305,
        })
    }

    /// Octets of a record besides its plaintext.
    const fn overhead(&self) -> usize {
        match self.version {
            Version::Tls13 => 1 + TAG,
            Version::Tls12 if self.explicit => EXPLICIT + TAG,
            Version::Tls12 => TAG,
        }
    }

    /// RFC 8446 §5.3, RFC 7905 §2. With GCM in TLS 1.2 any nonce will do that is never used twice
    /// (RFC 5288 §3); the library has sealed records of this session before, in this way too.
    fn nonce(&self, sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&sequence.to_be_bytes());
        for (octet, of_iv) in nonce.iter_mut().zip(self.iv) {
            *octet ^= of_iv;
        }
        nonce
    }

    /// Appends one record with `len` octets of `pieces`, from `from` on.
    pub(super) fn seal(
        &self,
        sequence: u64,
        kind: ContentType,
        (pieces, from, len): (&[IoSlice<'_>], usize, usize),
        record: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let outer = match self.version {
            Version::Tls12 => kind,
            Version::Tls13 => ContentType::ApplicationData,
        };
        record.reserve_exact(HEADER + len + self.overhead());
        let start = record.len();
        record.extend_from_slice(&header(outer, len + self.overhead()));
        let nonce = self.nonce(sequence);
        if self.explicit {
            record.extend_from_slice(&nonce[NONCE_LEN - EXPLICIT..]);
        }
        let text = record.len();
        gather(pieces, from, len, record);
        if self.version == Version::Tls13 {
            record.push(kind.into());
        }
        let mut outer = [0; HEADER];
        outer.copy_from_slice(&record[start..start + HEADER]);
        let (aad, aad_len) = self.additional(sequence, outer, len);
        let tag = self.key.seal_in_place_separate_tag(
            aead::Nonce::assume_unique_for_key(nonce),
            Aad::from(&aad[..aad_len]),
            &mut record[text..],
        );
        let tag = tag.map_err(|_| Error::EncryptError)?;
        record.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts one whole record in its place. Where in `record` the plaintext is.
    pub(super) fn open(
        &self,
        sequence: u64,
        record: &mut [u8],
    ) -> Result<(ContentType, Range<usize>), Error> {
        let (header, payload) = record
            .split_first_chunk_mut::<HEADER>()
            .ok_or(Error::DecryptError)?;
        let least = match self.version {
            Version::Tls13 => TAG,
            Version::Tls12 => self.overhead(),
        };
        let len = payload
            .len()
            .checked_sub(least)
            .ok_or(Error::DecryptError)?;
        let mut nonce = self.nonce(sequence);
        let mut text = &mut payload[..];
        if self.explicit {
            let explicit;
            (explicit, text) = payload.split_at_mut(EXPLICIT);
            nonce[..4].copy_from_slice(&self.iv[..4]);
            nonce[4..].copy_from_slice(explicit);
        }
        let (aad, aad_len) = self.additional(sequence, *header, len);
        let opened = self.key.open_in_place(
            aead::Nonce::assume_unique_for_key(nonce),
            Aad::from(&aad[..aad_len]),
            text,
        );
        let opened = opened.map_err(|_| Error::DecryptError)?;
        let (kind, len) = match self.version {
            Version::Tls12 => (header[0].into(), opened.len()),
            Version::Tls13 => unpadded(opened)?,
        };
        if len > PLAINTEXT_MAX {
            return Err(Error::PeerSentOversizedRecord);
        }
        let start = HEADER + if self.explicit { EXPLICIT } else { 0 };
        Ok((kind, start..start + len))
    }

    /// What is authenticated besides, and its length. RFC 8446 §5.2: the header, where the version
    /// is always that of TLS 1.2. RFC 5246 §6.2.3.3: the sequence number, and the header as if
    /// nothing were encrypted.
    fn additional(&self, sequence: u64, header: [u8; HEADER], len: usize) -> ([u8; 13], usize) {
        let mut aad = [0; 13];
        match self.version {
            Version::Tls13 => {
                aad[..HEADER].copy_from_slice(&header);
                aad[1..3].copy_from_slice(&[3, 3]);
                (aad, HEADER)
            }
            Version::Tls12 => {
                aad[..8].copy_from_slice(&sequence.to_be_bytes());
                aad[8..11].copy_from_slice(&header[..3]);
                aad[11..].copy_from_slice(&length(len));
                (aad, 13)
            }
        }
    }
}

/// RFC 8446 §5.4: zeros up to the type of what is inside.
fn unpadded(inner: &[u8]) -> Result<(ContentType, usize), Error> {
    if inner.len() > PLAINTEXT_MAX + 1 {
        return Err(Error::PeerSentOversizedRecord);
    }
    let last = inner.iter().rposition(|&octet| octet != 0);
    let last = last.ok_or(PeerMisbehaved::IllegalTlsInnerPlaintext)?;
    Ok((inner[last].into(), last))
}

fn header(kind: ContentType, len: usize) -> [u8; HEADER] {
    let [high, low] = length(len);
    [kind.into(), 3, 3, high, low]
}

/// Callers know that it fits: at most [`Version::payload_max`].
fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

fn gather(pieces: &[IoSlice<'_>], mut from: usize, mut len: usize, into: &mut Vec<u8>) {
    for piece in pieces {
        let here = &piece[from.min(piece.len())..];
        let here = &here[..len.min(here.len())];
        into.extend_from_slice(here);
        from = from.saturating_sub(piece.len());
        len -= here.len();
    }
}
