//! The log of a gateway that writes it for people.

use std::net::SocketAddr;

use super::process::Process;

impl Process {
    /// The next line of the log that has `text` in it.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.find(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// The address of the next listener.
    pub(crate) fn address(&self) -> SocketAddr {
        let line = self.wait_for(" listening ");
        let address = line.split("address=").nth(1).unwrap();
        address.split_whitespace().next().unwrap().parse().unwrap()
    }
}
