//! The launcher's own side: waits for requests and for sandboxes to end, and does nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

use super::keeper::keep;
use super::message::{Report, Request, receive_request, send_report};
use crate::network;
use crate::owners::{self, Credentials, Supervision};
use crate::sandbox::cgroup::Group;
use crate::sandbox::plan::{Filter, Network, Plan, Process};
use crate::sandbox::setup::{During, Failure, Gifts, Marks, Prepared, Setup, become_program, become_visitor};
use crate::sandbox::{capability, memory, seccomp};
use crate::sys::{self, Forked, SingleThreaded};

/// A sandbox that runs.
struct Started {
    number: u64,
    process: OwnedFd,
    /// Nobody asks how a process ended that only stands between this one and another that entered a sandbox.
    report: Option<OwnedFd>,
    group: Option<Group>,
    /// Which of its namespaces are its own.
    own: ThreadNameSpaceType,
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
            Ok(Some((request, fds))) => {
                let started = perform(&request, fds, &running, alone, &prepared);
                running.extend(started);
            }
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
    if let Some(report) = &started.report {
        let _ = send_report(report, &Report::Failed(owners::lost()), None);
    }
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
    let Some(report) = started.report else { return };
    let killed = |before: u64| code != 0 && memory::own_kills().is_some_and(|now| now > before);
    let out_of_memory =
        started.group.as_ref().is_some_and(Group::out_of_memory) || started.kills.is_some_and(killed);
    drop(started.group);
    // Nobody may be interested any more.
    let _ = send_report(&report, &Report::Ended { code, signal, out_of_memory }, None);
}

fn perform(
    request: &Request,
    fds: Vec<OwnedFd>,
    running: &[Started],
    alone: &SingleThreaded,
    prepared: &Prepared,
) -> Option<Started> {
    let mut fds = fds.into_iter();
    let report = fds.next()?;
    if let Request::Network(order) = request {
        return match sys::fork(alone, UnshareFlags::empty()) {
            Ok(Forked::Child) => network::outside::hold(order, &report, alone),
            Ok(Forked::Parent(process)) => {
                let _ = send_report(&report, &Report::Started, Some(process.as_fd()));
                let own = ThreadNameSpaceType::empty();
                Some(Started {
                    number: 0,
                    process,
                    report: Some(report),
                    group: None,
                    own,
                    supervisor: None,
                    kills: None,
                })
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                fail(&report, Failure { operation: "fork".into(), errno, program: false });
                None
            }
        };
    }
    let executed = fds.next()?;
    let streams = fds.collect();
    let outcome = match request {
        Request::Network(_) => return None,
        Request::Start { number, plan } => clone_sandbox(plan, streams, &report, &executed, alone, prepared)
            .map(|(process, group, supervisor)| Started {
                number: *number,
                process,
                report: None,
                group,
                own: own_namespaces(plan),
                supervisor,
                kills: if plan.chroot { memory::own_kills() } else { None },
            })
            .inspect(|started| {
                let passed_over = started.group.as_ref().map(Group::passed_over).unwrap_or_default();
                if !passed_over.is_empty() {
                    let _ = send_report(&report, &Report::PassedOver(passed_over.to_vec()), None);
                }
                // A keeper says it itself.
                if plan.chroot {
                    return;
                }
                let _ = send_report(&report, &Report::Started, Some(started.process.as_fd()));
            }),
        Request::Enter { number, process } => {
            match running.iter().find(|started| started.number == *number && started.report.is_some()) {
                Some(inside) => {
                    let visitor = Visitor { process, streams, report: &report, executed: &executed };
                    return match visitor.enter(inside, alone, prepared) {
                        Ok(process) => {
                            let own = ThreadNameSpaceType::empty();
                            Some(Started {
                                number: *number,
                                process,
                                report: None,
                                group: None,
                                own,
                                supervisor: None,
                                kills: None,
                            })
                        }
                        Err(failure) => {
                            fail(&report, failure);
                            None
                        }
                    };
                }
                None => Err(Failure {
                    operation: "enter the container".into(),
                    errno: libc::ESRCH,
                    program: false,
                }),
            }
        }
    };
    match outcome {
        Ok(started) => Some(Started { report: Some(report), ..started }),
        Err(failure) => {
            fail(&report, failure);
            None
        }
    }
}

fn fail(report: &OwnedFd, failure: Failure) {
    let _ = send_report(report, &Report::Failed(failure), None);
    let _ = send_report(report, &Report::Ended { code: 125, signal: false, out_of_memory: false }, None);
}

/// A process that is to enter a sandbox.
struct Visitor<'a> {
    process: &'a Process,
    streams: Vec<OwnedFd>,
    report: &'a OwnedFd,
    executed: &'a OwnedFd,
}

impl Visitor<'_> {
    /// Forks a process that joins the namespaces of `inside`, forks the visitor there (a pid namespace takes effect for
    /// children only), and reports its end in this process's stead.
    fn enter(self, inside: &Started, alone: &SingleThreaded, prepared: &Prepared) -> Setup<OwnedFd> {
        let groups = inside.group.as_ref().map(Group::entrances).transpose();
        let groups = groups.during(|| "open the control group".into())?.unwrap_or_default();
        match sys::fork(alone, UnshareFlags::empty()).during(|| "fork".into())? {
            Forked::Parent(process) => Ok(process),
            Forked::Child => {
                if let Err(failure) = self.accompany(inside, groups, alone, prepared) {
                    fail(self.report, failure);
                }
                sys::exit(0)
            }
        }
    }

    fn accompany(
        &self,
        inside: &Started,
        groups: Vec<OwnedFd>,
        alone: &SingleThreaded,
        prepared: &Prepared,
    ) -> Setup<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .during(|| "tie the process to kiln".into())?;
        let recorder = if prepared.record_owners { Some(link()?) } else { None };
        let (near, far) = recorder.unzip();
        // Before the namespaces are joined: it stands outside of them.
        let supervision = Supervision { ends_with_last: true, ..supervision(self.process) };
        let start = |link| owners::start(alone, &supervision, &inside.process, link);
        let supervisor = near.map(start).transpose().during(|| "start the recorder of owners".into())?;
        rustix::thread::move_into_thread_name_spaces(inside.process.as_fd(), inside.own)
            .during(|| "join the container's namespaces".into())?;
        let streams = self.streams.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>();
        let streams = streams.during(|| "copy the standard streams".into())?;
        match sys::fork(alone, UnshareFlags::empty()).during(|| "fork".into())? {
            Forked::Child => become_visitor(
                self.process,
                Gifts { streams, groups, recorder: far },
                (self.report, self.executed),
                prepared,
            ),
            Forked::Parent(process) => {
                let _ = send_report(self.report, &Report::Started, Some(process.as_fd()));
                let kept: Vec<_> =
                    [self.report, &process].into_iter().chain(&supervisor).map(AsFd::as_fd).collect();
                sys::close_all_but(&kept).during(|| "close descriptors".into())?;
                let report = self.report.try_clone().during(|| "copy a socket".into())?;
                let own = ThreadNameSpaceType::empty();
                report_end(Started {
                    number: 0,
                    process,
                    report: Some(report),
                    group: None,
                    own,
                    supervisor: None,
                    kills: None,
                });
                // What it left running asks on.
                if let Some(supervisor) = supervisor {
                    reap(&supervisor);
                }
                Ok(())
            }
        }
    }
}

/// The namespaces that a visitor has to join. The others it shares already, and an ordinary user may not join them.
fn own_namespaces(plan: &Plan) -> ThreadNameSpaceType {
    let namespaces = &plan.namespaces;
    let mut own = ThreadNameSpaceType::MOUNT;
    own.set(ThreadNameSpaceType::PROCESS_ID, namespaces.pid);
    own.set(ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION, namespaces.ipc);
    own.set(ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME, namespaces.uts);
    own.set(ThreadNameSpaceType::CONTROL_GROUP, namespaces.cgroup);
    own.set(ThreadNameSpaceType::NETWORK, !matches!(namespaces.network, Network::Host));
    own
}

fn clone_sandbox(
    plan: &Plan,
    streams: Vec<OwnedFd>,
    report: &OwnedFd,
    executed: &OwnedFd,
    alone: &SingleThreaded,
    prepared: &Prepared,
) -> Setup<(OwnedFd, Option<Group>, Option<OwnedFd>)> {
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
            Forked::Child => keep(plan, gifts, (report, executed), prepared, alone),
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
            become_program(plan, gifts, (report, executed), prepared)
        }
        Forked::Parent(process) => {
            drop((far, streams));
            let start = |link| owners::start(alone, &supervision(&plan.process), &process, link);
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

fn supervision(process: &Process) -> Supervision {
    let Process { uid, gid, groups, capabilities, .. } = process;
    Supervision {
        credentials: Credentials::new(*uid, *gid, groups, capabilities.permitted, capabilities.effective),
        bounding: capabilities.bounding,
        no_new_privileges: process.no_new_privileges,
        may_make_namespaces: process.filter != Filter::Default
            || capabilities.bounding & capability::SYS_ADMIN != 0,
        ends_with_last: false,
    }
}
