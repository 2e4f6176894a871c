//! The user's terminal while a container has one of its own: raw, its size passed on, its bytes relayed.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

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
