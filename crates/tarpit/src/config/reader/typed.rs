//! The typed forms of [`Reader::get`]. The table of options says which one fits a key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::super::options::Value;
use super::{Reader, View};

impl<'t> Reader<'t> {
    /// A text.
    pub(crate) fn text(&mut self, view: &View<'t>, key: &str) -> Option<Box<str>> {
        match self.get(view, key)? {
            Value::Text(text) => Some(text),
            other => mismatch(key, &other),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, view: &View<'t>, key: &str) -> Option<Vec<Box<str>>> {
        match self.get(view, key)? {
            Value::Texts(texts) => Some(texts),
            other => mismatch(key, &other),
        }
    }

    /// A flag.
    pub(crate) fn flag(&mut self, view: &View<'t>, key: &str) -> Option<bool> {
        match self.get(view, key)? {
            Value::Flag(flag) => Some(flag),
            other => mismatch(key, &other),
        }
    }

    /// A number that fits into its type; the table's range sees to that.
    pub(crate) fn count<T: TryFrom<u64>>(&mut self, view: &View<'t>, key: &str) -> Option<T> {
        match self.get(view, key)? {
            Value::Count(number) => match T::try_from(number) {
                Ok(number) => Some(number),
                Err(_) => mismatch(key, &Value::Count(number)),
            },
            other => mismatch(key, &other),
        }
    }

    /// A span of time.
    pub(crate) fn time(&mut self, view: &View<'t>, key: &str) -> Option<Duration> {
        match self.get(view, key)? {
            Value::Time(span) => Some(span),
            other => mismatch(key, &other),
        }
    }

    /// An address with its port.
    pub(crate) fn socket(&mut self, view: &View<'t>, key: &str) -> Option<SocketAddr> {
        match self.get(view, key)? {
            Value::Socket(address) => Some(address),
            other => mismatch(key, &other),
        }
    }

    /// An address with its port; inside `None`: off.
    pub(crate) fn socket_or_off(
        &mut self,
        view: &View<'t>,
        key: &str,
    ) -> Option<Option<SocketAddr>> {
        match self.get(view, key)? {
            Value::Socket(address) => Some(Some(address)),
            Value::Off => Some(None),
            other => mismatch(key, &other),
        }
    }

    /// Addresses with their ports.
    pub(crate) fn sockets(&mut self, view: &View<'t>, key: &str) -> Option<Vec<SocketAddr>> {
        match self.get(view, key)? {
            Value::Sockets(addresses) => Some(addresses),
            other => mismatch(key, &other),
        }
    }

    /// Networks.
    pub(crate) fn networks(&mut self, view: &View<'t>, key: &str) -> Option<Vec<IpNet>> {
        match self.get(view, key)? {
            Value::Networks(networks) => Some(networks),
            other => mismatch(key, &other),
        }
    }

    /// A network.
    pub(crate) fn network(&mut self, view: &View<'t>, key: &str) -> Option<IpNet> {
        match self.get(view, key)? {
            Value::Network(network) => Some(network),
            other => mismatch(key, &other),
        }
    }

    /// A moment, in seconds since 1970.
    pub(crate) fn moment(&mut self, view: &View<'t>, key: &str) -> Option<u64> {
        match self.get(view, key)? {
            Value::Moment(moment) => Some(moment),
            other => mismatch(key, &other),
        }
    }

    /// A path; inside `None`: off.
    pub(crate) fn path_or_off(&mut self, view: &View<'t>, key: &str) -> Option<Option<PathBuf>> {
        match self.get(view, key)? {
            Value::Path(path) => Some(Some(path)),
            Value::Off => Some(None),
            other => mismatch(key, &other),
        }
    }

    /// A path.
    pub(crate) fn path(&mut self, view: &View<'t>, key: &str) -> Option<PathBuf> {
        match self.get(view, key)? {
            Value::Path(path) => Some(path),
            other => mismatch(key, &other),
        }
    }
}

/// The table of options and the code that asks for a key disagree: a mistake in this crate that
/// every load shows, so a test does.
fn mismatch(key: &str, value: &Value) -> ! {
    panic!("{key} is asked for as another type than the table of options has: {value:?}")
}
