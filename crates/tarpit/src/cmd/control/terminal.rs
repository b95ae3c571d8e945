//! The terminal while something is shown live: another screen, no echo, keys as they are pressed. It is
//! as before when this is dropped.

use std::io::{self, Write as _};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stdin;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// xterm's other screen, and no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Ctrl-C, which comes as a key: the terminal must be as before when we end.
const INTERRUPT: u8 = 3;

/// The terminal.
pub(super) struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// Standard input is none.
    pub(super) fn take() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        now.special_codes[SpecialCodeIndex::VMIN] = 0;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Now, &now)?;
        let terminal = Self { before };
        write(ENTER)?;
        Ok(terminal)
    }

    /// Shows as many of these lines as there is room for.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub(super) fn show(&self, text: &str) -> io::Result<()> {
        let size = tcgetwinsize(rustix::stdio::stdout()).ok();
        let rows = size.map_or(24, |size| size.ws_row.max(2).into());
        let columns: usize = size.map_or(80, |size| size.ws_col.max(20).into());
        let mut screen = String::from("\x1b[H");
        for line in text.lines().take(rows - 1) {
            screen.extend(line.chars().take(columns));
            // What was there before is cleared as it is written over: nothing flickers.
            screen.push_str("\x1b[K\r\n");
        }
        screen.push_str("\x1b[J");
        write(&screen)
    }

    /// Waits for so long; true if q, Escape or Ctrl-C was pressed, or the terminal is gone.
    pub(super) fn is_left_within(&self, time: Duration) -> bool {
        let mut watched = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
        let time = Timespec::try_from(time).ok();
        match poll(&mut watched, time.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return false,
            Ok(_) => {}
            Err(_) => return true,
        }
        let mut keys = [0; 16];
        match rustix::io::read(stdin(), &mut keys) {
            Ok(0) | Err(_) => true,
            Ok(count) => keys
                .iter()
                .take(count)
                .any(|key| matches!(*key, b'q' | b'Q' | 0x1b | INTERRUPT)),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = write(LEAVE);
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
