//! Leaving a connection politely, in the background: nobody waits for it, and it has an end.
//!
//! The connection keeps its place among the upstream's until it is closed: its process there is
//! taken until then.

use std::sync::Arc;
use std::time::Duration;

use tarpit_smtp::{ReplyCode, Verb};
use tokio::time::timeout;

use super::connection::{Connection, Standing};
use super::stock::Stock;

/// For RSET and QUIT together. A server that takes longer gets the connection closed under it.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// Leaves `connection` in a task of its own. `keep`: it may serve another session, so it goes to
/// the stock if RSET got 250.
pub(super) fn leave(stock: &Arc<Stock>, connection: Box<Connection>, keep: bool) {
    // Without a runtime (it is shutting down) the connection is closed by its drop.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    if !connection.wire.is_settled() || connection.standing == Standing::Data {
        // Closing without a word is the only way out of both.
        return;
    }
    let stock = Arc::clone(stock);
    runtime.spawn(async move {
        if keep && connection.is_reusable() {
            reset_and_keep(&stock, connection).await;
        } else {
            quit(connection).await;
        }
    });
}

async fn reset_and_keep(stock: &Arc<Stock>, mut connection: Box<Connection>) {
    let reply = timeout(LEAVE_LIMIT, connection.wire.verb(Verb::Rset, LEAVE_LIMIT)).await;
    match reply {
        Ok(Ok(reply)) if reply.code() == ReplyCode::OK => {
            connection.standing = Standing::Nothing;
            if let Err(connection) = stock.keep(connection) {
                quit(connection).await;
            }
        }
        Ok(Ok(_)) => quit(connection).await,
        Ok(Err(_)) | Err(_) => {}
    }
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
