//! The user's terminal while a container has one of its own: raw, its size passed on, its bytes relayed.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Keys go through as they are typed, until this is dropped.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Makes standard input raw; `None` if it is no terminal.
    ///
    /// # Errors
    /// If the terminal does not answer.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed before stays: no flush.
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The size of the user's terminal: rows and columns.
pub(crate) fn size() -> (u16, u16) {
    for size in [tcgetwinsize(io::stdout()), tcgetwinsize(io::stdin()), tcgetwinsize(io::stderr())]
        .into_iter()
        .flatten()
    {
        if size.ws_row > 0 && size.ws_col > 0 {
            return (size.ws_row, size.ws_col);
        }
    }
    (24, 80)
}

/// Gives the container's terminal the size of the user's.
pub(crate) fn pass_size(to: impl AsFd) {
    let (ws_row, ws_col) = size();
    // The container may have ended.
    let _ = tcsetwinsize(to, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
}

/// Copies from one descriptor to another until there is no more, or nobody who takes it. A terminal whose other side is
/// closed fails with EIO: that is its end. Whether `from` failed rather than ended.
pub(crate) fn relay(from: OwnedFd, to: OwnedFd) -> bool {
    let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}
