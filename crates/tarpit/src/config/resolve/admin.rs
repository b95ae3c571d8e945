//! `[admin]`

use super::super::reader::Reader;
use super::super::{Admin, read};
use super::Named;

/// Reads it. It can't share an address with a listener.
pub(super) fn read(reader: &mut Reader<'_>, listeners: &[Named<'_>]) -> Option<Admin> {
    let view = reader.single("admin");
    let address = reader.socket_or_off(&view, "address")?;
    let is_same = |listener: &&Named<'_>| Some(listener.address) == address;
    let same = listeners.iter().find(is_same);
    if let (Some(listener), Some(address)) = (same, address)
        && address.port() != 0
    {
        let text = format!(
            "found \"{address}\", as listener {} has; allowed: an address of its own",
            listener.name
        );
        reader.clash(&view, "address", text);
    }
    let file = reader.path(&view, "token_file");
    let token = match file.as_deref().map(read::token).transpose() {
        Ok(token) => token,
        Err(error) => {
            // It changed since it was looked at.
            reader.clash(&view, "token_file", error);
            return None;
        }
    };
    Some(Admin {
        token,
        address,
        is_said: Reader::is_said(&view, "address"),
    })
}
