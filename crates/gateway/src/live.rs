//! The configuration in force, and what was made from it. Replaced as a whole, or not at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tarpit_core::filter::{Filter, Names};
use tarpit_core::policy::REPLY_MAX;
use tarpit_smtp::Capabilities;

use crate::config::{Config, Delivery, Recipients, UpstreamTls};
use crate::descriptors::Descriptors;
use crate::link::Link;
use crate::maildir::{MaildirLink, MaildirStore};
use crate::recipients::{self, ReadError};
use crate::tls::{CertificateError, ServerTls};
use crate::upstream::{Health, Upstream, UpstreamLink};

/// One generation of the configuration. Sessions keep the one they came under.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) config: Config,
    /// One for each of [`Config::deliveries`].
    pub(crate) mails: Vec<Mail>,
    /// Replaced alone when the recipients file changes; shared by generations that differ in modes and
    /// exemptions alone.
    pub(crate) filter: Arc<ArcSwap<Filter>>,
    /// TLS towards clients, if there is a certificate. Renews itself when its files change.
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// Which sockets of clients may stay.
    pub(crate) descriptors: Descriptors,
}

/// Who takes the mail.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    Upstream(Arc<Upstream>),
    Maildir(Arc<MaildirStore>, Arc<Capabilities>),
}

/// Why a configuration can't be put in force.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The recipients file can't be read or holds what is no address.
    #[error(transparent)]
    Recipients(#[from] ReadError),
    /// A certificate can't be read, or does not belong to its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The maildir can't be made.
    #[error("maildir {path}: {error}")]
    Maildir {
        /// Its root.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
}

impl Live {
    /// Makes what the configuration asks for. `before`: the generation so far, whose upstream is
    /// kept if nothing about it changed.
    pub(crate) fn new(config: Config, before: Option<&Self>) -> Result<Self, LiveError> {
        let names = match &config.recipients {
            Recipients::Upstream => None,
            Recipients::File(path) => Some(recipients::read(path)?),
        };
        let filter = Arc::new(ArcSwap::from_pointee(filter_of(&config, names)));
        let mails = config
            .deliveries
            .iter()
            .map(|delivery| mail_of(delivery, &config.hostname, before))
            .collect::<Result<_, _>>()?;
        let tls = tls_of(&config, before)?;
        Ok(Self {
            descriptors: Descriptors::of(&config),
            config,
            mails,
            filter,
            tls,
        })
    }

    /// The same under other modes and exemptions, which nothing else in it depends on. It opens no
    /// file, so it can't fail.
    pub(crate) fn adjusted(&self, config: Config) -> Self {
        Self {
            config,
            mails: self.mails.clone(),
            filter: Arc::clone(&self.filter),
            tls: self.tls.clone(),
            descriptors: self.descriptors,
        }
    }

    /// Takes a new list of names; everything else stays.
    pub(crate) fn replace_names(&self, names: Names) {
        self.filter
            .store(Arc::new(filter_of(&self.config, Some(names))));
    }
}

/// Reads the certificates. If they are the same files as before, what can't be read now stays as it
/// was, and sessions can still be resumed.
fn tls_of(config: &Config, before: Option<&Live>) -> Result<Option<Arc<ServerTls>>, LiveError> {
    if config.certificates.is_empty() {
        return Ok(None);
    }
    let same = before
        .and_then(|before| before.tls.as_ref())
        .filter(|tls| tls.is_of(&config.certificates));
    let Some(tls) = same else {
        return Ok(Some(Arc::new(ServerTls::read(&config.certificates)?)));
    };
    for error in tls.reload() {
        tracing::error!(target: "tarpit::tls", %error, "certificate refused, the old one stays");
    }
    Ok(Some(Arc::clone(tls)))
}

fn filter_of(config: &Config, names: Option<Names>) -> Filter {
    // The domains bind everywhere if one server needs it: promise 7 goes before promise 5.
    let strict = config
        .deliveries
        .iter()
        .any(|delivery| matches!(delivery, Delivery::Upstream(upstream) if upstream.relays));
    Filter::new(config.domains.clone(), names, strict)
}

/// Makes who takes the mail; one about which nothing changed is kept, with its connections.
fn mail_of(delivery: &Delivery, hostname: &str, before: Option<&Live>) -> Result<Mail, LiveError> {
    if let Some(before) = before.filter(|before| *before.config.hostname == *hostname)
        && let Some(at) = before
            .config
            .deliveries
            .iter()
            .position(|old| old == delivery)
        && let Some(mail) = before.mails.get(at)
    {
        return Ok(mail.clone());
    }
    match delivery {
        Delivery::Upstream(upstream) => Ok(Mail::Upstream(Upstream::new(
            upstream.clone(),
            hostname.into(),
        ))),
        Delivery::Maildir(maildir) => {
            let store = MaildirStore::new(maildir.clone(), hostname.into()).map_err(|error| {
                LiveError::Maildir {
                    path: maildir.root.display().to_string(),
                    error,
                }
            })?;
            let capabilities = Arc::new(store.capabilities());
            Ok(Mail::Maildir(store, capabilities))
        }
    }
}

impl Mail {
    pub(crate) fn link(&self) -> Link {
        match self {
            Self::Upstream(upstream) => Link::Upstream(UpstreamLink::new(Arc::clone(upstream))),
            Self::Maildir(store, _) => Link::Maildir(MaildirLink::new(Arc::clone(store))),
        }
    }

    /// What EHLO announces; `None` before the first successful EHLO of the upstream.
    pub(crate) fn capabilities(&self) -> Option<Arc<Capabilities>> {
        match self {
            Self::Upstream(upstream) => upstream.capabilities(),
            Self::Maildir(_, capabilities) => Some(Arc::clone(capabilities)),
        }
    }

    /// The server behind us, if it is one.
    pub(crate) fn upstream(&self) -> Option<Arc<Upstream>> {
        match self {
            Self::Upstream(upstream) => Some(Arc::clone(upstream)),
            Self::Maildir(..) => None,
        }
    }

    /// Whether the upstream was found to relay for us.
    pub(crate) fn relays(&self) -> bool {
        matches!(self, Self::Upstream(upstream) if matches!(upstream.health(), Health::Relays { .. }))
    }

    /// Whether clients of a listener may be served. A server that trusts our address must not
    /// become an open relay behind us (DESIGN promise 7): then only this
    /// machine's own programs are served.
    pub(crate) fn serves(&self, listener_is_private: bool) -> bool {
        match self {
            Self::Maildir(..) => true,
            Self::Upstream(upstream) => match upstream.health() {
                Health::Up => true,
                Health::Relays { .. } => listener_is_private,
                Health::Unknown | Health::Down { .. } => false,
            },
        }
    }
}

impl Live {
    /// Who takes the mail of the listener at this place.
    pub(crate) fn mail(&self, listener: usize) -> &Mail {
        &self.mails[self.config.listeners[listener].delivery]
    }

    /// Whether a client is this gateway itself, on its way to an upstream.
    pub(crate) fn is_ours(&self, peer: SocketAddr) -> bool {
        self.mails
            .iter()
            .any(|mail| matches!(mail, Mail::Upstream(upstream) if upstream.is_ours(peer)))
    }

    /// Whether mail of this listener leaves here encrypted, to somebody whose certificate is
    /// verified.
    pub(crate) fn is_upstream_secure(&self, listener: usize) -> bool {
        match &self.config.deliveries[self.config.listeners[listener].delivery] {
            Delivery::Upstream(upstream) => matches!(upstream.tls, UpstreamTls::Required { .. }),
            Delivery::Maildir(_) => false,
        }
    }

    /// How long a held or idle session of this listener may keep an upstream connection. The
    /// maildir has none to let go of.
    pub(crate) fn grace(&self, listener: usize) -> Duration {
        match &self.config.deliveries[self.config.listeners[listener].delivery] {
            Delivery::Upstream(upstream) => upstream.grace,
            Delivery::Maildir(_) => REPLY_MAX,
        }
    }
}
