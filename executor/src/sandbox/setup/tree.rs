//! Mounting the trees of a plan: overlays and directories, each as a detached mount.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::failure::{During, Setup};
use crate::sandbox::bundle::{Tree, Writable};
use crate::sys::{self, MountChange};

/// Where overlayfs keeps its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// `trusted.overlay.*`: root.
    Trusted,
    /// `user.overlay.*`: in a user namespace.
    User,
}

/// A string given to fsconfig(2) is cut by the kernel above this.
const LONGEST_OPTION: usize = 255;

/// Mounts `tree`, attached nowhere.
pub(crate) fn mount_tree(tree: &Tree, marks: Marks) -> Setup<OwnedFd> {
    match tree {
        Tree::Directory(path) => copy_of_mount(path, true),
        Tree::Overlay { lowers, upper: None } if lowers.len() == 1 => {
            // overlayfs wants two lower directories where there is no upper one.
            let mount = copy_of_mount(&lowers[0], false)?;
            read_only(&mount).during(|| format!("make {} read-only", lowers[0].display()))?;
            Ok(mount)
        }
        Tree::Overlay { lowers, upper: Some(Writable { upper, .. }) } if lowers.is_empty() => {
            copy_of_mount(upper, false)
        }
        Tree::Overlay { lowers, upper } => overlay(lowers, upper.as_ref(), marks),
    }
}

/// A bind mount of `path`, attached nowhere, that nothing propagates into.
pub(crate) fn copy_of_mount(path: &Path, recursive: bool) -> Setup<OwnedFd> {
    let mount = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .during(|| format!("open {}", path.display()))?;
    copy_of(&mount, recursive).during(|| format!("bind {}", path.display()))
}

/// A bind mount of what `source` refers to, attached nowhere, that nothing propagates into.
pub(crate) fn copy_of(source: impl AsFd, recursive: bool) -> std::io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount = open_tree(source, "", flags)?;
    sys::change_mount(
        &mount,
        MountChange { propagation: libc::MS_PRIVATE, ..MountChange::default() },
        recursive,
    )?;
    Ok(mount)
}

/// Refuses writes through `mount`.
pub(crate) fn read_only(mount: impl AsFd) -> std::io::Result<()> {
    sys::change_mount(mount, MountChange { set: libc::MOUNT_ATTR_RDONLY, ..MountChange::default() }, true)
}

/// Attaches the detached `mount` on `target`.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// A new file system of type `kind` with text options, attached nowhere.
pub(crate) fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    flags: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

fn overlay(lowers: &[PathBuf], upper: Option<&Writable>, marks: Marks) -> Setup<OwnedFd> {
    let what = || match upper {
        Some(writable) => {
            format!("mount an overlay of {} layers on {}", lowers.len(), writable.upper.display())
        }
        None => format!("mount an overlay of {} layers", lowers.len()),
    };
    match overlay_by_parts(lowers, upper, marks) {
        // Before Linux 6.5 overlayfs has no fsconfig, before 6.8 no `lowerdir+`.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            overlay_by_text(lowers, upper, marks).during(what)
        }
        result => result.during(what),
    }
}

/// Keeps an upper directory usable as a lower one later: no marks beyond whiteouts and opaque directories
/// (kernel documentation, filesystems/overlayfs.rst).
fn fixed_options(marks: Marks) -> &'static [(&'static str, &'static str)] {
    match marks {
        Marks::Trusted => &[
            ("redirect_dir", "nofollow"),
            ("index", "off"),
            ("metacopy", "off"),
            ("xino", "off"),
            ("uuid", "off"),
        ],
        // The others are implied, and refused beside `userxattr`.
        Marks::User => &[("uuid", "off")],
    }
}

fn overlay_by_parts(
    lowers: &[PathBuf],
    upper: Option<&Writable>,
    marks: Marks,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let mut opened = Vec::new();
    for lower in lowers.iter().rev() {
        fsconfig_set_string(context.as_fd(), "lowerdir+", &*short(lower, &mut opened)?)?;
    }
    if let Some(Writable { upper, work }) = upper {
        fsconfig_set_string(context.as_fd(), "upperdir", &*short(upper, &mut opened)?)?;
        fsconfig_set_string(context.as_fd(), "workdir", &*short(work, &mut opened)?)?;
        fsconfig_set_flag(context.as_fd(), "volatile")?;
    }
    for (key, value) in fixed_options(marks) {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    if marks == Marks::User {
        fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// The path, or a short name for it by a descriptor that is kept in `opened`.
fn short(path: &Path, opened: &mut Vec<OwnedFd>) -> rustix::io::Result<PathBuf> {
    if path.as_os_str().len() <= LONGEST_OPTION {
        return Ok(path.to_owned());
    }
    let fd =
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    opened.push(fd);
    Ok(name.into())
}

/// The way before the mount API: one text of at most a page. Numbers relative to `/proc/self/fd` keep it short.
fn overlay_by_text(
    lowers: &[PathBuf],
    upper: Option<&Writable>,
    marks: Marks,
) -> rustix::io::Result<OwnedFd> {
    let before = rustix::fs::openat(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mut opened = Vec::new();
    let mut number = |path: &Path| {
        let fd =
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let number = fd.as_raw_fd().to_string();
        opened.push(fd);
        rustix::io::Result::Ok(number)
    };
    let names = lowers.iter().rev().map(|lower| number(lower)).collect::<Result<Vec<_>, _>>()?;
    let mut text = format!("lowerdir={}", names.join(":"));
    if let Some(Writable { upper, work }) = upper {
        text.push_str(&format!(",upperdir={},workdir={},volatile", number(upper)?, number(work)?));
    }
    for (key, value) in fixed_options(marks) {
        text.push_str(&format!(",{key}={value}"));
    }
    if marks == Marks::User {
        text.push_str(",userxattr");
    }
    rustix::process::chdir("/proc/self/fd")?;
    let text = std::ffi::CString::new(text).map_err(|_| Errno::INVAL)?;
    let point = super::root::MOUNT_POINT;
    let mounted = rustix::mount::mount(
        "overlay",
        point,
        "overlay",
        rustix::mount::MountFlags::empty(),
        text.as_c_str(),
    );
    rustix::process::fchdir(&before)?;
    mounted?;
    // From here on as if it had been detached all along.
    let attached = open_tree(CWD, point, OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(&attached, "", flags)?;
    rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn fixed_options_never_turn_redirects_on() {
        for marks in [Marks::Trusted, Marks::User] {
            for (key, value) in fixed_options(marks) {
                assert!(["off", "nofollow"].contains(value), "{key}={value}");
            }
        }
    }

    /// The way of old kernels shows the same as the new one, with paths of any length.
    #[test]
    fn both_ways_mount_the_same_overlay() {
        // Of this thread alone: the test harness has others.
        if sys::unshare(rustix::thread::UnshareFlags::NEWNS).is_err() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let flags =
            rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).unwrap();
        let store = tempfile::tempdir().unwrap();
        let long = store.path().join("long".repeat(50)).join("name".repeat(50));
        let layers: Vec<PathBuf> = (0..40).map(|n| long.join(n.to_string())).collect();
        for (n, layer) in layers.iter().enumerate() {
            fs::create_dir_all(layer).unwrap();
            fs::write(layer.join("top"), n.to_string()).unwrap();
            fs::write(layer.join(format!("file{n}")), "").unwrap();
        }
        for (name, mount) in [
            (
                "new",
                overlay_by_parts as fn(&[PathBuf], Option<&Writable>, Marks) -> rustix::io::Result<OwnedFd>,
            ),
            ("old", overlay_by_text),
        ] {
            let writable =
                Writable { upper: long.join(name).join("upper"), work: long.join(name).join("work") };
            fs::create_dir_all(&writable.upper).unwrap();
            fs::create_dir_all(&writable.work).unwrap();
            let mounted = mount(&layers, Some(&writable), Marks::Trusted).unwrap();
            let root = format!("/proc/self/fd/{}", mounted.as_raw_fd());
            assert_eq!(fs::read_to_string(format!("{root}/top")).unwrap(), "39", "{name}");
            assert_eq!(fs::read_dir(format!("{root}/")).unwrap().count(), 41, "{name}");
            fs::write(format!("{root}/top"), "written").unwrap();
            fs::remove_file(format!("{root}/file3")).unwrap();
            assert_eq!(fs::read_to_string(writable.upper.join("top")).unwrap(), "written", "{name}");
            assert_eq!(fs::read_dir(&writable.upper).unwrap().count(), 2, "{name}");
        }
    }
}
