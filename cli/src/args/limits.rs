//! Options of what a process may take of the machine: Docker's.

use std::path::PathBuf;

use clap::Args;

/// Limits of a container, and of the RUN steps of a build.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LimitArgs {
    /// Memory and swap together, -1 for as much swap as there is
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// The period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,
    /// Weight beside others, 1024 without
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    pub(crate) cpu_shares: Option<u64>,
    /// Processors, 0-2,4
    #[arg(long, value_name = "CPUS")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes, 0-1
    #[arg(long, value_name = "NODES")]
    pub(crate) cpuset_mems: Option<String>,
    /// What becomes of a limit that cannot be applied: enforce (an error), best-effort (a warning)
    #[arg(long, value_name = "HOW", default_value = "enforce", hide_default_value = true)]
    pub(crate) limits: String,
}

/// What else a container gets of the machine.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct MachineArgs {
    /// Memory that is kept when it gets short
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_reservation: Option<String>,
    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) blkio_weight: Option<u16>,
    /// Most bytes a second read from a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub(crate) device_read_bps: Vec<String>,
    /// Most bytes a second written to a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub(crate) device_write_bps: Vec<String>,
    /// Most reads a second from a device
    #[arg(long, value_name = "DEVICE:N")]
    pub(crate) device_read_iops: Vec<String>,
    /// Most writes a second to a device
    #[arg(long, value_name = "DEVICE:N")]
    pub(crate) device_write_iops: Vec<String>,
    /// How soon the kernel ends it when memory gets short, -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    pub(crate) oom_score_adj: Option<i32>,
    /// Kernel parameter of its namespaces, NAME=VALUE
    #[arg(long = "sysctl", value_name = "NAME=VALUE")]
    pub(crate) sysctls: Vec<String>,
    /// Device of the host, HOST[:CONTAINER], or by its CDI name, vendor.com/class=name
    #[arg(long = "device", value_name = "DEVICE")]
    pub(crate) devices: Vec<String>,
    /// Directory of CDI specifications in place of /etc/cdi and /var/run/cdi
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    /// Parent control group
    #[arg(long, value_name = "GROUP")]
    pub(crate) cgroup_parent: Option<String>,
}
