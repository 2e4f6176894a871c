//! `/dev`: the host's harmless devices, bound read-only so that the step cannot change the nodes themselves (a device can be
//! written through a read-only mount), and the usual links.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::failure::{During, Setup};
use super::root::{Kind, Root};
use super::tree::{attach, copy_of, new_mount, read_only};
use crate::sandbox::plan::Device;

/// Name, major and minor number (kernel documentation, admin-guide/devices.txt).
const USUAL: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// The host's `/dev/null`, checked to be that.
pub(super) fn host_null() -> Setup<OwnedFd> {
    host_device("null", true, 1, 3)
}

/// Opens a device node of the host's /dev and checks its type and number: a node that poses as another is refused.
fn host_device(name: &str, character: bool, major: u32, minor: u32) -> Setup<OwnedFd> {
    let what = || format!("open /dev/{name} of the host");
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(CWD, format!("/dev/{name}"), flags, Mode::empty()).during(what)?;
    let stat = rustix::fs::fstat(&node).during(what)?;
    let kind = if character { FileType::CharacterDevice } else { FileType::BlockDevice };
    let found = (
        FileType::from_raw_mode(stat.st_mode),
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    if found != (kind, major, minor) {
        return Err(rustix::io::Errno::NODEV)
            .during(|| format!("find the device {major}:{minor} in /dev/{name}"));
    }
    Ok(node)
}

/// Fills the tmpfs `dev` with the usual devices and links.
pub(super) fn furnish(dev: &OwnedFd) -> Setup<()> {
    for (name, major, minor) in USUAL {
        let node = match host_device(name, true, major, minor) {
            Ok(node) => node,
            // No controlling terminals on this machine, perhaps; what is vital is noticed by masking.
            Err(_) if name == "tty" || name == "full" => continue,
            Err(failure) => return Err(failure),
        };
        bind_node(dev, name, &node)?;
    }
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, dev, name) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error).during(|| format!("make /dev/{name}")),
        }
    }
    Ok(())
}

fn bind_node(dev: &OwnedFd, name: &str, node: &OwnedFd) -> Setup<()> {
    let what = || format!("bind /dev/{name}");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(rustix::fs::openat(dev, name, flags, Mode::from_raw_mode(0o666)).during(what)?);
    let point = rustix::fs::openat(dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).during(what)?;
    let mount = copy_of(node, false).during(what)?;
    read_only(&mount).during(what)?;
    attach(&mount, &point).during(what)
}

/// Adds the devices that the specification asks for.
pub(super) fn add(root: &mut Root, devices: &[Device]) -> Setup<()> {
    for device in devices {
        let what = || format!("add the device {}", device.path);
        let name = device.path.strip_prefix("/dev/").unwrap_or(&device.path);
        if USUAL.iter().any(|(usual, ..)| *usual == name) {
            continue;
        }
        let mount = match host_device(name, device.character, device.major, device.minor) {
            Ok(node) => copy_of(&node, false).during(what)?,
            Err(_) => match elsewhere(device) {
                Some(node) => copy_of(&node, false).during(what)?,
                None => own_node(device)?,
            },
        };
        let point = root.target(&device.path, Kind::File)?;
        attach(&mount, &point).during(what)?;
    }
    Ok(())
}

/// The host's node for a device that is to have another name in the sandbox: in a user namespace none can be made.
fn elsewhere(device: &Device) -> Option<OwnedFd> {
    let kind = if device.character { "char" } else { "block" };
    let about = format!("/sys/dev/{kind}/{}:{}/uevent", device.major, device.minor);
    let about = std::fs::read_to_string(about).ok()?;
    let name = about.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    host_device(name, device.character, device.major, device.minor).ok()
}

/// A node made for this sandbox, for a device that the host's /dev does not show.
fn own_node(device: &Device) -> Setup<OwnedFd> {
    let what = || format!("make the device {}", device.path);
    let filesystem = new_mount("tmpfs", &[("mode", "700")], MountAttrFlags::empty()).during(what)?;
    let kind = if device.character { FileType::CharacterDevice } else { FileType::BlockDevice };
    let number = rustix::fs::makedev(device.major, device.minor);
    rustix::fs::mknodat(&filesystem, "node", kind, Mode::from_raw_mode(device.mode), number).during(what)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(device.uid), rustix::fs::Gid::from_raw(device.gid));
    rustix::fs::chownat(&filesystem, "node", Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .during(what)?;
    rustix::fs::chmodat(&filesystem, "node", Mode::from_raw_mode(device.mode), rustix::fs::AtFlags::empty())
        .during(what)?;
    let point =
        rustix::fs::openat(CWD, super::root::MOUNT_POINT, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .during(what)?;
    attach(filesystem.as_fd(), &point).during(what)?;
    let node = rustix::fs::openat(&filesystem, "node", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .during(what)?;
    let mount = copy_of(&node, false).during(what);
    rustix::mount::unmount(super::root::MOUNT_POINT, rustix::mount::UnmountFlags::DETACH).during(what)?;
    mount
}
