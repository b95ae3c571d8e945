//! What every configuration here has in common: one listener aside, and one upstream.

use std::net::SocketAddr;

use super::draft::Draft;
use crate::config::quote;

/// Where Tarpit listens until the recipe says otherwise: nobody is sent there yet.
const LISTEN: &str = "\"[::]:2525\"";

/// Puts them into the draft. `said` names where the upstream's address comes from, and `aside` says
/// what is to be done about it.
pub(super) fn place(draft: &mut Draft, upstream: SocketAddr, said: String, aside: &str) {
    draft.take(("listener", 0, "name"), "\"mx\"", Vec::new());
    let why =
        vec!["Aside, where nobody is sent yet: the recipe says how mail gets here.".to_owned()];
    draft.take(("listener", 0, "address"), LISTEN, why);
    let why = vec![said, aside.to_owned()];
    draft.take(
        ("upstream", 0, "address"),
        quote(&upstream.to_string()),
        why,
    );
}

/// Nobody tells the server yet who the client is.
pub(super) fn no_identity(draft: &mut Draft, server: &str, words: &str) {
    let why = vec![format!(
        "Until it is {words}, all clients are this gateway to {server}: its own limits, block lists and SPF checks see one \
         client. The recipe says what {server} needs for it."
    )];
    draft.take(("upstream", 0, "identity"), "\"none\"", why);
}

/// The server trusts this machine, where Tarpit is.
pub(super) fn trusts_us(draft: &mut Draft, said: &str, server: &str) {
    let reason = format!(
        "Loopback is not exempt: filters and proxies of this machine come from there, and all who are behind them. Tarpit comes \
         from there too, so {server} would relay for everyone: Tarpit finds that out, and serves this machine alone until \
         {server} has the port that the recipe makes."
    );
    draft.leave(said, &reason);
}
