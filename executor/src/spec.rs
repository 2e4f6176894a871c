//! The OCI runtime `Spec` of a process: the same defaults for a RUN step and for `kiln run`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kiln_core::{NetworkMode, Ulimit};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxMemoryBuilder,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResourcesBuilder, Mount, MountBuilder,
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

use crate::process::User;
use crate::sandbox::{Content, Graft, GraftSource, Profile};

/// The host name of a RUN step, BuildKit's.
pub const DEFAULT_HOSTNAME: &str = "buildkitsandbox";
/// What is searched where an image sets no PATH.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHM: u64 = 64 << 20;

/// A process to be started in a root file system, in the terms of Docker's options.
#[derive(Debug, Clone)]
pub struct ProcessRequest {
    /// The argument vector.
    pub args: Vec<String>,
    /// `NAME=value`; PATH and HOME are added if they are missing.
    pub env: Vec<String>,
    /// Absolute.
    pub cwd: String,
    /// Who it runs as.
    pub user: User,
    /// The host name; empty for [`DEFAULT_HOSTNAME`].
    pub hostname: String,
    /// Further lines of `/etc/hosts`: name, address.
    pub add_hosts: Vec<(String, String)>,
    /// The network; [`NetworkMode::Default`] is the host's.
    pub network: NetworkMode,
    /// The content of `/etc/resolv.conf`; nothing is mounted there without.
    pub resolv_conf: Option<Vec<u8>>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes, 0 for 64 MiB.
    pub shm_size: u64,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether the root refuses writes.
    pub read_only_root: bool,
    /// Capabilities by name (`CAP_…`); Docker's default without. All of them if `insecure`.
    pub capabilities: Option<BTreeSet<String>>,
    /// No filter, no masks, all capabilities.
    pub insecure: bool,
    /// Whether setuid programs gain nothing.
    pub no_new_privileges: bool,
    /// The parent of its control group; empty for the default.
    pub cgroup_parent: String,
    /// Memory limit in bytes.
    pub memory: Option<i64>,
    /// Processors, in billionths.
    pub nano_cpus: Option<i64>,
    /// Most processes.
    pub pids: Option<i64>,
}

impl ProcessRequest {
    /// A request with nothing but the defaults.
    pub fn new(args: Vec<String>, user: User) -> Self {
        Self {
            args,
            env: Vec::new(),
            cwd: "/".to_owned(),
            user,
            hostname: String::new(),
            add_hosts: Vec::new(),
            network: NetworkMode::Default,
            resolv_conf: None,
            ulimits: Vec::new(),
            shm_size: 0,
            terminal: false,
            read_only_root: false,
            capabilities: None,
            insecure: false,
            no_new_privileges: false,
            cgroup_parent: String::new(),
            memory: None,
            nano_cpus: None,
            pids: None,
        }
    }
}

/// A request that cannot be put into a `Spec`.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// No resource limit has this name.
    #[error("unknown ulimit `{0}`")]
    Ulimit(String),
    /// No capability has this name.
    #[error("unknown capability `{0}`")]
    Capability(String),
    /// A network of its own that reaches outward.
    #[error("a private network with a way out is not available here: use host or none")]
    PrivateNetwork,
    /// A builder of the `Spec` refused a value.
    #[error("build the process specification")]
    Build(#[from] OciSpecError),
}

/// Docker's default capabilities: 0xa80425fb.
const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

const ALL_CAPABILITIES: [Capability; 27] = [
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::CheckpointRestore,
    Capability::DacReadSearch,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::NetAdmin,
    Capability::NetBroadcast,
    Capability::Perfmon,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysModule,
    Capability::SysNice,
    Capability::SysPacct,
    Capability::SysPtrace,
    Capability::SysRawio,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Syslog,
    Capability::WakeAlarm,
];

const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
const MASKED_SYS: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The names of Docker's default capabilities.
pub fn default_capabilities() -> BTreeSet<String> {
    CAPABILITIES.iter().map(|capability| format!("CAP_{capability}")).collect()
}

/// The names of all capabilities.
pub fn all_capabilities() -> BTreeSet<String> {
    CAPABILITIES.iter().chain(&ALL_CAPABILITIES).map(|capability| format!("CAP_{capability}")).collect()
}

/// The `Spec` for a request, the mounts that OCI has no words for (`/etc/hosts`, `/etc/resolv.conf`), and the filter.
///
/// # Errors
/// If the request names something that does not exist.
pub fn specification(request: &ProcessRequest) -> Result<(Spec, Vec<Graft>, Profile), SpecError> {
    let hostname = if request.hostname.is_empty() { DEFAULT_HOSTNAME } else { &request.hostname };
    let spec = SpecBuilder::default()
        .version("1.2.0")
        .hostname(hostname)
        .root(RootBuilder::default().path("rootfs").readonly(request.read_only_root).build()?)
        .mounts(mounts(request)?)
        .process(process(request)?)
        .linux(linux(request)?)
        .build()?;
    let file = |target: &str, data: Vec<u8>| Graft {
        target: target.to_owned(),
        source: GraftSource::Content(Content { data, uid: 0, gid: 0, mode: 0o644 }),
        read_only: true,
    };
    let mut grafts = vec![file("/etc/hosts", hosts(hostname, &request.add_hosts))];
    grafts.extend(request.resolv_conf.clone().map(|text| file("/etc/resolv.conf", text)));
    let profile = if request.insecure { Profile::Unconfined } else { Profile::Default };
    Ok((spec, grafts, profile))
}

fn process(request: &ProcessRequest) -> Result<oci_spec::runtime::Process, SpecError> {
    let user = UserBuilder::default()
        .uid(request.user.uid)
        .gid(request.user.gid)
        .umask(0o022_u32)
        .additional_gids(request.user.groups.clone())
        .build()?;
    let mut env = request.env.clone();
    let mut default = |name: &str, value: &str| {
        if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
            env.push(format!("{name}={value}"));
        }
    };
    default("PATH", DEFAULT_PATH);
    default("HOME", &request.user.home);
    let granted = capabilities(request)?;
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(granted.clone())
        .effective(granted.clone())
        .permitted(granted)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build()?;
    let rlimits = request.ulimits.iter().map(rlimit).collect::<Result<Vec<_>, _>>()?;
    Ok(ProcessBuilder::default()
        .args(request.args.clone())
        .env(env)
        .cwd(PathBuf::from(&request.cwd))
        .user(user)
        .terminal(request.terminal)
        .no_new_privileges(request.no_new_privileges)
        .capabilities(sets)
        .rlimits(rlimits)
        .build()?)
}

fn capabilities(request: &ProcessRequest) -> Result<std::collections::HashSet<Capability>, SpecError> {
    if request.insecure {
        return Ok(CAPABILITIES.into_iter().chain(ALL_CAPABILITIES).collect());
    }
    let Some(wanted) = &request.capabilities else { return Ok(CAPABILITIES.into_iter().collect()) };
    let by_name = |name: &String| {
        let mut all = CAPABILITIES.into_iter().chain(ALL_CAPABILITIES);
        let full = if name.starts_with("CAP_") { name.clone() } else { format!("CAP_{name}") };
        let same = |capability: &Capability| {
            let text = capability.to_string();
            text == full || format!("CAP_{text}") == full
        };
        all.find(same).ok_or_else(|| SpecError::Capability(name.clone()))
    };
    wanted.iter().map(by_name).collect()
}

fn rlimit(limit: &Ulimit) -> Result<PosixRlimit, SpecError> {
    let kind = match limit.name.as_str() {
        "cpu" => PosixRlimitType::RlimitCpu,
        "fsize" => PosixRlimitType::RlimitFsize,
        "data" => PosixRlimitType::RlimitData,
        "stack" => PosixRlimitType::RlimitStack,
        "core" => PosixRlimitType::RlimitCore,
        "rss" => PosixRlimitType::RlimitRss,
        "nproc" => PosixRlimitType::RlimitNproc,
        "nofile" => PosixRlimitType::RlimitNofile,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "as" => PosixRlimitType::RlimitAs,
        "locks" => PosixRlimitType::RlimitLocks,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        _ => return Err(SpecError::Ulimit(limit.name.clone())),
    };
    // -1 is no limit: all bits set.
    let bits = |value: i64| value.cast_unsigned();
    Ok(PosixRlimitBuilder::default().typ(kind).soft(bits(limit.soft)).hard(bits(limit.hard)).build()?)
}

fn mounts(request: &ProcessRequest) -> Result<Vec<Mount>, SpecError> {
    let shm = if request.shm_size == 0 { DEFAULT_SHM } else { request.shm_size };
    let writable = request.insecure;
    let mount = |target: &str, kind: &str, options: &[&str]| {
        MountBuilder::default()
            .destination(target)
            .typ(kind)
            .source(kind)
            .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
            .build()
    };
    let sys = if writable { "rw" } else { "ro" };
    Ok(vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"])?,
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &format!("size={shm}")])?,
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys])?,
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", sys])?,
    ])
}

fn linux(request: &ProcessRequest) -> Result<oci_spec::runtime::Linux, SpecError> {
    let mut kinds = vec![
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    match request.network {
        NetworkMode::Default | NetworkMode::Host => {}
        NetworkMode::None => kinds.push(LinuxNamespaceType::Network),
        NetworkMode::Private => return Err(SpecError::PrivateNetwork),
    }
    let namespaces = kinds.into_iter().map(|kind| LinuxNamespaceBuilder::default().typ(kind).build());
    let text = |paths: &[&str]| paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let mut linux = LinuxBuilder::default().namespaces(namespaces.collect::<Result<Vec<_>, _>>()?);
    if request.insecure {
        linux = linux.masked_paths(Vec::new()).readonly_paths(Vec::new());
    } else {
        linux =
            linux.masked_paths(text(&[&MASKED[..], &MASKED_SYS].concat())).readonly_paths(text(&READ_ONLY));
    }
    if !request.cgroup_parent.is_empty() {
        linux = linux.cgroups_path(PathBuf::from(&request.cgroup_parent));
    }
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(limit) = request.memory {
        resources = resources.memory(LinuxMemoryBuilder::default().limit(limit).build()?);
    }
    if let Some(nano) = request.nano_cpus {
        let period = 100_000;
        resources =
            resources.cpu(LinuxCpuBuilder::default().quota(nano / 10_000).period(period as u64).build()?);
    }
    if let Some(limit) = request.pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
    }
    let mut linux = linux.build()?;
    linux.set_seccomp(None);
    linux.set_resources(Some(resources.build()?));
    Ok(linux)
}

/// BuildKit's `/etc/hosts`.
fn hosts(hostname: &str, more: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in more {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> User {
        User { uid: 0, gid: 0, groups: Vec::new(), home: "/root".into() }
    }

    #[test]
    fn the_defaults_are_dockers() {
        let request = ProcessRequest::new(vec!["true".into()], root());
        let (spec, grafts, profile) = specification(&request).unwrap();
        assert_eq!(spec.hostname().as_deref(), Some("buildkitsandbox"));
        assert_eq!(profile, Profile::Default);
        let env = spec.process().as_ref().unwrap().env().clone().unwrap();
        assert_eq!(env, [format!("PATH={DEFAULT_PATH}"), "HOME=/root".to_owned()]);
        let GraftSource::Content(hosts) = &grafts[0].source else { panic!("{grafts:?}") };
        assert!(hosts.data.starts_with(b"127.0.0.1\tlocalhost buildkitsandbox\n"));
    }

    #[test]
    fn names_that_do_not_exist_are_errors() {
        let mut request = ProcessRequest::new(vec!["true".into()], root());
        request.ulimits = vec![Ulimit { name: "nofiles".into(), soft: 1, hard: -1 }];
        assert!(matches!(specification(&request), Err(SpecError::Ulimit(_))));
        request.ulimits[0].name = "nofile".into();
        assert!(specification(&request).is_ok());
        request.capabilities = Some(["CAP_CHOWN".to_owned(), "CAP_NOSUCH".to_owned()].into());
        assert!(matches!(specification(&request), Err(SpecError::Capability(_))));
    }
}
