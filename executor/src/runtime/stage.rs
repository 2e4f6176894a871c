//! A directory in memory, in kiln's mount namespace alone, with all that a runtime is given: trees, secrets, configuration, state.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountAttrFlags, UnmountFlags};

use super::error::setup;
use crate::sandbox::setup::root::{Kind, Root};
use crate::sandbox::setup::tree::{attach, copy_of, mount_tree, new_mount};
use crate::sandbox::setup::{Failure, Marks};
use crate::sandbox::stub::Stub;
use crate::sandbox::{Content, SandboxError, Tree};
use crate::sys::{self, MountChange};

/// Dropped, everything in it is unmounted and gone.
#[derive(Debug)]
pub(super) struct Stage {
    path: PathBuf,
    root: Option<Root>,
    numbers: u32,
    /// What covers parts of the root: no mount points are made there.
    covered: Vec<String>,
}

pub(super) fn failed(Failure { operation, errno, .. }: Failure) -> SandboxError {
    SandboxError::Setup { operation, cause: std::io::Error::from_raw_os_error(errno) }
}

impl Stage {
    /// Makes it at `path`, with `tree` mounted as `rootfs`.
    pub(super) fn make(path: &Path, tree: &Tree, marks: Marks, devices: bool) -> Result<Self, SandboxError> {
        let what = || setup(format!("make {}", path.display()));
        fs::create_dir_all(path).map_err(what())?;
        let mut stage = Self { path: path.to_owned(), root: None, numbers: 0, covered: Vec::new() };
        let memory = new_mount("tmpfs", &[("mode", "711")], MountAttrFlags::empty());
        let point = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        memory
            .and_then(|memory| attach(&memory, point?))
            .map_err(|error| setup(format!("mount {}", path.display()))(error.into()))?;
        let mount = mount_tree(tree, marks).map_err(failed)?;
        if !devices {
            without_devices(&mount)?;
        }
        let rootfs = stage.place(&mount, "rootfs")?;
        stage.root = Some(Root::at(&rootfs).map_err(failed)?);
        Ok(stage)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn stubs(&self) -> Vec<Stub> {
        self.root.as_ref().map(|root| root.stubs.clone()).unwrap_or_default()
    }

    pub(super) fn write_config(&self, config: &Spec) -> Result<(), SandboxError> {
        let text = serde_json::to_vec(config).map_err(|error| setup("write config.json")(error.into()))?;
        fs::write(self.path.join("config.json"), text).map_err(setup("write config.json"))
    }

    /// Makes the mount point `target` in the root if it is missing, so that it can be taken away again.
    pub(super) fn point(&mut self, target: &str, kind: Kind) -> Result<(), SandboxError> {
        let below = |above: &String| target.strip_prefix(above.as_str()).is_some_and(|r| r.starts_with('/'));
        let hidden = self.covered.iter().any(below);
        self.covered.push(target.to_owned());
        match &mut self.root {
            Some(root) if !hidden => root.target(target, kind).map(drop).map_err(failed),
            _ => Ok(()),
        }
    }

    fn fresh(&mut self) -> String {
        self.numbers += 1;
        self.numbers.to_string()
    }

    /// A file with a secret in it.
    pub(super) fn content(&mut self, content: &Content) -> Result<PathBuf, SandboxError> {
        let name = self.fresh();
        let path = self.path.join(name);
        let write = || {
            let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&content.data)?;
            fchown(&file, Some(content.uid), Some(content.gid))?;
            file.set_permissions(fs::Permissions::from_mode(content.mode))
        };
        write().map_err(setup("write a file for a sandbox"))?;
        Ok(path)
    }

    /// What `tree` has at `path`; no link leads out of it.
    pub(super) fn tree(
        &mut self,
        tree: &Tree,
        path: &str,
        marks: Marks,
        devices: bool,
    ) -> Result<(PathBuf, Kind), SandboxError> {
        let mount = mount_tree(tree, marks).map_err(failed)?;
        if !devices {
            without_devices(&mount)?;
        }
        let name = self.fresh();
        let whole = self.place(&mount, &name)?;
        if path.bytes().all(|byte| byte == b'/') {
            return Ok((whole, Kind::Directory));
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let part = rustix::fs::openat2(&mount, path, flags, Mode::empty(), resolve)
            .map_err(std::io::Error::from)
            .and_then(|found| copy_of(&found, false))
            .map_err(setup(format!("open {path}")))?;
        let name = self.fresh();
        Ok((self.place(&part, &name)?, kind_of(&part)?))
    }

    /// Attaches `mount` under a name of the stage.
    fn place(&self, mount: &OwnedFd, name: &str) -> Result<PathBuf, SandboxError> {
        let path = self.path.join(name);
        let made = match kind_of(mount)? {
            Kind::Directory => fs::create_dir(&path),
            Kind::File => fs::File::create_new(&path).map(drop),
        };
        made.map_err(setup(format!("make {}", path.display())))?;
        rustix::fs::openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .and_then(|point| attach(mount, point))
            .map_err(|error| setup(format!("mount {}", path.display()))(error.into()))?;
        Ok(path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.root = None;
        // All that is mounted in it goes with it.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.path);
    }
}

/// File or directory.
pub(super) fn kind_of(mount: &OwnedFd) -> Result<Kind, SandboxError> {
    let stat = rustix::fs::fstat(mount).map_err(|error| setup("look at what is mounted")(error.into()))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(if directory { Kind::Directory } else { Kind::File })
}

fn without_devices(mount: &OwnedFd) -> Result<(), SandboxError> {
    let change = MountChange { set: libc::MOUNT_ATTR_NODEV, ..MountChange::default() };
    sys::change_mount(mount, change, true).map_err(setup("make a mount nodev"))
}
