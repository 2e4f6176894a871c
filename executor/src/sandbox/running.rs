//! A process in a sandbox, seen from outside.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::SandboxError;

/// What the standard streams of a process are.
#[derive(Debug)]
pub enum Io {
    /// Three streams.
    Streams {
        /// What it reads.
        stdin: Stream,
        /// What it writes.
        stdout: Stream,
        /// What it complains to.
        stderr: Stream,
    },
    /// A terminal of its own, in the sandbox's `/dev/pts`.
    Terminal {
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
    },
}

/// One standard stream.
#[derive(Debug)]
pub enum Stream {
    /// `/dev/null` of the sandbox.
    Null,
    /// A pipe whose other end is in [`Running`].
    Pipe,
    /// This descriptor.
    Given(OwnedFd),
}

/// A started process.
#[derive(Debug)]
pub struct Running {
    /// Writes to its standard input, if that is a pipe.
    pub stdin: Option<OwnedFd>,
    /// Reads its standard output, if that is a pipe.
    pub stdout: Option<OwnedFd>,
    /// Reads its standard error, if that is a pipe.
    pub stderr: Option<OwnedFd>,
    /// The master side of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

impl Running {
    /// Waits for the process, and with it all that it started, to end. Blocks the thread.
    ///
    /// # Errors
    /// When the sandbox could not be made or the program not executed.
    pub fn wait(&mut self) -> Result<Exit, SandboxError> {
        Err(SandboxError::LauncherGone)
    }

    /// Sends signals to it from other threads.
    pub fn handle(&self) -> Handle {
        Handle {}
    }
}

/// Reaches a started process from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {}

impl Handle {
    /// Ends the process and all that it started; nothing happens if it has ended.
    pub fn kill(&self) {}

    /// Sends the signal with this number.
    ///
    /// # Errors
    /// When it has ended or the number is no signal.
    pub fn signal(&self, number: i32) -> std::io::Result<()> {
        let _ = number;
        Ok(())
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// By itself or by a signal.
    pub status: Status,
    /// Whether the kernel killed something in it because its memory limit was reached.
    pub out_of_memory: bool,
    /// Mount points that were made in the upper directory and have been taken away again; a directory above one may still be
    /// there as a copy of the lower one.
    pub stubs: Vec<PathBuf>,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The exit code as a shell gives it: 128 and the signal's number for a signal.
    pub fn code(&self) -> i32 {
        match self.status {
            Status::Code(code) => code,
            Status::Signal(signal) => 128 + signal,
        }
    }

    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status == Status::Code(0)
    }
}
