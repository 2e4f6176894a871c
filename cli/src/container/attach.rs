//! The user's terminal at a container, or at a process in one: keys go there, output comes back, until one of them ends or
//! the keys that detach are pressed.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::client::Client;
use super::error::ContainerError;
use super::log::Stream;
use super::protocol::{Answer, Ask};
use super::signal;
use crate::terminal::{self, RawMode};

/// Pipes for the output of a container: the ends to be sent away, and the ends to read.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) theirs: Vec<OwnedFd>,
    pub(crate) ours: Vec<(OwnedFd, Stream)>,
}

impl Pipes {
    /// One for standard output and one for standard error.
    pub(crate) fn new() -> io::Result<Self> {
        let (out_ours, out_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err_ours, err_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self {
            theirs: vec![out_theirs, err_theirs],
            ours: vec![(out_ours, Stream::Out), (err_ours, Stream::Err)],
        })
    }
}

/// How a session goes.
#[derive(Debug)]
pub(crate) struct Session {
    /// What is read, and where it is to appear.
    pub(crate) outputs: Vec<(OwnedFd, Stream)>,
    /// Where keys go.
    pub(crate) keys: Option<OwnedFd>,
    pub(crate) is_terminal: bool,
    /// Whether signals are passed on.
    pub(crate) sig_proxy: bool,
    pub(crate) detach_keys: Vec<u8>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Detached,
}

/// Docker's `ctrl-p,ctrl-q`.
pub(crate) const DETACH: &str = "ctrl-p,ctrl-q";

/// The bytes of `ctrl-a`, `x`, `ctrl-p,ctrl-q`; `None` if that is no key.
pub(crate) fn keys(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let key = |word: &str| match word.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Some(letter - b'a' + 1),
        Some([letter @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(letter - b'@'),
        Some(_) => None,
        None => match word.as_bytes() {
            [letter] => Some(*letter),
            _ => None,
        },
    };
    text.split(',').map(key).collect()
}

impl Session {
    /// Stays until the end.
    ///
    /// # Errors
    /// When the supervisor is gone, or refused what was asked.
    pub(crate) fn attend(mut self, client: &Client) -> Result<End, ContainerError> {
        let failed = |cause: io::Error| ContainerError::Supervisor { name: String::new(), cause };
        let mut raw = None;
        if self.is_terminal && self.keys.is_some() {
            raw = RawMode::enter().map_err(failed)?;
        }
        let numbers = [
            signal::HUP,
            signal::INT,
            signal::QUIT,
            signal::USR1,
            signal::USR2,
            signal::TERM,
            signal::WINDOW,
        ];
        // Without a proxy the usual happens: kiln ends, and the container does not.
        let wanted = if self.sig_proxy && !self.is_terminal { &numbers[..] } else { &numbers[6..] };
        let signals = kiln_executor::waiting::signals_as_bytes(wanted).map_err(failed)?;
        let (left, leave) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let master = self.keys.as_ref().filter(|_| self.is_terminal).and_then(|fd| fd.try_clone().ok());
        if self.is_terminal {
            resize(master.as_ref(), client);
        }
        let mut leave = Some(leave);
        if let Some(keys) = self.keys.take() {
            let detach = if self.is_terminal { std::mem::take(&mut self.detach_keys) } else { Vec::new() };
            let leave = leave.take();
            // It ends with the process: nothing can interrupt a read of a terminal.
            std::thread::spawn(move || {
                if type_into(keys, &detach) {
                    // Only now: the end of the input is no reason to leave.
                    drop(leave);
                } else {
                    std::mem::forget(leave);
                }
            });
        }
        let end = self.relay(client, &signals, &left, master.as_ref());
        drop(raw);
        drop(leave);
        end
    }

    fn relay(
        &mut self,
        client: &Client,
        signals: &OwnedFd,
        left: &OwnedFd,
        master: Option<&OwnedFd>,
    ) -> Result<End, ContainerError> {
        let mut end = None;
        loop {
            if self.outputs.is_empty()
                && let Some(end) = end
            {
                return Ok(end);
            }
            let mut waiting = vec![
                PollFd::new(&client.socket, PollFlags::IN),
                PollFd::new(signals, PollFlags::IN),
                PollFd::new(left, PollFlags::IN),
            ];
            waiting.extend(self.outputs.iter().map(|(fd, _)| PollFd::new(fd, PollFlags::IN)));
            let _ = rustix::io::retry_on_intr(|| poll(&mut waiting, None));
            let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
            for index in (3..ready.len()).rev().filter(|&index| ready[index]) {
                self.copy(index - 3);
            }
            if ready[2] {
                return Ok(End::Detached);
            }
            if ready[1] {
                self.pass_signals(client, signals, master);
            }
            if ready[0] && end.is_none() {
                match client.hear()? {
                    (Answer::Exited { code }, _) => end = Some(End::Exited(code)),
                    _ => continue,
                }
            }
            if end.is_some() {
                // What was written before the end is on its way, or here; a terminal that others hold has no end.
                while !self.outputs.is_empty() && self.is_ready() {
                    self.copy_ready();
                }
                self.outputs.clear();
            }
        }
    }

    fn is_ready(&self) -> bool {
        let mut waiting: Vec<PollFd<'_>> =
            self.outputs.iter().map(|(fd, _)| PollFd::new(fd, PollFlags::IN)).collect();
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&now))).unwrap_or(0) > 0
    }

    fn copy_ready(&mut self) {
        let ready: Vec<bool> = {
            let mut waiting: Vec<PollFd<'_>> =
                self.outputs.iter().map(|(fd, _)| PollFd::new(fd, PollFlags::IN)).collect();
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let _ = rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&now)));
            waiting.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        for index in (0..ready.len()).rev().filter(|&index| ready[index]) {
            self.copy(index);
        }
    }

    /// Copies what is there; lets go of an output that has ended.
    fn copy(&mut self, index: usize) {
        let mut buffer = [0; 16 << 10];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.outputs[index].0, &mut buffer)) {
            Ok(0) | Err(_) => drop(self.outputs.remove(index)),
            Ok(n) => {
                // A reader that has gone takes no more.
                let _ = if self.outputs[index].1 == Stream::Err {
                    io::stderr().write_all(&buffer[..n])
                } else {
                    let mut out = io::stdout().lock();
                    out.write_all(&buffer[..n]).and_then(|()| out.flush())
                };
            }
        }
    }

    fn pass_signals(&self, client: &Client, signals: &OwnedFd, master: Option<&OwnedFd>) {
        let mut numbers = [0; 16];
        let Ok(n) = rustix::io::read(signals, &mut numbers) else { return };
        for number in numbers[..n].iter().map(|&number| i32::from(number)) {
            if number == signal::WINDOW {
                if self.is_terminal {
                    resize(master, client);
                }
            } else {
                // It may have ended.
                let _ = client.ask(&Ask::Signal(number), &[]);
            }
        }
    }
}

/// Gives the other terminal the size of the user's.
fn resize(master: Option<&OwnedFd>, client: &Client) {
    match master {
        Some(master) => terminal::pass_size(master),
        None => {
            let (rows, columns) = terminal::size();
            let _ = client.ask(&Ask::Resize { rows, columns }, &[]);
        }
    }
}

/// Copies standard input to `to` until it ends, or until `detach` was typed: whether it was.
fn type_into(to: OwnedFd, detach: &[u8]) -> bool {
    let mut to = std::fs::File::from(to);
    let mut typed = 0;
    let mut buffer = [0; 16 << 10];
    loop {
        let n = match io::stdin().read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return false,
        };
        let mut passed = Vec::with_capacity(n);
        for &byte in &buffer[..n] {
            if detach.get(typed) == Some(&byte) {
                typed += 1;
                if typed == detach.len() {
                    return true;
                }
                continue;
            }
            // What was held back was not meant to detach.
            passed.extend_from_slice(&detach[..typed]);
            typed = 0;
            if detach.first() == Some(&byte) {
                typed = 1;
            } else {
                passed.push(byte);
            }
        }
        if to.write_all(&passed).is_err() {
            return false;
        }
    }
}

/// Whether standard input is a terminal, which is what `-it` needs.
pub(crate) fn stdin_is_terminal() -> bool {
    rustix::termios::isatty(io::stdin().as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        assert_eq!(keys(DETACH), Some(vec![16, 17]));
        assert_eq!(keys("ctrl-a,x"), Some(vec![1, b'x']));
        assert_eq!(keys("ctrl-["), Some(vec![27]));
        assert_eq!(keys("ctrl-1"), None);
        assert_eq!(keys("word"), None);
        assert_eq!(keys(""), Some(Vec::new()));
    }
}
