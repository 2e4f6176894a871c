//! From an OCI `Spec` to a [`Plan`]: what kiln does not do is refused here, before anything is started.

use oci_spec::runtime::{
    Capabilities as OciCapabilities, Capability, LinuxDevice, LinuxDeviceType, LinuxNamespaceType,
    Mount as OciMount, PosixRlimitType, Process as OciProcess, Spec,
};

use super::bundle::{Bundle, Graft, GraftSource, Profile};
use super::plan::{
    Capabilities, Device, Filter, Mount, MountFlags, Mounted, Namespaces, Network, Plan, Process, Rlimit,
    Stdio,
};
use super::{SandboxError, capability, seccomp};
use super::{limits, unsupported};

pub(crate) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub(crate) const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;

fn refuse<T>(message: impl Into<String>) -> Result<T, SandboxError> {
    Err(SandboxError::Spec(message.into()))
}

/// Checks a bundle and puts it into the launcher's terms.
pub(crate) fn plan(bundle: &Bundle, stdio: Stdio) -> Result<Plan, SandboxError> {
    let spec = &bundle.spec;
    if let Some(part) = unsupported::find(spec) {
        return refuse(format!("{part} is not supported"));
    }
    let Some(process) = spec.process() else { return refuse("it has no process") };
    let mut process = translate_process(process, &bundle.profile, stdio)?;
    process.init = bundle.spec.annotations().as_ref().is_some_and(|all| all.contains_key(crate::spec::INIT));
    let linux = spec.linux().clone().unwrap_or_default();

    // A process that may make device nodes but is not watched by a device control group must not be able to open them:
    // only the nodes that kiln binds into /dev work. One that may mount anyway is not stopped by this.
    let trusted = process.capabilities.bounding & capability::SYS_ADMIN != 0;
    let mut mounts = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        mounts.push(translate_mount(mount)?);
    }
    mounts.extend(bundle.grafts.iter().map(translate_graft));
    if !trusted {
        for mount in &mut mounts {
            if !matches!(mount.what, Mounted::Devpts(_)) {
                mount.flags.set |= NO_DEVICES;
                mount.flags.clear &= !NO_DEVICES;
            }
        }
    }

    let devices = linux.devices().iter().flatten().map(translate_device).collect::<Result<_, _>>()?;
    let limits = match linux.resources() {
        Some(resources) => {
            limits::translate(resources, linux.cgroups_path().as_deref(), limits::is_best_effort(spec))?
        }
        None => None,
    };
    let sysctl = linux.sysctl().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(Plan {
        root: bundle.root.clone(),
        chroot: false,
        root_read_only: spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false),
        root_devices: trusted,
        mounts,
        devices,
        masked: linux.masked_paths().clone().unwrap_or_default(),
        read_only: linux.readonly_paths().clone().unwrap_or_default(),
        namespaces: namespaces(spec)?,
        hostname: spec.hostname().clone(),
        domainname: spec.domainname().clone(),
        sysctl,
        limits,
        process,
    })
}

/// The process of a bundle alone, for a sandbox that is there already.
pub(crate) fn visitor(bundle: &Bundle, stdio: Stdio) -> Result<Process, SandboxError> {
    let Some(process) = bundle.spec.process() else { return refuse("it has no process") };
    translate_process(process, &bundle.profile, stdio)
}

fn translate_process(process: &OciProcess, profile: &Profile, stdio: Stdio) -> Result<Process, SandboxError> {
    let args = process.args().clone().unwrap_or_default();
    if args.is_empty() {
        return refuse("its process has no arguments");
    }
    let env = process.env().clone().unwrap_or_default();
    let cwd = text(process.cwd())?;
    if !cwd.starts_with('/') {
        return refuse(format!("working directory `{cwd}` is not absolute"));
    }
    if args.iter().chain(&env).chain([&cwd]).any(|s| s.contains('\0')) {
        return refuse("an argument, variable or path contains a zero byte");
    }
    let sets = process.capabilities().as_ref();
    let bits = |set: Option<&OciCapabilities>| set.into_iter().flatten().map(bit).fold(0, |a, b| a | b);
    let user = process.user();
    let rlimits = process.rlimits().iter().flatten().map(|limit| Rlimit {
        resource: resource(limit.typ()),
        soft: Some(limit.soft()).filter(|&v| v != u64::MAX),
        hard: Some(limit.hard()).filter(|&v| v != u64::MAX),
    });
    Ok(Process {
        args,
        env,
        cwd,
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
        capabilities: Capabilities {
            bounding: bits(sets.and_then(|s| s.bounding().as_ref())),
            effective: bits(sets.and_then(|s| s.effective().as_ref())),
            permitted: bits(sets.and_then(|s| s.permitted().as_ref())),
            inheritable: bits(sets.and_then(|s| s.inheritable().as_ref())),
            ambient: bits(sets.and_then(|s| s.ambient().as_ref())),
        },
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits.collect(),
        oom_score_adj: process.oom_score_adj(),
        filter: filter(profile, bits(sets.and_then(|s| s.bounding().as_ref())))?,
        stdio,
        init: false,
    })
}

fn filter(profile: &Profile, capabilities: u64) -> Result<Filter, SandboxError> {
    match profile {
        Profile::Default => Ok(Filter::Default),
        Profile::Unconfined => Ok(Filter::None),
        Profile::Custom(text) => {
            let program = seccomp::compile(text, seccomp::Machine::of_process(capabilities))?;
            Ok(Filter::Program(program.iter().map(|step| (step.code, step.jt, step.jf, step.k)).collect()))
        }
    }
}

fn bit(capability: &Capability) -> u64 {
    capability::by_name(&capability.to_string()).unwrap_or(0)
}

fn resource(of: PosixRlimitType) -> u32 {
    match of {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

pub(super) fn text(path: &std::path::Path) -> Result<String, SandboxError> {
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => refuse(format!("path {} is not UTF-8", path.display())),
    }
}

fn translate_graft(graft: &Graft) -> Mount {
    let mut flags = MountFlags { set: if graft.read_only { READ_ONLY } else { 0 }, clear: 0 };
    let what = match &graft.source {
        GraftSource::Tree { tree, path } => Mounted::Tree { tree: tree.clone(), path: path.clone() },
        // With what is mounted below it, as Docker has it; in a user namespace the kernel refuses to uncover what that hides.
        GraftSource::Path(source) => Mounted::Bind { source: source.clone(), recursive: true },
        GraftSource::PathAlone(source) => Mounted::Bind { source: source.clone(), recursive: false },
        GraftSource::Content(content) => Mounted::Content(content.clone()),
        GraftSource::Tmpfs { size, mode, no_exec, no_suid } => {
            flags.set |= if *no_exec { libc::MOUNT_ATTR_NOEXEC } else { 0 };
            flags.set |= if *no_suid { libc::MOUNT_ATTR_NOSUID } else { 0 };
            let mut options = vec![("mode".to_owned(), format!("{mode:o}"))];
            options.extend(size.map(|size| ("size".to_owned(), size.to_string())));
            Mounted::Tmpfs(options)
        }
    };
    Mount { target: graft.target.clone(), what, flags }
}

/// Options are matched one by one: what is not known is an error, and no text reaches the kernel unread.
fn translate_mount(mount: &OciMount) -> Result<Mount, SandboxError> {
    let target = text(mount.destination())?;
    let mut flags = MountFlags::default();
    let mut data = Vec::new();
    let (mut bind, mut recursive) = (false, false);
    for option in mount.options().iter().flatten() {
        let (set, clear) = match option.as_str() {
            "ro" => (READ_ONLY, 0),
            "rw" => (0, READ_ONLY),
            "nosuid" => (libc::MOUNT_ATTR_NOSUID, 0),
            "suid" => (0, libc::MOUNT_ATTR_NOSUID),
            "nodev" => (NO_DEVICES, 0),
            "dev" => (0, NO_DEVICES),
            "noexec" => (libc::MOUNT_ATTR_NOEXEC, 0),
            "exec" => (0, libc::MOUNT_ATTR_NOEXEC),
            "noatime" => (libc::MOUNT_ATTR_NOATIME, 0),
            "strictatime" => (libc::MOUNT_ATTR_STRICTATIME, 0),
            "nosymfollow" => (libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
            "bind" | "rbind" => {
                (bind, recursive) = (true, option == "rbind");
                continue;
            }
            // What kiln mounts is private always; nothing that is asked for here would make it shared with the host.
            "private" | "rprivate" | "slave" | "rslave" | "relatime" | "defaults" | "newinstance" => continue,
            other => match other.split_once('=') {
                Some((key @ ("mode" | "size" | "uid" | "gid" | "nr_inodes" | "ptmxmode"), value)) => {
                    data.push((key.to_owned(), value.to_owned()));
                    continue;
                }
                _ => return refuse(format!("mount option `{other}` of {target} is not supported")),
            },
        };
        flags.set = flags.set & !clear | set;
        flags.clear = flags.clear & !set | clear;
    }
    let what = match mount.typ().as_deref() {
        _ if bind => {
            let Some(source) = mount.source() else {
                return refuse(format!("bind mount of {target} has no source"));
            };
            Mounted::Bind { source: source.clone(), recursive }
        }
        Some("proc") => Mounted::Proc,
        Some("sysfs") => Mounted::Sysfs,
        Some("cgroup" | "cgroup2") => Mounted::Cgroup,
        Some("mqueue") => Mounted::Mqueue,
        Some("devpts") => Mounted::Devpts(data),
        Some("tmpfs") => Mounted::Tmpfs(data),
        Some("bind" | "none") | None => {
            return refuse(format!("mount of {target} has neither a type nor the option bind"));
        }
        Some(other) => return refuse(format!("file system type `{other}` of {target} is not supported")),
    };
    Ok(Mount { target, what, flags })
}

fn translate_device(device: &LinuxDevice) -> Result<Device, SandboxError> {
    let character = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => true,
        LinuxDeviceType::B => false,
        other => return refuse(format!("device {} has type {other:?}", device.path().display())),
    };
    let number = |n: i64| u32::try_from(n).map_err(|_| SandboxError::Spec(format!("device number {n}")));
    Ok(Device {
        path: text(device.path())?,
        character,
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

fn namespaces(spec: &Spec) -> Result<Namespaces, SandboxError> {
    let mut found = Namespaces { pid: false, ipc: false, uts: false, cgroup: false, network: Network::Host };
    let mut mount = false;
    for namespace in spec.linux().iter().filter_map(|l| l.namespaces().as_ref()).flatten() {
        let path = namespace.path();
        match namespace.typ() {
            LinuxNamespaceType::Network => {
                found.network = path.clone().map_or(Network::New, Network::Join);
                continue;
            }
            _ if path.is_some() => return refuse("only a network namespace can be joined"),
            LinuxNamespaceType::Mount => mount = true,
            LinuxNamespaceType::Pid => found.pid = true,
            LinuxNamespaceType::Ipc => found.ipc = true,
            LinuxNamespaceType::Uts => found.uts = true,
            LinuxNamespaceType::Cgroup => found.cgroup = true,
            LinuxNamespaceType::User => {
                return refuse("a user namespace is made for all of kiln, not for one process");
            }
            LinuxNamespaceType::Time => return refuse("a new time namespace is not supported"),
        }
    }
    if !mount || !found.pid {
        return refuse("a new mount and a new pid namespace are needed");
    }
    Ok(found)
}
