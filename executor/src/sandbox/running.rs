//! A process in a sandbox, seen from outside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::SandboxError;
use super::bundle::Tree;
use super::setup::Failure;
use super::stub::{self, Stub};
use crate::chroot::Covers;
use crate::launcher::message::{Report, receive_report};

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

/// A started process. Dropped before it has ended, it is killed.
#[derive(Debug)]
pub struct Running {
    /// Writes to its standard input, if that is a pipe.
    pub stdin: Option<OwnedFd>,
    /// Reads its standard output, if that is a pipe.
    pub stdout: Option<OwnedFd>,
    /// Reads its standard error, if that is a pipe.
    pub stderr: Option<OwnedFd>,
    /// The master side of its terminal, if it has one. The window size is set on it.
    pub terminal: Option<OwnedFd>,
    /// By which the launcher knows its sandbox.
    pub(crate) number: u64,
    reports: OwnedFd,
    executed: Option<OwnedFd>,
    process: Option<Arc<OwnedFd>>,
    written: Option<PathBuf>,
    stubs: Vec<Stub>,
    passed_over: Vec<String>,
    failure: Option<Failure>,
    ended: Option<(Status, bool)>,
    /// What was put into its root in place of mounts.
    covers: Option<Covers>,
}

impl Running {
    /// Follows the reports until the process is there, and its terminal if it is to have one.
    pub(crate) fn begin(
        number: u64,
        (reports, executed): (OwnedFd, OwnedFd),
        streams: [Option<OwnedFd>; 3],
        root: Option<&Tree>,
        terminal: bool,
    ) -> Result<Self, SandboxError> {
        let [stdin, stdout, stderr] = streams;
        let mut running = Self {
            number,
            executed: Some(executed),
            stdin,
            stdout,
            stderr,
            terminal: None,
            reports,
            process: None,
            written: root.and_then(stub::written).map(Into::into),
            stubs: Vec::new(),
            passed_over: Vec::new(),
            failure: None,
            ended: None,
            covers: None,
        };
        while running.ended.is_none() && (running.process.is_none() || terminal && running.terminal.is_none())
        {
            running.follow()?;
        }
        Ok(running)
    }

    /// Takes the next report.
    fn follow(&mut self) -> Result<(), SandboxError> {
        let received = receive_report(&self.reports)
            .map_err(|cause| SandboxError::Setup { operation: "hear from the launcher".into(), cause })?;
        match received {
            None => return Err(SandboxError::LauncherGone),
            Some((Report::Started, process)) => self.process = process.map(Arc::new),
            Some((Report::Terminal, terminal)) => self.terminal = terminal,
            Some((Report::Stubs(stubs), _)) => self.stubs = stubs,
            // Said of networks alone.
            Some((Report::Network(_), _)) => {}
            Some((Report::PassedOver(limits), _)) => self.passed_over = limits,
            Some((Report::Failed(failure), _)) => self.failure = Some(failure),
            Some((Report::Ended { code, signal, out_of_memory }, _)) => {
                let status = if signal { Status::Signal(code) } else { Status::Code(code) };
                self.ended = Some((status, out_of_memory));
            }
        }
        Ok(())
    }

    /// Waits for the process, and with it all that it started, to end; takes away the mount points that were made for it.
    /// Blocks the thread.
    ///
    /// # Errors
    /// When the sandbox could not be made or the program not executed.
    pub fn wait(&mut self) -> Result<Exit, SandboxError> {
        let (status, out_of_memory) = loop {
            if let Some(ended) = self.ended {
                break ended;
            }
            self.follow()?;
        };
        self.finish(status, out_of_memory)
    }

    /// Becomes readable when there is something to [`Running::hear`]. For those who wait for several things at once.
    pub fn reports(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }

    /// Takes the next report, if there is one, and when it was the last one does what [`Running::wait`] does.
    ///
    /// # Errors
    /// Those of [`Running::wait`].
    pub fn hear(&mut self) -> Result<Option<Exit>, SandboxError> {
        if self.ended.is_none() && self.has_report() {
            self.follow()?;
        }
        match self.ended {
            Some((status, out_of_memory)) => self.finish(status, out_of_memory).map(Some),
            None => Ok(None),
        }
    }

    /// Becomes readable when the program was executed, or the attempt failed: then a report says so, or will say.
    pub fn executed(&self) -> Option<BorrowedFd<'_>> {
        self.executed.as_ref().map(AsFd::as_fd)
    }

    /// After [`Running::executed`] became readable: whether the program runs, as far as reports tell that have come.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn settle(&mut self) -> Result<bool, SandboxError> {
        self.executed = None;
        while self.ended.is_none() && self.failure.is_none() && self.has_report() {
            self.follow()?;
        }
        Ok(self.failure.is_none())
    }

    /// Whether there is something to hear, if only that nobody is left who speaks.
    fn has_report(&self) -> bool {
        let mut waiting = [PollFd::new(&self.reports, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&now))).is_ok_and(|ready| ready > 0)
    }

    fn finish(&mut self, status: Status, out_of_memory: bool) -> Result<Exit, SandboxError> {
        let mut stubs = std::mem::take(&mut self.stubs);
        if let Some(covers) = self.covers.take() {
            stubs.extend(covers.take_away()?);
        }
        if let Some(top) = &self.written {
            stub::remove(top, &stubs);
        }
        match self.failure.take() {
            None => {
                Ok(Exit { status, out_of_memory, stubs: stubs.into_iter().map(|stub| stub.path).collect() })
            }
            Some(Failure { operation, errno, program }) => {
                let cause = io::Error::from_raw_os_error(errno);
                Err(if program {
                    SandboxError::Exec { program: operation, cause }
                } else {
                    SandboxError::Setup { operation, cause }
                })
            }
        }
    }

    /// Has `covers` taken away when all processes have ended.
    pub(crate) fn covered_by(mut self, covers: Covers) -> Self {
        self.covers = Some(covers);
        self
    }

    /// Limits that could not be set, where that was no error (`--limits=best-effort`): why, a line each.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Reaches it from other threads.
    pub fn handle(&self) -> Handle {
        Handle { process: self.process.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.handle().kill();
        }
        if self.covers.is_some() {
            // Nothing is moved under a process that still runs.
            while self.ended.is_none() && self.follow().is_ok() {}
        }
    }
}

/// Reaches a started process from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    process: Option<Arc<OwnedFd>>,
}

impl Handle {
    /// Ends the process and all that it started; nothing happens if it has ended.
    pub fn kill(&self) {
        // It fails only for a process that is gone.
        let _ = self.signal(Signal::KILL.as_raw());
    }

    /// The descriptor of the process, readable when it has ended.
    pub fn process(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(|process| process.as_fd())
    }

    /// The number of the process as `/proc` of this process counts.
    pub fn pid(&self) -> Option<u32> {
        use std::os::fd::AsRawFd as _;
        let number = self.process.as_ref()?.as_raw_fd();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim();
        pid.parse().ok()
    }

    /// Sends the signal with this number to the process.
    ///
    /// # Errors
    /// When it has ended or the number is no signal.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let signal =
            Signal::from_named_raw(number).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        match &self.process {
            Some(process) => Ok(pidfd_send_signal(process, signal)?),
            None => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// By itself or by a signal.
    pub status: Status,
    /// Whether the kernel killed something in it because its memory limit was reached.
    pub out_of_memory: bool,
    /// Mount points that were made in the upper directory (paths relative to the root) and have been taken away again; a
    /// directory above one may still be there as a copy of the lower one.
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
