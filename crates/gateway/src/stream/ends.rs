//! The socket as those who speak TLS see it: by the runtime, past it, or without any.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::task::{Context, Poll};

use super::Socket;

/// Where ciphertext comes from. `WouldBlock` if there is none now.
pub(super) trait Source: Read {
    /// Where answers go to.
    fn sink(&self) -> impl Write;
}

/// A socket that no runtime knows.
pub(super) struct Bare<'a>(pub(super) &'a std::net::TcpStream);

impl Read for Bare<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        persistent(|| self.0.read(buffer))
    }
}

impl Source for Bare<'_> {
    fn sink(&self) -> impl Write {
        Bare(self.0)
    }
}

impl Write for Bare<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        persistent(|| self.0.write(buffer))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        persistent(|| self.0.write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The system was interrupted by a signal: again.
fn persistent(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The socket, by the runtime: it wakes the task when there is more.
pub(super) struct Polled<'a, 'c> {
    pub(super) socket: &'a mut Socket,
    pub(super) context: &'a mut Context<'c>,
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.socket.poll_read(self.context, buffer) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Source for Polled<'_, '_> {
    fn sink(&self) -> impl Write {
        Tried(self.socket)
    }
}

/// The socket, as far as the runtime knows it to be ready.
pub(super) struct Tried<'a>(pub(super) &'a Socket);

impl Read for Tried<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.tcp.try_read(buffer)
    }
}

impl Source for Tried<'_> {
    fn sink(&self) -> impl Write {
        Tried(self.0)
    }
}

impl Write for Tried<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.tcp.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.tcp.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket, past the runtime: the system itself.
pub(super) struct Asked<'a>(pub(super) &'a Socket);

impl Read for Asked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_past_runtime(buffer)
    }
}

impl Source for Asked<'_> {
    fn sink(&self) -> impl Write {
        Tried(self.0)
    }
}
