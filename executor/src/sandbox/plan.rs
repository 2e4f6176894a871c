//! What the launcher is told: a [`Bundle`](super::Bundle) checked and translated, so that nothing is left to decide in the
//! sandbox's first process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::bundle::{Content, Tree};

/// A sandbox to be made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) root: Tree,
    /// Whether the root, a directory, is entered by chroot alone: no mounts, no namespaces.
    pub(crate) chroot: bool,
    pub(crate) root_read_only: bool,
    /// Whether device nodes in the root can be opened.
    pub(crate) root_devices: bool,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) devices: Vec<Device>,
    /// Absolute paths hidden behind `/dev/null` or an empty directory.
    pub(crate) masked: Vec<String>,
    pub(crate) read_only: Vec<String>,
    pub(crate) namespaces: Namespaces,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    /// Names with dots, and values.
    pub(crate) sysctl: Vec<(String, String)>,
    pub(crate) limits: Option<Limits>,
    pub(crate) process: Process,
}

/// A mount over the root.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) target: String,
    pub(crate) what: Mounted,
    pub(crate) flags: MountFlags,
}

/// What is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Mounted {
    Proc,
    Sysfs,
    Cgroup,
    Mqueue,
    /// `newinstance` always, with these options.
    Devpts(Vec<(String, String)>),
    Tmpfs(Vec<(String, String)>),
    Bind {
        source: PathBuf,
        recursive: bool,
    },
    Tree {
        tree: Tree,
        path: String,
    },
    Content(Content),
}

/// `MOUNT_ATTR_*` to set and to clear.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct MountFlags {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

/// A device of the host that the process is given, beyond the usual ones.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) path: String,
    pub(crate) character: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The namespaces that are new; the process shares the others with kiln.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Namespaces {
    pub(crate) pid: bool,
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
    pub(crate) cgroup: bool,
    pub(crate) network: Network,
}

/// Whose network it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Network {
    Host,
    /// Its own, with loopback up.
    New,
    /// The one that this file refers to.
    Join(PathBuf),
}

/// Control group limits. Absent ones are not set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Path of the parent group below the mount point; the group of kiln itself if empty.
    pub(crate) parent: String,
    /// Bytes.
    pub(crate) memory: Option<i64>,
    /// Bytes of memory and swap together, -1 for no limit.
    pub(crate) memory_and_swap: Option<i64>,
    /// Microseconds of CPU time in each period, and the period.
    pub(crate) cpu: Option<(i64, u64)>,
    pub(crate) cpu_shares: Option<u64>,
    pub(crate) cpus: Option<String>,
    /// Memory nodes.
    pub(crate) nodes: Option<String>,
    pub(crate) pids: Option<i64>,
    /// Bytes that are kept when memory is short.
    pub(crate) memory_reservation: Option<i64>,
    /// 10 to 1000.
    pub(crate) block_weight: Option<u16>,
    pub(crate) block_rates: Vec<BlockRate>,
    /// Whether a limit that cannot be set is passed over.
    pub(crate) best_effort: bool,
}

/// Most bytes or operations a second of one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockRate {
    pub(crate) major: i64,
    pub(crate) minor: i64,
    /// `rbps`, `wbps`, `riops`, `wiops`: version 2's words.
    pub(crate) kind: String,
    pub(crate) rate: u64,
}

/// The process itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privileges: bool,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) filter: Filter,
    pub(crate) stdio: Stdio,
    /// Whether it has a small first process above it.
    pub(crate) init: bool,
}

/// The system call filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Filter {
    None,
    /// The default one for the process's capabilities.
    Default,
    /// Instructions: code, jumps if true and if false, operand.
    Program(Vec<(u16, u8, u8, u32)>),
}

/// Capability sets as bits.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Capabilities {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// A resource limit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Rlimit {
    /// The kernel's number.
    pub(crate) resource: u32,
    /// `None` for no limit.
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

/// Where the standard streams lead.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Stdio {
    /// For each, whether a descriptor comes with the plan, in this order; `/dev/null` otherwise.
    Streams([Given; 3]),
    /// A terminal of this many rows and columns.
    Terminal(u16, u16),
}

/// Whether a descriptor comes with the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Given {
    No,
    /// As it stands.
    Yes,
    /// A pipe made for this, to be owned by the process's user so that it can open `/dev/stdout`.
    Pipe,
}
