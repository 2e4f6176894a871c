//! `kiln build --on-failure=shell` and `kiln debug shell`: a shell in place of a step's process.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_executor::sandbox::{Exit, Running, SandboxError};
use kiln_executor::{HeldStep, Look, StepShell};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::Environment;
use crate::progress::Reporter;
use crate::report::chain;
use crate::terminal::{self, RawMode};

/// Opens shells on the user's terminal, one after the other.
pub(crate) struct ShellLook {
    reporter: Arc<Reporter>,
    /// The kind of the user's terminal.
    term: String,
    failed: bool,
    turn: Mutex<()>,
}

impl ShellLook {
    /// For steps that have failed. The progress of `reporter` pauses while there is a shell.
    pub(crate) fn after_failure(reporter: Arc<Reporter>, environment: &Environment) -> Self {
        let term = environment.get("TERM").unwrap_or("xterm").to_owned();
        Self { reporter, term, failed: true, turn: Mutex::new(()) }
    }

    /// For a step that is not run.
    pub(crate) fn before(reporter: Arc<Reporter>, environment: &Environment) -> Self {
        Self { failed: false, ..Self::after_failure(reporter, environment) }
    }
}

/// Whether there is somebody to whom a shell can be opened.
pub(crate) fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

impl Look for ShellLook {
    fn look(&self, step: &HeldStep<'_>) {
        if !has_terminal() {
            step.note("note: --on-failure=shell opens no shell: standard input and error are not a terminal");
            return;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Another's shell has ended, and the build with it.
        if step.is_given_up() {
            return;
        }
        let _paused = self.reporter.pause();
        if self.failed {
            eprintln!("`{}` failed: this shell is in what it left; the build ends with it", step.command());
        } else {
            eprintln!("before `{}`: nothing that this shell does is kept", step.command());
        }
        match step.shell(terminal::size(), &self.term) {
            Ok(shell) => match attend(shell) {
                Ok(Ok(_)) => {}
                Ok(Err(SandboxError::Exec { cause, .. })) if cause.kind() == io::ErrorKind::NotFound => {
                    eprintln!("note: no shell: the step's root has no /bin/sh");
                }
                Ok(Err(error)) => eprintln!("note: no shell: {}", chain(&error)),
                Err(error) => eprintln!("note: no shell: the terminal failed: {error}"),
            },
            Err(error) => eprintln!("note: no shell: {}", chain(&error)),
        }
    }
}

/// Relays keys, pictures and sizes until the shell ends.
fn attend(mut shell: StepShell) -> io::Result<Result<Exit, SandboxError>> {
    let Some(screen) = shell.running.terminal.take() else { return Ok(shell.running.wait()) };
    let copy = screen.try_clone()?;
    let _raw = RawMode::enter()?;
    let sizes = tokio::runtime::Handle::try_current().ok().map(|runtime| runtime.spawn(pass_sizes(copy)));
    let ended = relay(&mut shell.running, &screen);
    if let Some(sizes) = sizes {
        sizes.abort();
    }
    ended
}

fn relay(running: &mut Running, screen: &OwnedFd) -> io::Result<Result<Exit, SandboxError>> {
    // Not standard output: that may be where the build's result goes.
    let (stdin, user) = (io::stdin(), io::stderr());
    let (mut typing, mut showing) = (true, true);
    loop {
        let (mut keys, mut picture, mut report) = (false, false, false);
        let sources = [
            (&mut picture, screen.as_fd(), showing),
            (&mut keys, stdin.as_fd(), typing),
            (&mut report, running.reports(), true),
        ];
        let mut waiting = Vec::new();
        let mut flags = Vec::new();
        for (flag, fd, _) in sources.into_iter().filter(|(_, _, wanted)| *wanted) {
            waiting.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            flags.push(flag);
        }
        rustix::io::retry_on_intr(|| poll(&mut waiting, None))?;
        for (fd, flag) in waiting.iter().zip(flags) {
            *flag = !fd.revents().is_empty();
        }
        if picture {
            showing = pass(screen, &user);
        }
        if keys {
            typing = pass(&stdin, screen);
            if !typing {
                // The user's terminal has gone.
                running.handle().kill();
            }
        }
        if report {
            match running.hear() {
                Ok(None) => {}
                Ok(Some(exit)) => {
                    while showing && has_more(screen) {
                        showing = pass(screen, &user);
                    }
                    return Ok(Ok(exit));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

fn has_more(screen: &OwnedFd) -> bool {
    let mut waiting = [PollFd::new(screen, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&now))).is_ok_and(|ready| ready > 0)
}

/// Passes on what can be read now; false when either end has gone.
fn pass(from: impl AsFd, to: impl AsFd) -> bool {
    let mut buffer = [0; 4096];
    let Ok(n @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(&from, &mut buffer)) else {
        return false;
    };
    let mut left = &buffer[..n];
    while !left.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(&to, left)) {
            Ok(n @ 1..) => left = &left[n..],
            _ => return false,
        }
    }
    true
}

async fn pass_sizes(screen: OwnedFd) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    while changes.recv().await.is_some() {
        terminal::pass_size(&screen);
    }
}
