//! The process that answers: made for one sandbox, in its mount namespace, outside of its process namespace.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::Signal;
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use super::caller::{Caller, Outcome, Reply, errno};
use super::calls::{Emulated, MEANINGS};
use super::credentials::{Credentials, Table};
use super::handshake;
use super::{create, execute, files, identity, sockets};
use crate::sandbox::setup::{During, Failure, Setup};
use crate::sys::{self, Forked, SingleThreaded, notify};
use notify::{Answer, Call};

/// What the supervisor of a sandbox knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Supervision {
    /// Who its first process is.
    pub(crate) credentials: Credentials,
    /// What root may have in it.
    pub(crate) bounding: u64,
    pub(crate) no_new_privileges: bool,
    /// Whether it may make namespaces, out of the supervisor's sight.
    pub(crate) may_make_namespaces: bool,
    /// Whether the supervisor ends by itself when nobody is left who could ask.
    pub(crate) ends_with_last: bool,
}

/// What the threads of a supervisor share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) listener: OwnedFd,
    /// A procfs that shows the sandbox from outside.
    pub(super) proc: OwnedFd,
    pub(super) root: OwnedFd,
    pub(super) table: Table,
    pub(super) bounding: u64,
    pub(super) no_new_privileges: bool,
    /// Whether the program has been started: what comes before is kiln's own.
    started: AtomicBool,
    /// Whether a process may have another root than the sandbox's.
    roots_differ: AtomicBool,
}

impl Shared {
    pub(super) fn roots_differ(&self) -> bool {
        self.roots_differ.load(Ordering::Relaxed)
    }

    pub(super) fn credentials_of(&self, process: i32) -> Result<Credentials, Errno> {
        let number = notify::lock_limit(process, None).map_err(|error| errno(&error))?;
        Ok(self.table.get(number))
    }
}

/// Threads that answer: a call that waits for a disk holds up nobody else.
const MOST_THREADS: usize = 4;

/// Forks the supervisor of the sandbox whose first process is `sandbox`; gives a descriptor of it. It talks to that process
/// over `link`.
pub(crate) fn start(
    alone: &SingleThreaded,
    supervision: &Supervision,
    sandbox: &OwnedFd,
    link: OwnedFd,
) -> io::Result<OwnedFd> {
    match sys::fork(alone, UnshareFlags::empty())? {
        Forked::Child => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                serve(supervision, sandbox, link);
                if supervision.ends_with_last {
                    sys::exit(0);
                }
                // The sandbox has failed, and says why itself; this process is ended with it.
                loop {
                    rustix::event::pause();
                }
            }));
            drop(outcome);
            sys::exit(1)
        }
        Forked::Parent(supervisor) => Ok(supervisor),
    }
}

fn serve(supervision: &Supervision, sandbox: &OwnedFd, link: OwnedFd) {
    if sys::close_all_but(&[sandbox.as_fd(), link.as_fd()]).is_err() {
        sys::exit(1);
    }
    if handshake::wait_until_furnished(&link).is_err() {
        return;
    }
    let prepared = prepare(sandbox.as_fd());
    let failure = prepared.as_ref().err().cloned();
    if handshake::tell(&link, failure.as_ref()).is_err() || failure.is_some() {
        return;
    }
    let (Ok((proc, root)), Ok(listener)) = (prepared, handshake::receive_listener(&link)) else { return };
    drop(link);
    let shared = Arc::new(Shared {
        listener,
        proc,
        root,
        table: Table::new(supervision.credentials.clone()),
        bounding: supervision.bounding,
        no_new_privileges: supervision.no_new_privileges,
        started: AtomicBool::new(false),
        roots_differ: AtomicBool::new(supervision.may_make_namespaces),
    });
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, MOST_THREADS);
    for _ in 1..threads {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || answer_all(&shared));
    }
    answer_all(&shared);
}

/// Enters the sandbox's mount namespace, with a procfs that shows more than its own; gives that and the sandbox's root.
fn prepare(sandbox: BorrowedFd<'_>) -> Setup<(OwnedFd, OwnedFd)> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .during(|| "tie the recorder of owners to kiln".into())?;
    // Nothing to do without a name.
    let _ = rustix::thread::set_name(c"kiln-owners");
    let null = std::fs::File::options().write(true).open("/dev/null").during(|| "open /dev/null".into())?;
    rustix::stdio::dup2_stderr(&null).during(|| "let go of standard error".into())?;
    rustix::process::umask(Mode::empty());
    // Before the sandbox's namespace is entered: there parts of /proc are masked, and the kernel refuses an unmasked one.
    let proc = match own_proc() {
        // In a container whose engine masks parts of /proc: kiln's own, see `Launcher::fork`.
        Err(Errno::PERM) => rustix::fs::openat(CWD, "/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
        made => made,
    };
    let proc = proc.during(|| "mount a procfs for the recorder of owners".into())?;
    move_into_thread_name_spaces(sandbox, ThreadNameSpaceType::MOUNT)
        .during(|| "enter the step's mount namespace to record owners".into())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty()).during(|| "open the step's root".into())?;
    Ok((proc, root))
}

/// A procfs of this process's namespace, attached nowhere.
pub(super) fn own_proc() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Answers until nobody is left who could ask.
fn answer_all(shared: &Shared) {
    // The root and the working directory are changed for single calls, in this thread alone.
    let separate = sys::unshare(UnshareFlags::FS).and_then(|()| rustix::process::fchdir(&shared.proc));
    if separate.is_err() {
        sys::exit(1);
    }
    loop {
        let call = match notify::receive_call(&shared.listener) {
            Ok(Some(call)) => call,
            Ok(None) if is_abandoned(&shared.listener) => return,
            Ok(None) => continue,
            Err(_) => return,
        };
        let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer(shared, &call)));
        // Without an answer the step would wait for ever; without this process it ends.
        if !matches!(answered, Ok(Ok(()))) {
            sys::exit(1);
        }
    }
}

/// Whether nobody is left who could ask.
fn is_abandoned(listener: &OwnedFd) -> bool {
    let mut waiting = [PollFd::new(listener, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&now))).is_ok()
        && waiting[0].revents().contains(PollFlags::HUP)
}

fn answer(shared: &Shared, call: &Call) -> io::Result<()> {
    let listener = &shared.listener;
    match perform(&Caller { shared, call }) {
        Ok(Reply::Continue) => notify::answer_call(listener, call.id, Answer::Continue),
        Ok(Reply::Value(value)) => notify::answer_call(listener, call.id, Answer::Value(value)),
        Ok(Reply::File(file, close)) => match notify::answer_with_file(listener, call.id, file, close) {
            // It has as many files open as it may.
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                notify::answer_call(listener, call.id, Answer::Error(libc::EMFILE))
            }
            answered => answered,
        },
        Err(errno) => notify::answer_call(listener, call.id, Answer::Error(errno.raw_os_error())),
    }
}

fn perform(caller: &Caller<'_>) -> Outcome {
    let shared = caller.shared;
    let number = caller.call.number.cast_unsigned();
    let Some(call) = MEANINGS.get(&(caller.call.arch, number)).copied() else {
        return Ok(Reply::Continue);
    };
    use Emulated as E;
    if !shared.started.load(Ordering::Relaxed) {
        if matches!(call, E::Execute | E::ExecuteAt) {
            shared.started.store(true, Ordering::Relaxed);
        } else {
            return Ok(Reply::Continue);
        }
    }
    match call {
        E::Chown | E::ChownLink | E::ChownFile | E::ChownAt => files::chown(caller, call),
        E::Stat | E::StatLink | E::StatFile | E::StatAt | E::Statx => files::stat(caller, call),
        E::ListAttributes | E::ListLinkAttributes | E::ListFileAttributes => {
            files::list_attributes(caller, call)
        }
        E::SetAttribute => files::set_attribute(caller),
        E::Open | E::OpenAt | E::OpenAt2 | E::Create => create::open(caller, call),
        E::MakeDirectory | E::MakeDirectoryAt | E::MakeLink | E::MakeLinkAt | E::MakeNode | E::MakeNodeAt => {
            create::make(caller, call)
        }
        E::Set(ids, change) => identity::set(caller, ids, change),
        E::SetGroups => identity::set_groups(caller),
        E::Get(ids, which) => identity::get(caller, ids, which),
        E::GetAll(ids) => identity::get_all(caller, ids),
        E::GetGroups => identity::get_groups(caller),
        E::GetCapabilities => identity::get_capabilities(caller),
        E::SetCapabilities => identity::set_capabilities(caller),
        E::Prctl => identity::keep_capabilities(caller),
        E::Execute | E::ExecuteAt => execute::execute(caller, call),
        E::Limit | E::GetLimit | E::SetLimit => sockets::limit(caller, call),
        E::PeerCredentials => sockets::peer_credentials(caller),
        E::ChangeRoot => {
            shared.roots_differ.store(true, Ordering::Relaxed);
            Ok(Reply::Continue)
        }
    }
}

/// What is said when the supervisor has ended before its sandbox.
pub(crate) fn lost() -> Failure {
    Failure {
        operation: "record owners: the process that does it was killed".into(),
        errno: libc::ESRCH,
        program: false,
    }
}
