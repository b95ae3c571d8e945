//! TLS on the way to the upstream: whether it is spoken, and with whom.

use std::sync::{Arc, Mutex, PoisonError};

use super::server::Server;
use crate::config::UpstreamTls;
use crate::tls::ClientTls;

/// What TLS towards the upstream is to be, and what it is made of.
#[derive(Debug)]
pub(super) struct Leg {
    wanted: UpstreamTls,
    made: Mutex<Made>,
}

/// Authorities may be there later than we are.
type Made = Result<Option<Arc<ClientTls>>, String>;

impl Leg {
    /// Reads files.
    pub(super) fn new(wanted: UpstreamTls) -> Self {
        Self {
            made: Mutex::new(make(&wanted)),
            wanted,
        }
    }

    /// Nothing goes to the upstream without it, and it is verified.
    pub(super) const fn is_required(&self) -> bool {
        matches!(self.wanted, UpstreamTls::Required { .. })
    }

    /// What to speak it with.
    ///
    /// # Errors
    /// Why it can't be had, in words.
    pub(super) fn tls(&self) -> Made {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the authorities again, so that new ones are known without a restart. A file that can't
    /// be read leaves what there is.
    pub(super) fn refresh(&self) {
        let has_file = matches!(&self.wanted, UpstreamTls::Required { ca: Some(_), .. });
        if !has_file && self.tls().is_ok() {
            return;
        }
        let made = make(&self.wanted);
        let mut now = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_ok() || now.is_err() {
            *now = made;
        }
    }

    /// Whether it is worth a try: not again, until its next probe, with a server where it failed.
    pub(super) fn may_try(&self, server: &Server) -> bool {
        self.wanted != UpstreamTls::Off && !server.known().is_without_tls
    }

    /// It failed, and the server is spoken to without it. Said once for each server, until it works
    /// again.
    pub(super) fn note_failure(&self, server: &Server, upstream: &str, why: &str) {
        let was_noted = {
            let mut known = server.known();
            known.is_without_tls = true;
            std::mem::replace(&mut known.is_tls_noted, true)
        };
        if !was_noted {
            let address = server.address;
            tracing::warn!(target: "tarpit::upstream", upstream, %address, why, "no TLS with the upstream: going on without, since it is opportunistic");
        }
    }
}

fn make(wanted: &UpstreamTls) -> Made {
    match ClientTls::new(wanted) {
        Ok(tls) => Ok(tls.map(Arc::new)),
        Err(error) => Err(error.to_string()),
    }
}
