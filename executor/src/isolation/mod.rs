//! How far this machine lets kiln shut a step in: probed once at start, before any thread.
//!
//! The rungs are tried from the top; the first one that works is taken, and why the ones above it did not is kept for
//! `kiln info`. Entering a rung changes this process: it lives in a mount namespace of its own from then on (so that nothing
//! it mounts outlives it or is seen by others), in a user namespace too unless it is root, and the [`Launcher`] has been forked.

mod chroot;
mod rehearsal;
mod stacking;
mod subordinate;
mod user_namespace;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use crate::launcher::{Launcher, Way};
use crate::owners;
use crate::sandbox::setup::{Marks, mount_tree};
use crate::sandbox::{SandboxError, Tree};
use crate::sys::{self, SingleThreaded};
use rehearsal::rehearse;
use user_namespace::Subordinate;

/// A way to isolate steps, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Root with CAP_SYS_ADMIN: all namespaces, overlayfs with `trusted.*` attributes.
    Root,
    /// An ordinary user with subordinate ids: the same in a user namespace, overlayfs with `userxattr`.
    SubordinateIds,
    /// An ordinary user without them: one id is mapped; owners are recorded.
    SingleId,
    /// Root in a plain container: `chroot`, plain directories, the container's namespaces.
    Chroot,
}

impl Rung {
    /// The name that `--isolation` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::SubordinateIds => "rootless",
            Self::SingleId => "single-id",
            Self::Chroot => "chroot",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is asked of [`enter`].
#[derive(Debug, Clone, Default)]
pub struct IsolationRequest {
    /// The only rung to try; the best that works if none.
    pub wanted: Option<Rung>,
    /// The user's login name (`$USER`), for a user that `/etc/passwd` does not list.
    pub login: Option<String>,
    /// An ordinary user's process whose user namespace is entered instead of a new one, because a network of it is to be joined.
    pub beside: Option<u32>,
    /// The rung of the isolation that this process stands in already; inside of it every rung looks like the first.
    pub within: Option<Rung>,
}

/// A rung that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub rung: Rung,
    /// What failed and what would mend it, in one line.
    pub reason: String,
}

/// Where this process stands after [`enter`].
#[derive(Debug)]
pub struct Isolation {
    /// The rung that was taken.
    pub rung: Rung,
    /// The better ones, and why they were not.
    pub skipped: Vec<Skipped>,
    /// Whether overlayfs keeps its marks in `user.overlay.*` attributes, because this is not the first user namespace;
    /// otherwise in `trusted.overlay.*`.
    pub user_xattrs: bool,
    /// Starts sandboxes.
    pub launcher: Launcher,
}

impl Isolation {
    /// Mounts a root file system, attached nowhere: a descriptor of its root. It goes with the descriptor.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount(&self, tree: &Tree) -> Result<OwnedFd, SandboxError> {
        let marks = if self.user_xattrs { Marks::User } else { Marks::Trusted };
        mount_tree(tree, marks).map_err(|failure| SandboxError::Setup {
            operation: failure.operation,
            cause: io::Error::from_raw_os_error(failure.errno),
        })
    }

    /// Why layers cannot be stacked by overlayfs in a store at `root`, if they cannot: steps work in plain directories then.
    pub fn cannot_stack(&self, root: &Path) -> Option<String> {
        match self.rung {
            Rung::Chroot => Some("nothing can be mounted here".to_owned()),
            Rung::Root | Rung::SubordinateIds | Rung::SingleId => stacking::problem(root),
        }
    }
}

/// No rung can be taken.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// Each rung failed.
    #[error("no isolation works here: {}", reasons(.0))]
    NoRung(Vec<Skipped>),
    /// More than one thread runs already, so that namespaces cannot be entered safely.
    #[error("isolation has to be entered before the first thread is started")]
    Threads,
    /// The launcher could not be forked.
    #[error("start the launcher process")]
    Launcher(#[source] io::Error),
}

fn reasons(skipped: &[Skipped]) -> String {
    let lines: Vec<String> = skipped.iter().map(|s| format!("{}: {}", s.rung, s.reason)).collect();
    lines.join("; ")
}

/// Takes the best rung that works. To be called first thing in `main`, before any thread.
///
/// # Errors
/// When no rung (or not the wanted one) works.
pub fn enter(request: &IsolationRequest) -> Result<Isolation, IsolationError> {
    let alone = SingleThreaded::check().map_err(IsolationError::Launcher)?.ok_or(IsolationError::Threads)?;
    let mut skipped = Vec::new();
    if let Some(process) = request.beside.filter(|_| !rustix::process::geteuid().is_root()) {
        let entered = user_namespace::enter_that_of(process).and_then(|rung| settle_mounts().map(|()| rung));
        return match entered {
            Ok(rung) => finish(rung, request.within, skipped, &alone),
            Err(reason) => Err(IsolationError::NoRung(vec![Skipped { rung: Rung::SubordinateIds, reason }])),
        };
    }
    let rungs = [Rung::Root, Rung::SubordinateIds, Rung::SingleId, Rung::Chroot];
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut namespace = UserNamespace::Outside;
    // A namespace cannot be left again: where there is something to fall back on, a process that does not matter tries first.
    let falls_back = request.wanted.is_none() && chroot::possible().is_ok();
    let rehearsed = |attempt: &dyn Fn(&mut UserNamespace) -> Result<(), String>| match falls_back {
        true => rehearse(&alone, || attempt(&mut UserNamespace::Outside)),
        false => Ok(()),
    };
    for rung in rungs.into_iter().filter(|rung| request.wanted.is_none_or(|wanted| wanted == *rung)) {
        let taken = match rung {
            Rung::Root => enter_as_root(),
            Rung::SubordinateIds => {
                rehearsed(&|namespace| enter_with_subordinate_ids(request, &alone, namespace))
                    .and_then(|()| enter_with_subordinate_ids(request, &alone, &mut namespace))
            }
            Rung::SingleId => owners::probe(&alone)
                .and_then(|()| rehearsed(&|namespace| enter_with_one_id(ids, namespace)))
                .and_then(|()| enter_with_one_id(ids, &mut namespace)),
            Rung::Chroot if namespace != UserNamespace::Outside => {
                Err("a user namespace was entered that does not allow enough".to_owned())
            }
            Rung::Chroot => chroot::possible(),
        };
        match taken {
            Ok(()) => return finish(rung, request.within, skipped, &alone),
            Err(reason) => skipped.push(Skipped { rung, reason }),
        }
    }
    Err(IsolationError::NoRung(skipped))
}

/// How far a failed attempt has gone: a namespace cannot be left again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UserNamespace {
    Outside,
    Unmapped,
    /// It refuses what is needed in it.
    Useless,
}

fn finish(
    rung: Rung,
    within: Option<Rung>,
    skipped: Vec<Skipped>,
    alone: &SingleThreaded,
) -> Result<Isolation, IsolationError> {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let user_xattrs = map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"];
    let marks = if user_xattrs { Marks::User } else { Marks::Trusted };
    let record_owners = rung == Rung::SingleId || within == Some(Rung::SingleId);
    let own_processes = rung != Rung::Chroot && (!record_owners || owners::can_see_new_namespace());
    let namespaces = if own_processes { UnshareFlags::NEWPID } else { UnshareFlags::empty() };
    let way = if rung == Rung::Chroot { Way::Chroot } else { Way::Mounts { marks, record_owners } };
    let launcher = Launcher::fork(alone, way, namespaces).map_err(IsolationError::Launcher)?;
    Ok(Isolation { rung, skipped, user_xattrs, launcher })
}

fn enter_as_root() -> Result<(), String> {
    sys::unshare(UnshareFlags::NEWNS).map_err(|error| {
        format!("make a mount namespace (needs CAP_SYS_ADMIN): {}", io::Error::from(error))
    })?;
    settle_mounts()
}

fn enter_with_subordinate_ids(
    request: &IsolationRequest,
    alone: &SingleThreaded,
    namespace: &mut UserNamespace,
) -> Result<(), String> {
    let subordinate = Subordinate::find(request.login.as_deref())?;
    let entered = subordinate.enter(alone);
    if has_no_map() {
        *namespace = UserNamespace::Unmapped;
    }
    entered?;
    settle_mounts().inspect_err(|_| *namespace = UserNamespace::Useless)
}

/// Whether this process is in a user namespace that nobody has written a map for.
fn has_no_map() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.trim().is_empty())
}

fn enter_with_one_id((uid, gid): (u32, u32), namespace: &mut UserNamespace) -> Result<(), String> {
    match namespace {
        UserNamespace::Outside => user_namespace::unshare()?,
        UserNamespace::Unmapped => {}
        UserNamespace::Useless => return Err("the user namespace does not allow mounts".to_owned()),
    }
    user_namespace::map_one(uid, gid)?;
    settle_mounts()
}

/// Makes the new mount namespace follow the host's (an unmounted disk is let go of) without showing it anything.
fn settle_mounts() -> Result<(), String> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags)
        .map_err(|error| format!("separate the mount namespace: {}", io::Error::from(error)))
}
