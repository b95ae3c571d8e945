//! A small server for tests: it greets, and answers each line as a script says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server does on a line.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Waits, then sends this line.
    Say(Duration, &'static str),
    /// Sends this line and closes.
    Leave(&'static str),
    /// Closes without a word.
    HangUp,
    /// Takes lines without answering until a lone dot.
    Data,
}

/// Answers at once.
pub(crate) fn say(text: &'static str) -> Act {
    Act::Say(Duration::ZERO, text)
}

/// A server on a free port of the loopback address, until it is dropped.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts it. The script gets each line in upper case, and how many came before it on the same
/// connection; the greeting is the line "".
pub(crate) async fn serve(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            tokio::spawn(async move { talk(stream, &*script).await });
        }
    });
    Scripted { address, task }
}

async fn talk(
    stream: TcpStream,
    script: &(dyn Fn(&str, usize) -> Act + Send + Sync),
) -> std::io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from).lines();
    let mut line = String::new();
    for count in 0.. {
        match script(&line.to_uppercase(), count) {
            Act::Say(wait, text) => {
                tokio::time::sleep(wait).await;
                to.write_all(format!("{text}\r\n").as_bytes()).await?;
            }
            Act::Leave(text) => return to.write_all(format!("{text}\r\n").as_bytes()).await,
            Act::HangUp => return Ok(()),
            Act::Data => {
                to.write_all(b"354 Go ahead\r\n").await?;
                while lines.next_line().await?.is_some_and(|line| line != ".") {}
                to.write_all(b"250 2.0.0 Ok: queued\r\n").await?;
            }
        }
        let Some(next) = lines.next_line().await? else {
            return Ok(());
        };
        line = next;
    }
    Ok(())
}
