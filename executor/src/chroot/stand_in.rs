//! `/dev`, `/proc` and `/sys` where they cannot be mounted.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// An empty directory with these permissions.
pub(super) fn empty(mode: u32) -> impl FnOnce(&Path) -> io::Result<()> {
    move |path| fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Name, major and minor number (kernel documentation, admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// As many random bytes as a stand-in for `/dev/urandom` has: programs that need more use getrandom(2).
const RANDOM: usize = 4096;

/// Device nodes, or what comes closest.
pub(super) fn dev(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    for (name, major, minor) in DEVICES {
        let node = path.join(name);
        let mode = Mode::from_raw_mode(0o666);
        let made = mknodat(CWD, &node, FileType::CharacterDevice, mode, makedev(major, minor));
        // A file system mounted without devices lets them be made, not opened.
        let works = made.is_ok() && (name == "tty" || fs::File::open(&node).is_ok());
        if !works {
            let _ = fs::remove_file(&node);
            match name {
                "null" => fs::write(&node, b"")?,
                "random" | "urandom" => fs::write(&node, random()?)?,
                _ => continue,
            }
        }
        fs::set_permissions(&node, fs::Permissions::from_mode(0o666))?;
    }
    for (name, target) in LINKS {
        symlink(target, path.join(name))?;
    }
    for (name, mode) in [("shm", 0o1777), ("mqueue", 0o1777), ("pts", 0o755)] {
        let directory = path.join(name);
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn random() -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; RANDOM];
    let mut filled = 0;
    while filled < RANDOM {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// What is the same for every process, as it is now in the container.
const PROC: [&str; 26] = [
    "cmdline",
    "cpuinfo",
    "devices",
    "diskstats",
    "filesystems",
    "loadavg",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "version",
    "sys/fs/file-max",
    "sys/kernel/cap_last_cap",
    "sys/kernel/hostname",
    "sys/kernel/ngroups_max",
    "sys/kernel/osrelease",
    "sys/kernel/ostype",
    "sys/kernel/overflowgid",
    "sys/kernel/overflowuid",
    "sys/kernel/pid_max",
    "sys/kernel/random/boot_id",
    "sys/kernel/random/uuid",
    "sys/kernel/threads-max",
    "sys/kernel/version",
    "sys/net/core/somaxconn",
    "sys/vm/overcommit_memory",
];

/// One root, and nothing mounted on it.
const MOUNTS: &str = "kiln / none rw 0 0\n";
const MOUNTINFO: &str = "1 1 0:1 / / rw - none kiln rw\n";

/// Plain files. What differs from process to process (`self/fd`, `self/exe`, `self/maps`) is not there: a program that wants it
/// is told so, rather than told something wrong.
pub(super) fn proc(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o555))?;
    copies(path, Path::new("/proc"), &PROC)?;
    let own = path.join("self");
    fs::create_dir(&own)?;
    fs::write(own.join("mounts"), MOUNTS)?;
    fs::write(own.join("mountinfo"), MOUNTINFO)?;
    for name in ["uid_map", "gid_map"] {
        fs::write(own.join(name), "         0          0 4294967295\n")?;
    }
    symlink("self/mounts", path.join("mounts"))?;
    symlink("self", path.join("thread-self"))
}

const SYS: [&str; 4] = [
    "devices/system/cpu/online",
    "devices/system/cpu/possible",
    "devices/system/cpu/present",
    "kernel/mm/transparent_hugepage/enabled",
];

/// What tells how many processors there are.
pub(super) fn sys(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o555))?;
    fs::create_dir_all(path.join("fs/cgroup"))?;
    copies(path, Path::new("/sys"), &SYS)
}

fn copies(into: &Path, from: &Path, names: &[&str]) -> io::Result<()> {
    for name in names {
        // The engine hides some of them, and old kernels lack some.
        let Ok(bytes) = fs::read(from.join(name)) else { continue };
        let file = into.join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, bytes)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444))?;
    }
    Ok(())
}
