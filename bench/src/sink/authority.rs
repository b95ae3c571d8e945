//! Says to a mail proxy, by HTTP, that the sink is to get the mail: as nginx's `auth_http` wants it
//! (`ngx_mail_auth_http_module`), for every client alike.

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
    stream.write_all(answer.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

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
