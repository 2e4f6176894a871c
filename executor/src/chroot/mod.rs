//! The sandbox where nothing can be mounted and no namespace be made: root in a container whose engine allows neither.
//!
//! A process is shut in by `chroot`, with Docker's default capabilities, and shares the container's namespaces: it sees the
//! container's processes (it could kill them, and kiln too), its network and its host name. What would be mounted is put into the
//! root before the process starts and taken away when all processes have ended ([`Covers`]):
//!
//! | mount | here |
//! | --- | --- |
//! | a directory (a cache, a copy of a stage) | moved into the root and back again |
//! | a secret, a heredoc, `/etc/hosts`, `/etc/resolv.conf` | a file |
//! | an SSH agent's socket | a further name of it |
//! | tmpfs | an empty directory; its size is not limited |
//! | `/dev` | device nodes by `mknod`; plain stand-ins where that is refused |
//! | `/proc`, `/sys` | a few plain files: what does not differ from process to process |
//!
//! Read-only mounts can be written to here; what is written is gone with them.

mod cover;
mod stand_in;

use oci_spec::runtime::Spec;

use crate::launcher::Launcher;
use crate::sandbox::plan::Network;
use crate::sandbox::setup::Failure;
use crate::sandbox::{Bundle, GraftSource, Io, Running, SandboxError, Tree, translate};

pub(crate) use cover::Covers;

/// Starts the process of `bundle`, whose root is a directory.
pub(crate) fn start(launcher: &Launcher, bundle: &Bundle, io: Io) -> Result<Running, SandboxError> {
    let Tree::Directory(root) = &bundle.root else {
        return Err(SandboxError::Spec("layers cannot be stacked where nothing can be mounted".to_owned()));
    };
    let mut covers = None;
    let running = launcher.launch(&bundle.root, io, |stdio| {
        let mut plan = translate::plan(bundle, stdio)?;
        if !matches!(plan.namespaces.network, Network::Host) {
            return refuse("a network of its own", "a network namespace");
        }
        if plan.root_read_only {
            return refuse("a read-only root", "mounts");
        }
        plan.chroot = true;
        plan.mounts.clear();
        plan.masked.clear();
        plan.read_only.clear();
        let made = Covers::new(root).and_then(|mut covers| furnish(&mut covers, bundle).map(|()| covers));
        covers = Some(made.map_err(|Failure { operation, errno, .. }| SandboxError::Setup {
            operation,
            cause: std::io::Error::from_raw_os_error(errno),
        })?);
        Ok(plan)
    })?;
    Ok(match covers {
        Some(covers) => running.covered_by(covers),
        None => running,
    })
}

fn refuse<T>(what: &str, needs: &str) -> Result<T, SandboxError> {
    Err(SandboxError::Spec(format!(
        "{what} needs {needs}, which this container's engine refuses: allow user namespaces (seccomp) or CAP_SYS_ADMIN, or do without"
    )))
}

/// Puts into the root what the bundle would mount, in its order.
fn furnish(covers: &mut Covers, bundle: &Bundle) -> Result<(), Failure> {
    for (target, kind) in mounts(&bundle.spec) {
        match kind.as_str() {
            "proc" => covers.directory(&target, stand_in::proc)?,
            "sysfs" => covers.directory(&target, stand_in::sys)?,
            "tmpfs" if target == "/dev" => covers.directory(&target, stand_in::dev)?,
            "tmpfs" if !target.starts_with("/dev/") => covers.directory(&target, stand_in::empty(0o1777))?,
            // Parts of what stands at /dev and /sys already.
            _ => {}
        }
    }
    for graft in &bundle.grafts {
        let target = &graft.target;
        match &graft.source {
            GraftSource::Tree { tree: Tree::Directory(tree), path } => covers.moved(target, tree, path)?,
            GraftSource::Tree { tree: Tree::Overlay { .. }, .. } => {
                return Err(cover::unsupported(format!("show layers at {target}")));
            }
            GraftSource::Path(path) | GraftSource::PathAlone(path) => {
                covers.host(target, path, graft.read_only)?;
            }
            GraftSource::Content(content) => covers.file(target, content)?,
            GraftSource::Tmpfs { mode, .. } => covers.directory(target, stand_in::empty(*mode))?,
        }
    }
    Ok(())
}

/// Target and type of the mounts of a specification.
fn mounts(spec: &Spec) -> Vec<(String, String)> {
    let mounts = spec.mounts().iter().flatten();
    mounts
        .filter_map(|mount| Some((mount.destination().to_str()?.to_owned(), mount.typ().clone()?)))
        .collect()
}
