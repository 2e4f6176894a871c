//! The launcher's own side: waits for requests and for sandboxes to end, and does nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::thread::UnshareFlags;

use super::keeper::keep;
use super::message::{Report, Request, receive_request, send_report};
use crate::network;
use crate::owners::{self, Credentials, Supervision};
use crate::sandbox::cgroup::Group;
use crate::sandbox::plan::{Filter, Network, Plan, Process};
use crate::sandbox::setup::{During, Failure, Gifts, Marks, Prepared, Setup, become_program};
use crate::sandbox::{capability, memory, seccomp};
use crate::sys::{self, Forked, SingleThreaded};

/// A sandbox that runs.
struct Started {
    process: OwnedFd,
    report: OwnedFd,
    group: Option<Group>,
    /// Records owners for it.
    supervisor: Option<OwnedFd>,
    /// Of a process that shares kiln's own group: how often something in that had been killed for want of memory.
    kills: Option<u64>,
}

/// Serves kiln on `socket` until it is gone.
pub(super) fn serve(socket: &OwnedFd, alone: &SingleThreaded, marks: Marks, record_owners: bool) {
    let prepared = Prepared { marks, record_owners, filter: seccomp::default_profile(capability::DEFAULT) };
    if record_owners {
        owners::prepare();
    }
    let mut running: Vec<Started> = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let Ok((requested, ended)) = wait(socket, &mut running) else { return };
        for index in ended.into_iter().rev() {
            report_end(running.swap_remove(index));
        }
        if !requested {
            continue;
        }
        match receive_request(socket, &mut buffer) {
            Ok(Some((request, fds))) => running.extend(start(&request, fds, alone, &prepared)),
            // Kiln is gone, or what speaks is not kiln. What runs ends with this process.
            Ok(None) | Err(_) => return,
        }
    }
}

/// Waits until there is a request or one of `running` has ended: whether there is, and which have.
fn wait(socket: &OwnedFd, running: &mut [Started]) -> io::Result<(bool, Vec<usize>)> {
    let mut waiting = vec![PollFd::new(socket, PollFlags::IN)];
    waiting.extend(running.iter().map(|started| PollFd::new(&started.process, PollFlags::IN)));
    waiting
        .extend(running.iter().filter_map(|s| s.supervisor.as_ref()).map(|s| PollFd::new(s, PollFlags::IN)));
    rustix::io::retry_on_intr(|| poll(&mut waiting, None))?;
    let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    let ended: Vec<usize> = (0..running.len()).filter(|&index| ready(&waiting[index + 1])).collect();
    let requested = ready(&waiting[0]);
    let mut lost = waiting[running.len() + 1..].iter().map(ready).collect::<Vec<_>>().into_iter();
    drop(waiting);
    for (index, started) in running.iter_mut().enumerate() {
        let is_lost = started.supervisor.is_some() && lost.next() == Some(true);
        if is_lost && !ended.contains(&index) {
            give_up(started);
        }
    }
    Ok((requested, ended))
}

/// Ends a sandbox whose supervisor has ended: its calls fail from here on.
fn give_up(started: &mut Started) {
    if let Some(supervisor) = started.supervisor.take() {
        reap(&supervisor);
    }
    let _ = send_report(&started.report, &Report::Failed(owners::lost()), None);
    let _ = pidfd_send_signal(&started.process, Signal::KILL);
}

fn reap(process: &OwnedFd) {
    let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED));
}

/// Reaps a sandbox and tells kiln. The kernel has ended every process of it by now.
fn report_end(started: Started) {
    let status =
        rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(started.process.as_fd()), WaitIdOptions::EXITED));
    let (code, signal) = match status {
        Ok(Some(status)) => match status.terminating_signal() {
            Some(signal) => (signal, true),
            None => (status.exit_status().unwrap_or(255), false),
        },
        _ => (255, false),
    };
    if let Some(supervisor) = &started.supervisor {
        let _ = pidfd_send_signal(supervisor, Signal::KILL);
        reap(supervisor);
    }
    let killed = |before: u64| code != 0 && memory::own_kills().is_some_and(|now| now > before);
    let out_of_memory =
        started.group.as_ref().is_some_and(Group::out_of_memory) || started.kills.is_some_and(killed);
    drop(started.group);
    // Nobody may be interested any more.
    let _ = send_report(&started.report, &Report::Ended { code, signal, out_of_memory }, None);
}

fn start(
    request: &Request,
    fds: Vec<OwnedFd>,
    alone: &SingleThreaded,
    prepared: &Prepared,
) -> Option<Started> {
    let mut fds = fds.into_iter();
    let report = fds.next()?;
    let before = match request {
        Request::Sandbox(plan) if plan.chroot => memory::own_kills(),
        Request::Sandbox(_) | Request::Network(_) => None,
    };
    match clone_sandbox(request, fds.collect(), &report, alone, prepared) {
        Ok((process, group, supervisor)) => {
            let passed_over = group.as_ref().map(Group::passed_over).unwrap_or_default();
            if !passed_over.is_empty() {
                let _ = send_report(&report, &Report::PassedOver(passed_over.to_vec()), None);
            }
            let kept = matches!(request, Request::Sandbox(plan) if plan.chroot);
            if !kept {
                let _ = send_report(&report, &Report::Started, Some(process.as_fd()));
            }
            Some(Started { process, report, group, supervisor, kills: before })
        }
        Err(failure) => {
            let _ = send_report(&report, &Report::Failed(failure), None);
            let _ =
                send_report(&report, &Report::Ended { code: 125, signal: false, out_of_memory: false }, None);
            None
        }
    }
}

fn clone_sandbox(
    request: &Request,
    streams: Vec<OwnedFd>,
    report: &OwnedFd,
    alone: &SingleThreaded,
    prepared: &Prepared,
) -> Setup<(OwnedFd, Option<Group>, Option<OwnedFd>)> {
    let plan = match request {
        Request::Sandbox(plan) => plan,
        Request::Network(order) => {
            return match sys::fork(alone, UnshareFlags::empty()).during(|| "fork".into())? {
                Forked::Child => network::outside::hold(order, report, alone),
                Forked::Parent(process) => Ok((process, None, None)),
            };
        }
    };
    let group = match &plan.limits {
        Some(limits) => Some(Group::make(limits).map_err(|(operation, error)| Failure {
            operation: format!(
                "{operation} (with --limits=best-effort this is a warning; where control groups cannot be written, \
                 in a container, limit the container itself)"
            ),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            program: false,
        })?),
        None => None,
    };
    let groups =
        group.as_ref().map(Group::entrances).transpose().during(|| "open the control group".into())?;
    if plan.chroot {
        let gifts = Gifts { streams, groups: groups.unwrap_or_default(), recorder: None };
        return match sys::fork(alone, UnshareFlags::empty()).during(|| "fork".into())? {
            Forked::Child => keep(plan, gifts, report, prepared, alone),
            Forked::Parent(keeper) => Ok((keeper, group, None)),
        };
    }
    let mut flags = UnshareFlags::NEWNS;
    flags.set(UnshareFlags::NEWPID, plan.namespaces.pid);
    flags.set(UnshareFlags::NEWIPC, plan.namespaces.ipc);
    flags.set(UnshareFlags::NEWUTS, plan.namespaces.uts);
    flags.set(UnshareFlags::NEWNET, matches!(plan.namespaces.network, Network::New));
    let recorder = if prepared.record_owners { Some(link()?) } else { None };
    let (near, far) = recorder.unzip();
    match sys::fork(alone, flags).during(|| "make its namespaces".into())? {
        Forked::Child => {
            drop(near);
            let gifts = Gifts { streams, groups: groups.unwrap_or_default(), recorder: far };
            become_program(plan, gifts, report, prepared)
        }
        Forked::Parent(process) => {
            drop((far, streams));
            let start = |link| owners::start(alone, &supervision(plan), &process, link);
            // Without it the first process fails by itself, as its link is gone.
            let supervisor = near.map(start).transpose().during(|| "start the recorder of owners".into())?;
            Ok((process, group, supervisor))
        }
    }
}

fn link() -> Setup<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .during(|| "make a socket for the recorder of owners".into())
}

fn supervision(plan: &Plan) -> Supervision {
    let Process { uid, gid, groups, capabilities, .. } = &plan.process;
    Supervision {
        credentials: Credentials::new(*uid, *gid, groups, capabilities.permitted, capabilities.effective),
        bounding: capabilities.bounding,
        no_new_privileges: plan.process.no_new_privileges,
        may_make_namespaces: plan.process.filter != Filter::Default
            || capabilities.bounding & capability::SYS_ADMIN != 0,
    }
}
