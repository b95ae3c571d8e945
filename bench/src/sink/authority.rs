//! Says to a mail proxy, by HTTP, that the sink is to get the mail: as nginx's `auth_http` wants it
//! (`ngx_mail_auth_http_module`).
//!
//! Asked for `/`, it names the sink for every recipient. Asked for `/5`, it refuses those that the
//! sink does not know, and tells the proxy to wait five seconds with that (`Auth-Wait`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request has an envelope and some headers.
const REQUEST_MAX: usize = 16 * 1024;

/// Listens on a free loopback port, and names `sink` to all who ask.
pub(super) async fn listen(sink: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let answer = format!(
        "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {}\r\nAuth-Port: {}\r\n\r\n",
        sink.ip(),
        sink.port()
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            // A proxy that left is served as well as can be.
            tokio::spawn(async move { drop(serve(stream, &answer).await) });
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream, answer: &str) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() > REQUEST_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let refusal = refusal(&String::from_utf8_lossy(&request));
    let answer = refusal.as_deref().unwrap_or(answer);
    stream.write_all(answer.as_bytes()).await
}

/// What is said instead of where the sink is, if the request is for a wait, and for a name that does
/// not exist.
fn refusal(request: &str) -> Option<String> {
    let mut lines = request.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?;
    let seconds: u32 = path.strip_prefix('/')?.parse().ok()?;
    let recipient = lines.find_map(|line| line.strip_prefix("Auth-SMTP-To:"))?;
    recipient.split_once('<')?.1.strip_prefix("no")?;
    Some(format!(
        "HTTP/1.0 200 OK\r\nAuth-Status: unknown user\r\nAuth-Error-Code: 550 5.1.1\r\n\
         Auth-Wait: {seconds}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_unknown_names_where_it_is_asked_to() {
        let request = |path, name| {
            format!(
                "GET {path} HTTP/1.0\r\nAuth-Protocol: smtp\r\nAuth-SMTP-To: RCPT TO:<{name}@example.org>\r\n\r\n"
            )
        };
        assert!(
            refusal(&request("/5", "no1")).is_some_and(|said| said.contains("Auth-Wait: 5\r\n"))
        );
        assert_eq!(refusal(&request("/5", "user")), None);
        assert_eq!(refusal(&request("/", "no1")), None);
    }

    #[tokio::test]
    async fn names_the_sink() {
        let sink = "127.0.0.1:2525".parse().unwrap();
        let address = listen(sink).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.0\r\nAuth-Protocol: smtp\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\nAuth-Status: OK\r\n"));
        assert!(answer.ends_with("Auth-Server: 127.0.0.1\r\nAuth-Port: 2525\r\n\r\n"));
    }
}
