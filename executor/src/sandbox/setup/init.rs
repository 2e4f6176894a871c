//! A small first process (`--init`): the program is its child. It passes signals on, which the kernel keeps from a first
//! process without handlers, and takes care of processes that lost their parent.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use rustix::thread::UnshareFlags;

use super::failure::{During, Setup};
use crate::sys::{self, Forked, SingleThreaded};

/// Neither those that cannot be caught nor those that say what is wrong with the process itself.
const PASSED: [i32; 15] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGURG,
    libc::SIGXCPU,
    libc::SIGVTALRM,
    libc::SIGWINCH,
    libc::SIGPWR,
];
/// What a terminal sends to all that is before it, the program with it.
const OF_TERMINAL: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH];

/// Stays as the first process; returns in its child, which becomes the program.
pub(super) fn stay() -> Setup<()> {
    let what = || "start an init process".to_owned();
    let alone = SingleThreaded::check().during(what)?;
    let alone = alone.ok_or(rustix::io::Errno::INVAL).during(what)?;
    let (mut heard, mut told) = std::io::pipe().during(what)?;
    let (mut go, mut ready) = std::io::pipe().during(what)?;
    match sys::fork(&alone, UnshareFlags::empty()).during(what)? {
        Forked::Child => {
            drop(ready);
            let own = rustix::process::getpid().as_raw_nonzero().get();
            told.write_all(&own.to_ne_bytes()).during(what)?;
            // Until signals are passed on: once the program runs, none may be lost.
            go.read_exact(&mut [0]).during(what)
        }
        Forked::Parent(_) => {
            drop((told, go));
            let mut number = [0; 4];
            heard.read_exact(&mut number).during(what)?;
            let Some(child) = Pid::from_raw(i32::from_ne_bytes(number)) else { sys::exit(125) };
            let has_terminal = rustix::termios::isatty(std::io::stdin());
            // Above all what tells kiln that the program was executed.
            sys::close_all_but(&[ready.as_fd()]).during(what)?;
            let mut numbers = PASSED.to_vec();
            numbers.push(libc::SIGCHLD);
            let signals = sys::signals_as_bytes(&numbers).during(what)?;
            ready.write_all(&[1]).during(what)?;
            drop(ready);
            attend(child, &signals, has_terminal)
        }
    }
}

fn attend(child: Pid, signals: impl AsFd, has_terminal: bool) -> ! {
    loop {
        while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) {
            if process == child {
                sys::exit(code(status));
            }
        }
        let mut waiting = [PollFd::new(&signals, PollFlags::IN)];
        // Interrupted by the very signals that are waited for.
        let _ = poll(&mut waiting, None);
        let mut numbers = [0; 64];
        let Ok(n) = rustix::io::read(&signals, &mut numbers[..]) else { continue };
        for number in numbers[..n].iter().map(|&number| i32::from(number)) {
            let is_heard = has_terminal && OF_TERMINAL.contains(&number);
            if let (Some(signal), false) =
                (Signal::from_named_raw(number), is_heard || number == libc::SIGCHLD)
            {
                // It may have ended, or become another user's.
                let _ = kill_process(child, signal);
            }
        }
    }
}

fn code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255)
}
