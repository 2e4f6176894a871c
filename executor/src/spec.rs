//! The OCI runtime `Spec` of a process: the same defaults for a RUN step and for `kiln run`.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr as _;

use kiln_core::{NetworkMode, Ulimit};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilitiesBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType,
    LinuxNamespaceType, LinuxPidsBuilder, LinuxResourcesBuilder, Mount, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Spec,
};
use serde::{Deserialize, Serialize};

use crate::process::User;
use crate::sandbox::capability;
use crate::sandbox::{
    Content, Graft, GraftSource, Profile, ResourceLimits, SandboxError, Surroundings, default_spec,
};

/// The host name of a RUN step, BuildKit's.
pub const DEFAULT_HOSTNAME: &str = "buildkitsandbox";
/// What is searched where an image sets no PATH.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The annotation of a `Spec` whose process has a small first process above it; OCI has no word for that.
pub(crate) const INIT: &str = "kiln.init";
const DEFAULT_SHM: u64 = 64 << 20;

/// Stands for the host's address in a line of `/etc/hosts`, whatever it is from there (Docker's `--add-host NAME:host-gateway`).
pub const HOST_GATEWAY: &str = "host-gateway";

/// A network namespace that is there already.
#[derive(Debug, Clone)]
pub struct JoinedNetwork {
    /// The namespace.
    pub path: PathBuf,
    /// The container's addresses in it.
    pub addresses: Vec<IpAddr>,
    /// The host's address, as seen from there.
    pub host: Option<IpAddr>,
}

/// A process to be started in a root file system, in the terms of Docker's options. A container's is written down, so
/// that its supervisor can start it again: new fields get `#[serde(default)]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Further lines of `/etc/hosts`: name, address or [`HOST_GATEWAY`].
    pub add_hosts: Vec<(String, String)>,
    /// The network; [`NetworkMode::Default`] is the host's.
    pub network: NetworkMode,
    /// The network namespace to join, whatever `network` says. It is there for one start only.
    #[serde(skip)]
    pub joined: Option<JoinedNetwork>,
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
    /// Limits that few ask for.
    #[serde(default)]
    pub limits: ResourceLimits,
    /// The system call filter, where it is not `insecure`.
    #[serde(default)]
    pub profile: Profile,
    /// How soon the kernel ends it when memory is short, -1000 to 1000.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// Kernel parameters of its namespaces.
    #[serde(default)]
    pub sysctls: HashMap<String, String>,
    /// Devices of the host: their node there, and where the process has it.
    #[serde(default)]
    pub devices: Vec<(PathBuf, PathBuf)>,
    /// Whether a small first process is above it.
    #[serde(default)]
    pub init: bool,
    /// Bind mounts that devices come with.
    #[serde(default)]
    pub mounts: Vec<Mount>,
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
            joined: None,
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
            limits: ResourceLimits::default(),
            profile: Profile::Default,
            oom_score_adj: None,
            sysctls: HashMap::new(),
            devices: Vec::new(),
            init: false,
            mounts: Vec::new(),
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
    /// A device of the host.
    #[error("device {path}")]
    Device {
        /// Its node.
        path: PathBuf,
        /// Why it cannot be given.
        #[source]
        cause: std::io::Error,
    },
    /// A private network was asked for and none was made.
    #[error("a private network has to be made before the process")]
    PrivateNetwork,
    /// A builder of the `Spec` refused a value.
    #[error("build the process specification")]
    Build(#[from] OciSpecError),
    /// The default specification could not be made.
    #[error(transparent)]
    Default(#[from] SandboxError),
}

/// The names of Docker's default capabilities.
pub fn default_capabilities() -> BTreeSet<String> {
    names(capability::DEFAULT)
}

/// The names of all capabilities.
pub fn all_capabilities() -> BTreeSet<String> {
    names(capability::ALL)
}

fn names(bits: u64) -> BTreeSet<String> {
    capability::names(bits).into_iter().map(|name| format!("CAP_{name}")).collect()
}

/// The `Spec` for a request, the mounts that OCI has no words for (`/etc/hosts`, `/etc/resolv.conf`), and the filter.
///
/// # Errors
/// If the request names something that does not exist.
pub fn specification(request: &ProcessRequest) -> Result<(Spec, Vec<Graft>, Profile), SpecError> {
    let hostname = if request.hostname.is_empty() { DEFAULT_HOSTNAME } else { &request.hostname };
    let own_network = match (request.network, &request.joined) {
        (_, Some(_)) | (NetworkMode::None, None) => true,
        (NetworkMode::Default | NetworkMode::Host, None) => false,
        (NetworkMode::Private, None) => return Err(SpecError::PrivateNetwork),
    };
    let mut spec = default_spec(&Surroundings {
        args: request.args.clone(),
        env: environment(request),
        cwd: request.cwd.clone(),
        user: request.user.clone(),
        hostname: hostname.to_owned(),
        own_network,
        shm_size: if request.shm_size == 0 { DEFAULT_SHM } else { request.shm_size },
        insecure: request.insecure,
    })?;
    adapt(&mut spec, request)?;
    if request.init {
        spec.annotations_mut().get_or_insert_default().insert(INIT.into(), "true".into());
    }
    if let Some(joined) = &request.joined {
        join(&mut spec, joined);
    }
    let file = |target: &str, data: Vec<u8>| Graft {
        target: target.to_owned(),
        source: GraftSource::Content(Content { data, uid: 0, gid: 0, mode: 0o644 }),
        read_only: true,
    };
    let mut grafts = vec![file("/etc/hosts", hosts(hostname, request))];
    grafts.extend(request.resolv_conf.clone().map(|text| file("/etc/resolv.conf", text)));
    let profile = if request.insecure { Profile::Unconfined } else { request.profile.clone() };
    Ok((spec, grafts, profile))
}

/// With PATH and HOME, which a process finds even where nobody sets them.
fn environment(request: &ProcessRequest) -> Vec<String> {
    let mut env = request.env.clone();
    for (name, value) in [("PATH", DEFAULT_PATH), ("HOME", &request.user.home)] {
        if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
            env.push(format!("{name}={value}"));
        }
    }
    env
}

/// What the default specification leaves open.
fn adapt(spec: &mut Spec, request: &ProcessRequest) -> Result<(), SpecError> {
    if let Some(root) = spec.root_mut() {
        root.set_readonly(Some(request.read_only_root));
    }
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.extend(request.mounts.iter().cloned());
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let rlimits = request.ulimits.iter().map(rlimit).collect::<Result<Vec<_>, _>>()?;
        process.set_rlimits(Some(rlimits)).set_terminal(Some(request.terminal));
        process
            .set_no_new_privileges(Some(request.no_new_privileges))
            .set_oom_score_adj(request.oom_score_adj);
        if let (Some(names), false) = (&request.capabilities, request.insecure) {
            let set = capabilities(names)?;
            let sets = LinuxCapabilitiesBuilder::default()
                .bounding(set.clone())
                .effective(set.clone())
                .permitted(set)
                .inheritable(Capabilities::new())
                .ambient(Capabilities::new())
                .build()?;
            process.set_capabilities(Some(sets));
        }
    }
    if let Some(linux) = spec.linux_mut() {
        if !request.cgroup_parent.is_empty() {
            linux.set_cgroups_path(Some(PathBuf::from(&request.cgroup_parent)));
        }
        let mut resources = LinuxResourcesBuilder::default();
        if let Some(limit) = request.pids {
            resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
        }
        linux.set_resources(Some(resources.build()?));
        linux.set_devices(Some(request.devices.iter().map(device).collect::<Result<_, _>>()?));
        if !request.sysctls.is_empty() {
            linux.set_sysctl(Some(request.sysctls.clone()));
        }
    }
    request.limits.apply(spec, request.memory, request.nano_cpus)?;
    Ok(())
}

/// A device of the host, as its node there is.
fn device((host, inside): &(PathBuf, PathBuf)) -> Result<LinuxDevice, SpecError> {
    let missing = |cause| SpecError::Device { path: host.clone(), cause };
    let stat = rustix::fs::stat(host).map_err(|error| missing(error.into()))?;
    let typ = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::CharacterDevice => LinuxDeviceType::C,
        rustix::fs::FileType::BlockDevice => LinuxDeviceType::B,
        _ => return Err(missing(std::io::Error::other("it is no device"))),
    };
    let device = LinuxDeviceBuilder::default()
        .path(inside)
        .typ(typ)
        .major(i64::from(rustix::fs::major(stat.st_rdev)))
        .minor(i64::from(rustix::fs::minor(stat.st_rdev)))
        .file_mode(stat.st_mode & 0o777)
        .uid(stat.st_uid)
        .gid(stat.st_gid);
    Ok(device.build()?)
}

fn capabilities(names: &BTreeSet<String>) -> Result<Capabilities, SpecError> {
    let parse = |name: &String| {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        Capability::from_str(short).map_err(|_| SpecError::Capability(name.clone()))
    };
    names.iter().map(parse).collect()
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

/// Has the network namespace joined instead of made.
fn join(spec: &mut Spec, joined: &JoinedNetwork) {
    let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace.typ() == LinuxNamespaceType::Network {
            namespace.set_path(Some(joined.path.clone()));
        }
    }
}

/// BuildKit's `/etc/hosts`; in a network of its own the host's name is the container's address there, as Docker has it.
fn hosts(hostname: &str, request: &ProcessRequest) -> Vec<u8> {
    let (addresses, host) = match &request.joined {
        Some(joined) => (joined.addresses.as_slice(), joined.host),
        None => (&[][..], Some(Ipv4Addr::LOCALHOST.into())),
    };
    let own = if addresses.is_empty() { format!(" {hostname}") } else { String::new() };
    let mut text = format!("127.0.0.1\tlocalhost{own}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for address in addresses {
        text.push_str(&format!("{address}\t{hostname}\n"));
    }
    for (name, address) in &request.add_hosts {
        match (address.as_str(), host) {
            (HOST_GATEWAY, Some(host)) => text.push_str(&format!("{host}\t{name}\n")),
            // Nothing leads to the host from there.
            (HOST_GATEWAY, None) => {}
            _ => text.push_str(&format!("{address}\t{name}\n")),
        }
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
