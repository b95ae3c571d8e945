//! Leaving a connection politely, in the background: nobody waits for it, and it has an end.
//!
//! The connection keeps its place among the upstream's until it is closed: its process there is
//! taken until then.

use std::sync::Arc;
use std::time::Duration;

use tarpit_smtp::Verb;
use tokio::time::timeout;

use super::connection::{Connection, Standing};
use super::stock::Stock;

/// For RSET and QUIT together. A server that takes longer gets the connection closed under it.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// Leaves `connection` in a task of its own. `keep`: it may serve another session, so it goes to
/// the stock if nothing speaks against it.
pub(super) fn leave(stock: &Arc<Stock>, connection: Box<Connection>, keep: bool) {
    // Without a runtime (it is shutting down) the connection is closed by its drop.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    if !connection.wire.is_settled() || connection.standing == Standing::Data {
        // Closing without a word is the only way out of both.
        return;
    }
    let mut connection = connection;
    // What stands there is not left standing at an upstream that nobody talks to.
    let is_clear = !matches!(connection.standing, Standing::Transaction { .. });
    if keep && is_clear && connection.is_reusable(stock.messages_max) {
        // Whoever takes it says RSET first, in one write with MAIL, and goes on only after its 250
        // (RFC 5321 §4.1.1.5); so nobody waits for it here, and the connection is at hand at once.
        connection.standing = Standing::Stale;
        match stock.keep(connection) {
            Ok(()) => return,
            Err(refused) => connection = refused,
        }
    }
    runtime.spawn(quit(connection));
}

/// RSET if something stands there, QUIT, close.
pub(super) async fn quit(mut connection: Box<Connection>) {
    let farewell = async {
        if connection.standing != Standing::Nothing {
            connection.wire.verb(Verb::Rset, LEAVE_LIMIT).await?;
        }
        connection.wire.verb(Verb::Quit, LEAVE_LIMIT).await
    };
    // However it ends, the connection is closed.
    drop(timeout(LEAVE_LIMIT, farewell).await);
}
