//! The options of `kiln run`: Docker's.

use std::path::PathBuf;

use clap::Args;

use super::{KeepArgs, NetworkArgs};

/// `kiln run`. `-h` is the host name, as Docker has it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Its life: in the background, name, restarts, health, log
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    /// Remove the container when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Environment variable, K=V, or K to take it from the environment
    #[arg(short, long = "env", value_name = "K=V")]
    pub(crate) env: Vec<String>,
    /// File of environment variables
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// Bind mount or volume, SRC:DST[:ro]
    #[arg(short, long = "volume", value_name = "SRC:DST")]
    pub(crate) volumes: Vec<String>,
    /// Memory file system at a directory
    #[arg(long, value_name = "DIR[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User and group, name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Program to run instead of the image's
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Further group of the user, name or number
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Line for /etc/hosts, HOST:ADDRESS
    #[arg(long = "add-host", value_name = "HOST:IP")]
    pub(crate) add_hosts: Vec<String>,
    /// Limit, name=soft[:hard]
    #[arg(long = "ulimit", value_name = "LIMIT")]
    pub(crate) ulimits: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// Number of processors
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<f64>,
    /// Number of processes
    #[arg(long, value_name = "N")]
    pub(crate) pids_limit: Option<i64>,
    /// OCI runtime that starts processes in place of kiln's own sandbox: crun, runc, runsc or a path
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<String>,
    #[command(flatten)]
    pub(crate) limits: super::limits::LimitArgs,
    #[command(flatten)]
    pub(crate) machine: super::limits::MachineArgs,
    /// Have a small first process pass signals on and take care of orphans
    #[arg(long)]
    pub(crate) init: bool,
    /// Mount the root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Add a capability
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_drop: Vec<String>,
    /// Security option: no-new-privileges, seccomp=FILE|unconfined, label=…, apparmor=…
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// Give the container every right that kiln has
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Whether to pull the image first: always, newer, missing, never
    #[arg(long, value_name = "WHEN", default_value = "missing", hide_default_value = true)]
    pub(crate) pull: String,
    /// Say nothing while pulling
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image
    pub(crate) image: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}
