//! The sandbox's first process, from the clone to the program: it furnishes its own namespaces and then becomes the program.
//!
//! It runs in a fork of the launcher, which has no threads, so ordinary code is allowed here.

mod chroot;
mod devices;
mod failure;
mod init;
mod mounts;
mod privileges;
mod program;
pub(crate) mod root;
mod terminal;
pub(crate) mod tree;

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

pub(crate) use failure::{During, Failure, Setup};
pub(crate) use tree::{Marks, mount_tree};

use super::plan::{Filter, Given, Network, Plan, Process, Stdio};
use super::{capability, seccomp};
use crate::launcher::message::{Report, send_report};
use crate::sys;
use root::Root;

/// What the launcher prepared once for all sandboxes.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) marks: Marks,
    /// Whether one id alone is mapped, and owners are recorded.
    pub(crate) record_owners: bool,
    /// The default filter for the default capabilities.
    pub(crate) filter: Vec<libc::sock_filter>,
}

/// What one sandbox is given.
#[derive(Debug)]
pub(crate) struct Gifts {
    /// Standard streams, as many as the plan says.
    pub(crate) streams: Vec<OwnedFd>,
    /// The control groups' `cgroup.procs` to enter.
    pub(crate) groups: Vec<OwnedFd>,
    /// Where the supervisor that records owners listens, if one does.
    pub(crate) recorder: Option<OwnedFd>,
}

/// The descriptors that tell kiln: the report socket, and the pipe that closes when the program is executed.
pub(crate) type Tell<'a> = (&'a OwnedFd, &'a OwnedFd);

/// Becomes the program of `plan`; tells why if that fails.
pub(crate) fn become_program(plan: &Plan, gifts: Gifts, tell: Tell<'_>, prepared: &Prepared) -> ! {
    end(catch_unwind(AssertUnwindSafe(|| furnish_and_execute(plan, gifts, tell, prepared))), tell.0)
}

/// Becomes the program of `process` in namespaces that others furnished; tells why if that fails.
pub(crate) fn become_visitor(process: &Process, gifts: Gifts, tell: Tell<'_>, prepared: &Prepared) -> ! {
    end(catch_unwind(AssertUnwindSafe(|| visit_and_execute(process, gifts, tell, prepared))), tell.0)
}

fn end(outcome: std::thread::Result<Setup<Infallible>>, report: &OwnedFd) -> ! {
    let failure = match outcome {
        Ok(Err(failure)) => failure,
        Err(_) => {
            Failure { operation: "furnish it (an error in kiln)".into(), errno: libc::EFAULT, program: false }
        }
    };
    // If kiln is gone, nobody is left to be told.
    let _ = send_report(report, &Report::Failed(failure), None);
    sys::exit(125)
}

/// Ties the process to kiln, gives it a session of its own and puts it into its control groups.
fn begin(groups: Vec<OwnedFd>) -> Setup<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .during(|| "tie the process to kiln".into())?;
    rustix::process::setsid().during(|| "start a session".into())?;
    for group in groups {
        rustix::io::write(&group, b"0").during(|| "enter the control group".into())?;
    }
    Ok(())
}

fn visit_and_execute(
    process: &Process,
    gifts: Gifts,
    tell: Tell<'_>,
    prepared: &Prepared,
) -> Setup<Infallible> {
    begin(gifts.groups)?;
    let streams = standard(process, gifts.streams, None, tell.0, prepared.record_owners)?;
    execute(process, streams, (gifts.recorder.as_ref(), false), tell, prepared)
}

fn furnish_and_execute(plan: &Plan, gifts: Gifts, tell: Tell<'_>, prepared: &Prepared) -> Setup<Infallible> {
    begin(gifts.groups)?;
    if plan.namespaces.cgroup && !plan.chroot {
        sys::unshare(UnshareFlags::NEWCGROUP).during(|| "make a cgroup namespace".into())?;
    }
    let streams = if plan.chroot {
        chroot::enter(plan, gifts.streams, tell.0)?
    } else {
        network(&plan.namespaces.network)?;
        enter_root(plan, gifts.streams, tell.0, prepared)?
    };
    execute(&plan.process, streams, (gifts.recorder.as_ref(), plan.chroot), tell, prepared)
}

/// The last steps, in a root that was entered.
fn execute(
    process: &Process,
    streams: [OwnedFd; 3],
    (recorder, chroot): (Option<&OwnedFd>, bool),
    tell: Tell<'_>,
    prepared: &Prepared,
) -> Setup<Infallible> {
    rustix::process::umask(Mode::from_raw_mode(process.umask & 0o777));
    privileges::limit_resources(&process.rlimits, prepared.record_owners)?;
    enter_directory(&process.cwd)?;
    let path = program::find(&process.args[0], &process.env)?;
    place(streams)?;
    let kept: Vec<_> = [tell.0, tell.1].into_iter().chain(recorder).map(AsFd::as_fd).collect();
    sys::close_all_but(&kept).during(|| "close descriptors".into())?;

    let c_strings = |strings: &[String]| -> Vec<CString> {
        strings.iter().filter_map(|s| CString::new(s.as_str()).ok()).collect()
    };
    let (args, env) = (c_strings(&process.args), c_strings(&process.env));
    let own_filter;
    let filter = match (&process.filter, process.capabilities.bounding) {
        (Filter::None, _) => None,
        (Filter::Default, capability::DEFAULT) => Some(prepared.filter.as_slice()),
        (Filter::Default, bounding) => {
            own_filter = seccomp::default_profile(bounding);
            Some(own_filter.as_slice())
        }
        (Filter::Program(steps), _) => {
            let step = |&(code, jt, jf, k): &(u16, u8, u8, u32)| libc::sock_filter { code, jt, jf, k };
            own_filter = steps.iter().map(step).collect();
            Some(own_filter.as_slice())
        }
    };
    // The engine's own filter is on already; a further one without CAP_SYS_ADMIN would take setuid programs their effect.
    let filter = filter.filter(|_| !chroot || process.no_new_privileges || privileges::may_filter());
    privileges::drop_privileges(process, filter, recorder)?;
    if process.init {
        init::stay()?;
    }
    let error = sys::execute(&path, &args, &env);
    let errno = error.raw_os_error().unwrap_or(libc::ENOEXEC);
    Err(Failure { operation: process.args[0].clone(), errno, program: true })
}

fn network(network: &Network) -> Setup<()> {
    match network {
        Network::Host => Ok(()),
        Network::New => {
            let what = || "bring loopback up".to_owned();
            let socket =
                rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
                    .during(what)?;
            sys::loopback_up(&socket).during(what)
        }
        Network::Join(path) => {
            let what = || format!("join the network namespace {}", path.display());
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let namespace = rustix::fs::openat(CWD, path, flags, Mode::empty()).during(what)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).during(what)
        }
    }
}

/// Mounts the root and all in it and enters it; gives the three standard streams.
fn enter_root(
    plan: &Plan,
    streams: Vec<OwnedFd>,
    report: &OwnedFd,
    prepared: &Prepared,
) -> Setup<[OwnedFd; 3]> {
    let null = devices::host_null()?;
    let mut root = Root::mount(&plan.root, prepared.marks, plan.root_devices)?;
    let special = mounts::mount_all(&mut root, &plan.mounts, prepared.marks)?;
    if let Some(dev) = &special.dev {
        devices::furnish(dev)?;
    }
    devices::add(&mut root, &plan.devices)?;
    mounts::set_sysctl(&special, &plan.sysctl)?;
    if let (Some(score), Some(proc)) = (plan.process.oom_score_adj, &special.proc) {
        adjust_oom_score(proc, score)?;
    }
    mounts::protect(&root, &special, &plan.read_only)?;
    mounts::mask(&root, &special, &plan.masked, &null)?;
    if !root.stubs.is_empty() {
        send_report(report, &Report::Stubs(root.stubs.clone()), None)
            .during(|| "report mount points".into())?;
    }
    root.enter(plan.root_read_only)?;

    if plan.namespaces.uts {
        name_host(plan)?;
    }
    standard(&plan.process, streams, special.dev.as_ref(), report, prepared.record_owners)
}

/// The three standard streams: those that were given, or a terminal, whose other side is passed to kiln.
fn standard(
    process: &Process,
    streams: Vec<OwnedFd>,
    dev: Option<&OwnedFd>,
    report: &OwnedFd,
    record_owners: bool,
) -> Setup<[OwnedFd; 3]> {
    match process.stdio {
        Stdio::Terminal(rows, columns) => {
            // Where owners are recorded it is root's: the file system of terminals keeps no records.
            let owner = if record_owners { 0 } else { process.uid };
            let terminal = terminal::open(rows, columns, dev, owner)?;
            rustix::process::ioctl_tiocsctty(&terminal.slave).during(|| "take the terminal".into())?;
            send_report(report, &Report::Terminal, Some(terminal.master.as_fd()))
                .during(|| "pass the terminal".into())?;
            let copy = || terminal.slave.try_clone().during(|| "copy the terminal".into());
            Ok([copy()?, copy()?, copy()?])
        }
        Stdio::Streams(given) => standard_streams(given, streams, process.uid, record_owners),
    }
}

/// Sets host and domain name. In a container whose engine forbids that, the step sees the container's.
fn name_host(plan: &Plan) -> Setup<()> {
    let forbidden_is_fine = |result| match result {
        Err(rustix::io::Errno::PERM) => Ok(()),
        result => result,
    };
    if let Some(name) = &plan.hostname {
        forbidden_is_fine(rustix::system::sethostname(name.as_bytes()))
            .during(|| format!("set the host name {name}"))?;
    }
    if let Some(name) = &plan.domainname {
        forbidden_is_fine(rustix::system::setdomainname(name.as_bytes()))
            .during(|| format!("set the domain name {name}"))?;
    }
    Ok(())
}

fn standard_streams(
    given: [Given; 3],
    streams: Vec<OwnedFd>,
    uid: u32,
    record_owners: bool,
) -> Setup<[OwnedFd; 3]> {
    let mut streams = streams.into_iter();
    let mut next = |given| match given {
        Given::No => {
            // The sandbox's own: a change of the host's node would be seen by the host.
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, "/dev/null", flags, Mode::empty()).during(|| "open /dev/null".into())
        }
        Given::Yes | Given::Pipe => {
            let stream =
                streams.next().ok_or(rustix::io::Errno::BADF).during(|| "take a standard stream".into())?;
            if given == Given::Pipe && uid != 0 && !record_owners {
                rustix::fs::fchown(&stream, Some(rustix::fs::Uid::from_raw(uid)), None)
                    .during(|| "give a pipe to the user".into())?;
            }
            Ok(stream)
        }
    };
    Ok([next(given[0])?, next(given[1])?, next(given[2])?])
}

fn adjust_oom_score(proc: &OwnedFd, score: i32) -> Setup<()> {
    let what = || format!("set oom_score_adj to {score}");
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file =
        crate::resolve::openat2(proc, "self/oom_score_adj", flags, ResolveFlags::BENEATH).during(what)?;
    match rustix::io::write(&file, score.to_string().as_bytes()) {
        // Lowering it takes a privilege that is not worth a failure.
        Ok(_) | Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(error).during(what),
    }
}

/// Changes to the working directory without passing a magic link, which could lead to a descriptor of the host.
fn enter_directory(path: &str) -> Setup<()> {
    let what = || format!("enter the working directory {path}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let directory = crate::resolve::openat2(CWD, path, flags, resolve).during(what)?;
    let stat = rustix::fs::fstat(&directory).during(what)?;
    debug_assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::Directory);
    rustix::process::fchdir(&directory).during(what)
}

/// Puts the streams on descriptors 0, 1 and 2.
fn place(streams: [OwnedFd; 3]) -> Setup<()> {
    let what = || "place the standard streams".to_owned();
    let [input, output, error] = streams;
    rustix::stdio::dup2_stdin(input).during(what)?;
    rustix::stdio::dup2_stdout(output).during(what)?;
    rustix::stdio::dup2_stderr(error).during(what)
}
