//! A scripted client: what the gateway says to it, with the moment at which it came.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::secure::Secure;
use crate::time::LATE;

/// What came from the gateway.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A line, without CRLF.
    Line(Vec<u8>),
    /// It closed the connection.
    End,
}

/// Octets as they came; none when the gateway closed the connection.
type Say = mpsc::UnboundedSender<(Instant, Vec<u8>)>;

/// One connection to the gateway.
pub(crate) struct Client {
    stream: Option<Arc<TcpStream>>,
    /// TLS, once it is spoken.
    secure: Option<Arc<Mutex<Secure>>>,
    /// What comes from here on are alerts of TLS.
    handshake_failed: bool,
    reader: JoinHandle<()>,
    say: Say,
    heard: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    /// What came and was not taken.
    waiting: VecDeque<(Instant, Vec<u8>)>,
    /// Its own address, by which the session's record names it.
    pub(crate) address: SocketAddr,
    /// The id that the gateway gave the session, once it was said.
    pub(crate) id: Option<String>,
}

impl Client {
    pub(crate) async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = Arc::new(socket.connect(to).await?);
        stream.set_nodelay(true)?;
        let (say, heard) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(Arc::clone(&stream), None, say.clone()));
        let address = stream.local_addr()?;
        Ok(Self {
            stream: Some(stream),
            secure: None,
            handshake_failed: false,
            reader,
            say,
            heard,
            waiting: VecDeque::new(),
            address,
            id: None,
        })
    }

    /// Speaks TLS from here on. The gateway has said everything by now that it says plainly.
    pub(crate) async fn secure(&mut self) -> Result<(), String> {
        let stream = self.stream.clone().ok_or("the client has left")?;
        self.reader.abort();
        let _ = (&mut self.reader).await;
        let mut secure = Secure::new();
        while secure.is_handshaking() {
            send(&stream, &secure.due()).await?;
            let mut chunk = [0; 4096];
            let read = stream
                .readable()
                .await
                .and_then(|()| stream.try_read(&mut chunk));
            match read {
                Ok(0) => return Err("the gateway hung up in the handshake".to_owned()),
                Ok(count) => secure.take(&chunk[..count])?,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("the handshake failed: {error}")),
            }
        }
        send(&stream, &secure.due()).await?;
        let secure = Arc::new(Mutex::new(secure));
        let say = self.say.clone();
        self.secure = Some(Arc::clone(&secure));
        self.reader = tokio::spawn(read(stream, Some(secure), say));
        Ok(())
    }

    /// Begins a handshake that must fail: no record of TLS begins like this.
    pub(crate) async fn fail_to_secure(&mut self) -> Result<(), String> {
        self.handshake_failed = true;
        self.send(b"\r\n").await
    }

    pub(crate) async fn send(&self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.stream.as_ref().ok_or("the client has left")?;
        let Some(secure) = &self.secure else {
            return send(stream, bytes).await;
        };
        let ciphertext = {
            let mut secure = secure.lock().unwrap_or_else(PoisonError::into_inner);
            secure.encrypt(bytes)?
        };
        send(stream, &ciphertext).await
    }

    /// The next line, or the end, if it comes at all.
    pub(crate) async fn next(&mut self) -> Option<(Instant, Heard)> {
        loop {
            if let Some(end) = self.line_end() {
                let (at, mut line) = self.take(end);
                line.truncate(end - b"\r\n".len());
                return Some((at, Heard::Line(line)));
            }
            if let Some((at, octets)) = self.waiting.back()
                && octets.is_empty()
            {
                let at = *at;
                let rest = self.waiting.iter().map(|(_, octets)| octets.len()).sum();
                return Some(match rest {
                    0 => (at, Heard::End),
                    rest => (at, Heard::Line(self.take(rest).1)),
                });
            }
            self.hear().await?;
        }
    }

    /// The next `count` octets, if they come at all.
    pub(crate) async fn octets(&mut self, count: usize) -> Option<(Instant, Vec<u8>)> {
        while self
            .waiting
            .iter()
            .map(|(_, octets)| octets.len())
            .sum::<usize>()
            < count
        {
            self.hear().await?;
        }
        Some(self.take(count))
    }

    /// What came already and was not taken: the moment of the first of it.
    pub(crate) fn peek(&mut self) -> Option<(Instant, Heard)> {
        while let Ok(heard) = self.heard.try_recv() {
            self.note(heard);
        }
        let (at, octets) = self.waiting.front()?;
        let heard = if octets.is_empty() {
            Heard::End
        } else {
            Heard::Line(octets.trim_ascii_end().to_vec())
        };
        Some((*at, heard))
    }

    async fn hear(&mut self) -> Option<()> {
        let heard = tokio::time::timeout(LATE, self.heard.recv()).await.ok()??;
        self.note(heard);
        Some(())
    }

    fn note(&mut self, (at, octets): (Instant, Vec<u8>)) {
        if octets.is_empty() || !self.handshake_failed {
            self.waiting.push_back((at, octets));
        }
    }

    /// How many octets the first line has, with its CRLF.
    fn line_end(&self) -> Option<usize> {
        let octets = || self.waiting.iter().flat_map(|(_, octets)| octets);
        let place = octets()
            .zip(octets().skip(1))
            .position(|pair| pair == (&b'\r', &b'\n'));
        place.map(|place| place + b"\r\n".len())
    }

    /// Takes as many octets as there are; the moment is that of the last of them.
    fn take(&mut self, count: usize) -> (Instant, Vec<u8>) {
        let mut taken = Vec::new();
        let mut last = Instant::now();
        while taken.len() < count {
            let (at, octets) = self.waiting.front_mut().expect("as many octets");
            last = *at;
            let part = octets.len().min(count - taken.len());
            taken.extend(octets.drain(..part));
            if octets.is_empty() {
                self.waiting.pop_front();
            }
        }
        (last, taken)
    }

    /// Shuts down the sending side.
    pub(crate) fn half_close(&self) -> Result<(), String> {
        let stream = self.stream.as_ref().ok_or("the client has left")?;
        socket2::SockRef::from(&**stream)
            .shutdown(std::net::Shutdown::Write)
            .map_err(|error| error.to_string())
    }

    /// Resets the connection.
    pub(crate) async fn hang_up(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        self.reader.abort();
        let _ = (&mut self.reader).await;
        // To close with bytes still to send, and no time to send them, is a reset.
        let _ = socket2::SockRef::from(&*stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

async fn send(stream: &TcpStream, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        stream.writable().await.map_err(|error| error.to_string())?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("the client can't send: {error}")),
        }
    }
    Ok(())
}

async fn read(stream: Arc<TcpStream>, secure: Option<Arc<Mutex<Secure>>>, say: Say) {
    let mut chunk = [0; 4096];
    loop {
        let count = match stream
            .readable()
            .await
            .and_then(|()| stream.try_read(&mut chunk))
        {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => 0,
        };
        let now = Instant::now();
        if count == 0 {
            let _ = say.send((now, Vec::new()));
            return;
        }
        let mut octets = Vec::new();
        match &secure {
            None => octets.extend_from_slice(&chunk[..count]),
            Some(secure) => {
                let mut secure = secure.lock().unwrap_or_else(PoisonError::into_inner);
                // What is no TLS is no line, and will be missed.
                let _ = secure.take(&chunk[..count]);
                secure.read(&mut octets);
            }
        }
        if !octets.is_empty() {
            let _ = say.send((now, octets));
        }
    }
}
