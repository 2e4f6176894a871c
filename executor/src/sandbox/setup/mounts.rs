//! The mounts over the root, and what is hidden in them.

use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use kiln_cache::OwnerRecord;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::failure::{During, Failure, Setup};
use super::root::{Kind, Root};
use super::tree::{self, Marks, attach, copy_of, copy_of_mount, new_mount, read_only};
use crate::sandbox::bundle::Content;
use crate::sandbox::plan::{Mount, Mounted};
use crate::sys::{self, MountChange};

/// The file systems of the sandbox that are reached by descriptor later, because a path could be led astray.
#[derive(Debug, Default)]
pub(super) struct Special {
    pub(super) proc: Option<OwnedFd>,
    pub(super) sys: Option<OwnedFd>,
    /// The tmpfs on `/dev`, if there is one.
    pub(super) dev: Option<OwnedFd>,
}

/// Makes the mounts of a plan, in order.
pub(super) fn mount_all(root: &mut Root, mounts: &[Mount], marks: Marks) -> Setup<Special> {
    let mut special = Special::default();
    for mount in mounts {
        mount_one(root, mount, marks, &mut special)?;
    }
    Ok(special)
}

fn mount_one(root: &mut Root, mount: &Mount, marks: Marks, special: &mut Special) -> Setup<()> {
    let Mount { target, what, flags } = mount;
    let during = || format!("mount {target}");
    let attributes = MountAttrFlags::from_bits_retain(flags.set as _);
    let mut kind = Kind::Directory;
    // Binds and trees are mounts of something that exists: their attributes are changed, not chosen.
    let mut change = MountChange::default();
    let made = match what {
        Mounted::Proc => match new_mount("proc", &[], attributes) {
            // Where parts of /proc are masked (in a container), the kernel refuses an unmasked one.
            Err(Errno::PERM) => copy_of_mount(Path::new("/proc"), true)?,
            made => made.during(during)?,
        },
        Mounted::Sysfs => match new_mount("sysfs", &[], attributes) {
            // It shows the network namespace, which has to be one's own.
            Err(Errno::PERM) => {
                change.set = flags.set;
                copy_of_mount(Path::new("/sys"), true)?
            }
            made => made.during(during)?,
        },
        Mounted::Cgroup => match new_mount("cgroup2", &[], attributes) {
            Ok(made) => made,
            // Beside version 1, or where it is refused: what sysfs shows at that place is what there is.
            Err(_) => return Ok(()),
        },
        Mounted::Mqueue => new_mount("mqueue", &[], attributes).during(during)?,
        Mounted::Devpts(options) => devpts(options, attributes).during(during)?,
        Mounted::Tmpfs(options) => tmpfs(options, attributes).during(during)?,
        Mounted::Bind { source, recursive } => {
            change = MountChange { set: flags.set, clear: flags.clear, propagation: 0 };
            let made = copy_of_mount(source, *recursive)?;
            kind = kind_of(&made).during(during)?;
            made
        }
        Mounted::Tree { tree, path } => {
            change = MountChange { set: flags.set, clear: flags.clear, propagation: 0 };
            let made = part_of_tree(tree, path, marks).during_mount(target)?;
            kind = kind_of(&made).during(during)?;
            made
        }
        Mounted::Content(content) => {
            change.set = flags.set;
            kind = Kind::File;
            memory_file(content).during(during)?
        }
    };
    if change.set | change.clear != 0 {
        sys::change_mount(&made, change, true).during(during)?;
    }
    let point = match what {
        // An image whose /proc is a symlink would have it mounted where nobody looks.
        Mounted::Proc | Mounted::Sysfs => straight_target(root, target)?,
        _ => root.target(target, kind)?,
    };
    attach(&made, &point).during(during)?;
    match (target.as_str(), what) {
        ("/proc", _) => special.proc = Some(made),
        ("/sys", _) => special.sys = Some(made),
        ("/dev", Mounted::Tmpfs(_)) => special.dev = Some(made),
        ("/dev", _) => special.dev = None,
        _ => {}
    }
    Ok(())
}

/// A mount point whose path has no symlinks.
fn straight_target(root: &mut Root, path: &str) -> Setup<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match crate::resolve::openat2(root.fd(), path.trim_start_matches('/'), flags, resolve) {
        Err(Errno::NOENT) => root.target(path, Kind::Directory),
        found => found.during(|| format!("open the mount point {path} (it may not be a symlink)")),
    }
}

trait DuringMount<T> {
    fn during_mount(self, target: &str) -> Setup<T>;
}

impl<T> DuringMount<T> for Setup<T> {
    fn during_mount(self, target: &str) -> Setup<T> {
        self.map_err(|f| Failure { operation: format!("mount {target}: {}", f.operation), ..f })
    }
}

fn pairs(options: &[(String, String)]) -> Vec<(&str, &str)> {
    options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn tmpfs(options: &[(String, String)], attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    new_mount("tmpfs", &pairs(options), attributes)
}

/// A group that is not mapped (Debian's `gid=5` in a namespace of one id) is left out.
fn devpts(options: &[(String, String)], attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    match new_mount("devpts", &pairs(options), attributes) {
        Err(Errno::INVAL) => {
            let mapped: Vec<_> = pairs(options).into_iter().filter(|(key, _)| *key != "gid").collect();
            new_mount("devpts", &mapped, attributes)
        }
        made => made,
    }
}

/// A mount of `path` within a tree.
fn part_of_tree(tree: &crate::sandbox::bundle::Tree, path: &str, marks: Marks) -> Setup<OwnedFd> {
    let whole = tree::mount_tree(tree, marks)?;
    if path.bytes().all(|b| b == b'/') {
        return Ok(whole);
    }
    // Only what is attached can be copied; it goes on top of the new root for as long as that takes.
    let point =
        rustix::fs::openat(CWD, super::root::MOUNT_POINT, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .during(|| format!("open {}", super::root::MOUNT_POINT))?;
    attach(&whole, &point).during(|| "attach the tree".into())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let part = crate::resolve::openat2(&whole, path, flags, resolve)
        .during(|| format!("open {path}"))
        .and_then(|found| copy_of(&found, false).during(|| format!("bind {path}")));
    rustix::mount::unmount(super::root::MOUNT_POINT, rustix::mount::UnmountFlags::DETACH)
        .during(|| "detach the tree".into())?;
    part
}

/// A mount of one file in memory.
fn memory_file(content: &Content) -> std::io::Result<OwnedFd> {
    let filesystem = new_mount("tmpfs", &[("mode", "700")], MountAttrFlags::MOUNT_ATTR_NODEV)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&filesystem, "content", flags, Mode::from_raw_mode(0o600))?;
    let mut file = std::fs::File::from(file);
    file.write_all(&content.data)?;
    if (content.uid, content.gid) != (0, 0) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(content.uid), rustix::fs::Gid::from_raw(content.gid));
        match rustix::fs::fchown(&file, Some(uid), Some(gid)) {
            // Not mapped: recorded. Before Linux 6.6 a tmpfs keeps no records, and the file stays root's.
            Err(Errno::INVAL) => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                let record = OwnerRecord::new(content.uid, content.gid);
                let _ = record.write(Path::new(&path), FileType::RegularFile, true);
            }
            changed => changed?,
        }
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(content.mode))?;
    drop(file);
    let point =
        rustix::fs::openat(CWD, super::root::MOUNT_POINT, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    attach(&filesystem, &point)?;
    let found = rustix::fs::openat(&filesystem, "content", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mount = copy_of(&found, false);
    rustix::mount::unmount(super::root::MOUNT_POINT, rustix::mount::UnmountFlags::DETACH)?;
    mount
}

fn kind_of(mount: &OwnedFd) -> rustix::io::Result<Kind> {
    let stat = rustix::fs::fstat(mount)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        _ => Kind::File,
    })
}

/// Opens `path` for hiding or protecting it: below the sandbox's own proc and sysfs without following anything.
fn open_special(root: &Root, special: &Special, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for (name, mount) in [("/proc/", &special.proc), ("/sys/", &special.sys)] {
        if let (Some(rest), Some(mount)) = (path.strip_prefix(name), mount) {
            return crate::resolve::openat2(mount, rest, flags, resolve);
        }
    }
    root.open(path, OFlags::PATH)
}

/// Hides `paths`: files behind `null`, directories behind an empty one. What is not there needs no hiding.
pub(super) fn mask(root: &Root, special: &Special, paths: &[String], null: &OwnedFd) -> Setup<()> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let what = || format!("mask {path}");
        let target = match open_special(root, special, path) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(error) => return Err(error).during(what),
        };
        let cover = match (kind_of(&target).during(what)?, &empty) {
            (Kind::File, _) => {
                copy_of(null, false).and_then(|cover| read_only(&cover).map(|()| cover)).during(what)?
            }
            (Kind::Directory, Some(first)) => copy_of(first, false).during(what)?,
            (Kind::Directory, None) => {
                let flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
                new_mount("tmpfs", &[("size", "0"), ("mode", "755")], flags).during(what)?
            }
        };
        attach(&cover, &target).during(what)?;
        if empty.is_none() && kind_of(&cover).during(what)? == Kind::Directory {
            empty = Some(cover);
        }
    }
    Ok(())
}

/// Makes `paths` read-only, each by a mount of itself.
pub(super) fn protect(root: &Root, special: &Special, paths: &[String]) -> Setup<()> {
    for path in paths {
        let what = || format!("make {path} read-only");
        let target = match open_special(root, special, path) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(error) => return Err(error).during(what),
        };
        let cover = copy_of(target.as_fd(), true).during(what)?;
        read_only(&cover).during(what)?;
        attach(&cover, &target).during(what)?;
    }
    Ok(())
}

/// Sets kernel parameters of the new namespaces, through the sandbox's own proc.
pub(super) fn set_sysctl(special: &Special, parameters: &[(String, String)]) -> Setup<()> {
    for (name, value) in parameters {
        let what = || format!("set the kernel parameter {name}");
        let proc = special.proc.as_ref().ok_or(Errno::NOENT).during(what)?;
        let path = format!("sys/{}", name.replace('.', "/"));
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = crate::resolve::openat2(proc, &*path, flags, resolve).during(what)?;
        rustix::io::write(&file, value.as_bytes()).during(what)?;
    }
    Ok(())
}
