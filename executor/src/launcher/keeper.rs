//! A process beside a sandbox that has no pid namespace: what the step leaves behind becomes its child and is killed with it.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs;
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitIdStatus, waitid,
};
use rustix::thread::UnshareFlags;

use super::message::{Report, send_report};
use crate::sandbox::plan::Plan;
use crate::sandbox::setup::{During, Failure, Gifts, Prepared, Setup, Tell, become_program};
use crate::sys::{self, Forked, SingleThreaded};

/// Starts the program of `plan`, stays until nothing of it is left, and ends as it did.
pub(super) fn keep(
    plan: &Plan,
    gifts: Gifts,
    tell: Tell<'_>,
    prepared: &Prepared,
    alone: &SingleThreaded,
) -> ! {
    let report = tell.0;
    let failure: Failure = match attend(plan, gifts, tell, prepared, alone) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    // If kiln is gone, nobody is left to be told.
    let _ = send_report(report, &Report::Failed(failure), None);
    kill_descendants();
    sys::exit(125)
}

fn attend(
    plan: &Plan,
    gifts: Gifts,
    tell: Tell<'_>,
    prepared: &Prepared,
    alone: &SingleThreaded,
) -> Setup<Infallible> {
    let report = tell.0;
    // It has to live on to clean up when the launcher dies, and notices that itself.
    rustix::process::set_parent_process_death_signal(None).during(|| "outlive the launcher".into())?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .during(|| "adopt what a step leaves behind".into())?;
    let launcher = rustix::process::getppid()
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|parent| rustix::process::pidfd_open(parent, PidfdFlags::empty()))
        .during(|| "watch the launcher".into())?;
    let program = match sys::fork(alone, UnshareFlags::empty()).during(|| "fork".into())? {
        Forked::Child => become_program(plan, gifts, tell, prepared),
        Forked::Parent(program) => program,
    };
    drop(gifts);
    sys::close_all_but(&[report.as_fd(), launcher.as_fd(), program.as_fd()])
        .during(|| "close descriptors".into())?;
    send_report(report, &Report::Started, Some(program.as_fd())).during(|| "report the start".into())?;

    let mut watched = [PollFd::new(&program, PollFlags::IN), PollFd::new(&launcher, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut watched, None)).during(|| "wait for the program".into())?;
    if watched[0].revents().is_empty() {
        // The launcher is gone, and kiln with it.
        let _ = rustix::process::pidfd_send_signal(&program, Signal::KILL);
    }
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(program.as_fd()), WaitIdOptions::EXITED))
        .during(|| "wait for the program".into())?;
    kill_descendants();
    end_as(status)
}

/// Stops all of them first, again and again until there is no new one, so that none escapes by forking; then kills and reaps them.
fn kill_descendants() {
    let mut stopped: HashSet<i32> = HashSet::new();
    loop {
        let new: Vec<i32> = descendants().into_iter().filter(|process| stopped.insert(*process)).collect();
        if new.is_empty() {
            break;
        }
        signal_all(&new, Signal::STOP);
    }
    signal_all(&stopped.into_iter().collect::<Vec<_>>(), Signal::KILL);
    // Until there is no child: the orphans of those that died come here.
    while rustix::io::retry_on_intr(|| waitid(WaitId::All, WaitIdOptions::EXITED)).is_ok() {}
}

fn signal_all(processes: &[i32], signal: Signal) {
    for process in processes.iter().filter_map(|process| Pid::from_raw(*process)) {
        // It may have ended.
        let _ = rustix::process::kill_process(process, signal);
    }
}

/// The processes below this one, as `/proc` has them.
fn descendants() -> Vec<i32> {
    let mut pairs: Vec<(i32, i32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        // The program's name is in brackets and may hold anything.
        let Some(end) = stat.iter().rposition(|&byte| byte == b')') else { continue };
        let rest = String::from_utf8_lossy(&stat[end + 1..]).into_owned();
        let mut fields = rest.split_whitespace();
        let (Some(state), Some(parent)) = (fields.next(), fields.next()) else { continue };
        if let (false, Ok(parent)) = (state == "Z", parent.parse()) {
            pairs.push((process, parent));
        }
    }
    let mut found = Vec::new();
    let mut above = HashSet::from([rustix::process::getpid().as_raw_nonzero().get()]);
    loop {
        let next: Vec<i32> = pairs
            .iter()
            .filter(|(process, parent)| above.contains(parent) && !above.contains(process))
            .map(|(p, _)| *p)
            .collect();
        if next.is_empty() {
            return found;
        }
        above.extend(&next);
        found.extend(next);
    }
}

/// Ends this process with the same status.
fn end_as(status: Option<WaitIdStatus>) -> ! {
    let status = status.as_ref();
    if let Some(signal) = status.and_then(WaitIdStatus::terminating_signal).and_then(Signal::from_named_raw) {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(Resource::Core, none);
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
    sys::exit(status.and_then(WaitIdStatus::exit_status).unwrap_or(255))
}
