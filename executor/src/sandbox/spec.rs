//! The default profile as an OCI runtime `Spec`: Docker's mounts, capabilities, masked and read-only paths.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, Mount, MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::SandboxError;
use super::capability;
use crate::process::User;

/// What the default specification is made for.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The argument vector.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: String,
    /// Who it runs as.
    pub user: User,
    /// The host name.
    pub hostname: String,
    /// Whether it has a network of its own, with loopback alone; otherwise it has the host's.
    pub own_network: bool,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Whether it has all capabilities and sees all of `/proc` and `/sys` (`--security=insecure`, `--privileged`).
    pub insecure: bool,
}

const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
    "/sys/kernel/security",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The specification of a process under the default profile. Callers add mounts and limits to it.
///
/// # Errors
/// When the parts make no valid specification (an environment or argument that is not allowed).
pub fn default_spec(wanted: &Surroundings) -> Result<Spec, SandboxError> {
    build(wanted).map_err(|error| SandboxError::Spec(error.to_string()))
}

fn build(wanted: &Surroundings) -> Result<Spec, oci_spec::OciSpecError> {
    let bits = if wanted.insecure { capability::ALL } else { capability::DEFAULT };
    let set = || capabilities(bits);
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set())
        .effective(set())
        .permitted(set())
        .inheritable(oci_spec::runtime::Capabilities::new())
        .ambient(oci_spec::runtime::Capabilities::new())
        .build()?;
    let user = UserBuilder::default()
        .uid(wanted.user.uid)
        .gid(wanted.user.gid)
        .umask(0o022_u32)
        .additional_gids(wanted.user.groups.clone())
        .build()?;
    let process = ProcessBuilder::default()
        .args(wanted.args.clone())
        .env(wanted.env.clone())
        .cwd(&wanted.cwd)
        .user(user)
        .capabilities(capabilities)
        .no_new_privileges(false)
        .build()?;
    let mut linux = LinuxBuilder::default().namespaces(namespaces(wanted)?).devices(Vec::new());
    if wanted.insecure {
        linux = linux.masked_paths(Vec::new()).readonly_paths(Vec::new());
    } else {
        let mut masked: Vec<String> = MASKED.map(str::to_owned).into();
        masked.extend(thermal_throttles());
        linux = linux.masked_paths(masked).readonly_paths(READ_ONLY.map(str::to_owned).to_vec());
    }
    SpecBuilder::default()
        .version("1.2.0")
        .root(RootBuilder::default().path("rootfs").readonly(false).build()?)
        .hostname(wanted.hostname.clone())
        .mounts(mounts(wanted)?)
        .process(process)
        .linux(linux.build()?)
        .build()
}

fn capabilities(bits: u64) -> oci_spec::runtime::Capabilities {
    use std::str::FromStr as _;
    let names = capability::names(bits).into_iter();
    names.filter_map(|name| Capability::from_str(name).ok()).collect()
}

fn namespaces(wanted: &Surroundings) -> Result<Vec<LinuxNamespace>, oci_spec::OciSpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let mut types = vec![Mount, Pid, Ipc, Uts, Cgroup];
    if wanted.own_network {
        types.push(Network);
    }
    types.into_iter().map(|typ| LinuxNamespaceBuilder::default().typ(typ).build()).collect()
}

fn mounts(wanted: &Surroundings) -> Result<Vec<Mount>, oci_spec::OciSpecError> {
    let sys_access = if wanted.insecure { "rw" } else { "ro" };
    let shm = format!("size={}", wanted.shm_size);
    let list: [(&str, &str, &[&str]); 7] = [
        ("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys_access]),
        ("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", sys_access]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    ];
    let mount = |(target, typ, options): (&str, &str, &[&str])| {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        MountBuilder::default().destination(target).typ(typ).source(typ).options(options).build()
    };
    list.into_iter().map(mount).collect()
}

/// Each processor's count of thermal events, which tells of the work of others.
fn thermal_throttles() -> Vec<String> {
    let cpus = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let paths = cpus.map(|cpu| cpu.path().join("thermal_throttle")).filter(|path| path.is_dir());
    let mut paths: Vec<String> = paths.filter_map(|path| Some(path.to_str()?.to_owned())).collect();
    paths.sort_unstable();
    paths
}

/// Fills `directory` with the mount points that every sandbox needs. As the lowest layer of a root it spares each step the
/// making and removing of them in its own layer. To be made once per store, on the store's file system.
///
/// # Errors
/// When the directory cannot be written.
pub fn mount_points(directory: &Path) -> io::Result<()> {
    for name in ["", "dev", "etc", "proc", "sys"] {
        let path = directory.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    for name in ["etc/hosts", "etc/resolv.conf"] {
        let path = directory.join(name);
        fs::File::create(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
