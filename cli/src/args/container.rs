//! The commands about containers, with Docker's options.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{CommitArgs, CopyArgs, DiffArgs, ExportArgs, Lazy, RunArgs};

/// What keeps a container: options of `kiln run` and `kiln create` about its life.
#[derive(Debug, Args)]
pub(crate) struct KeepArgs {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Mount: type=bind|volume|tmpfs,source=…,target=…[,readonly]
    #[arg(long = "mount", value_name = "MOUNT")]
    pub(crate) mounts: Vec<String>,
    /// Mount the volumes of another container
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub(crate) volumes_from: Vec<String>,
    /// When to start it again: no, on-failure[:n], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// Signal that stops it
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds until it is killed when it does not stop
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) stop_timeout: Option<i64>,
    /// Label, K=V
    #[arg(short = 'l', long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<String>,
    /// File of labels
    #[arg(long = "label-file", value_name = "FILE")]
    pub(crate) label_files: Vec<PathBuf>,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Where its output is kept: json-file, none
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,
    /// Limit of the log: max-size=10m, max-file=3
    #[arg(long = "log-opt", value_name = "K=V")]
    pub(crate) log_opts: Vec<String>,
    /// Command of the health check
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// Time between two health checks
    #[arg(long, value_name = "TIME")]
    pub(crate) health_interval: Option<String>,
    /// Time that a health check may take
    #[arg(long, value_name = "TIME")]
    pub(crate) health_timeout: Option<String>,
    /// Time in which failures do not count
    #[arg(long, value_name = "TIME")]
    pub(crate) health_start_period: Option<String>,
    /// Time between two health checks in that time
    #[arg(long, value_name = "TIME")]
    pub(crate) health_start_interval: Option<String>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "N")]
    pub(crate) health_retries: Option<u32>,
    /// No health check, whatever the image says
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
    /// Keys that detach the terminal
    #[arg(long, value_name = "KEYS", default_value = crate::container::attach::DETACH)]
    pub(crate) detach_keys: String,
    /// Pass signals on to the container
    #[arg(
        long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set
    )]
    pub(crate) sig_proxy: bool,
}

/// What to do with containers.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Run a command in a new container
    Run(Lazy<Box<RunArgs>>),
    /// Make a container without starting it
    Create(Lazy<Box<RunArgs>>),
    /// Start containers
    Start(Lazy<StartArgs>),
    /// Stop containers
    Stop(Lazy<StopArgs>),
    /// Stop containers and start them again
    Restart(Lazy<StopArgs>),
    /// Send a signal to containers
    Kill(Lazy<KillArgs>),
    /// Remove containers
    Rm(Lazy<RmArgs>),
    /// List containers
    #[command(visible_aliases = ["ls", "list"])]
    Ps(Lazy<PsArgs>),
    /// Run a command in a running container
    Exec(Lazy<ExecArgs>),
    /// Show what a container wrote
    Logs(Lazy<LogsArgs>),
    /// Attach the terminal to a running container
    Attach(Lazy<AttachArgs>),
    /// Wait until containers end, and print their exit codes
    Wait(Lazy<NamesArgs>),
    /// List the processes of a container
    Top(Lazy<TopArgs>),
    /// Give a container another name
    Rename(Lazy<RenameArgs>),
    /// Show the published ports of a container
    Port(Lazy<PortArgs>),
    /// Show what containers take of the machine
    Stats(Lazy<StatsArgs>),
    /// Stop all processes of containers from running
    Pause(Lazy<NamesArgs>),
    /// Let the processes of paused containers go on
    Unpause(Lazy<NamesArgs>),
    /// Copy files between a container and the host, or an image between registries
    Cp(Lazy<CopyArgs>),
    /// Show what a container has changed of its image's files
    Diff(Lazy<DiffArgs>),
    /// Write a container's files as a tar archive
    Export(Lazy<ExportArgs>),
    /// Make an image of a container
    Commit(Lazy<CommitArgs>),
}

/// `kiln container`: the same and what `kiln` has another meaning for.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerGroup {
    /// One of the commands that need no group.
    #[command(flatten)]
    One(ContainerCommand),
    /// Remove containers that do not run
    Prune(PruneContainersArgs),
}

/// `kiln container prune`
#[derive(Debug, Args)]
pub(crate) struct PruneContainersArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what fits: until=24h, label=K[=V], label!=K[=V]
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
}

/// `kiln stats`
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Those that do not run too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Look once
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Print ids in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// table, json, or a template: {{.Name}} {{.CPUPerc}}
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
    /// The containers; all that run without
    pub(crate) containers: Vec<String>,
}

/// `kiln port`
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// The container
    pub(crate) container: String,
    /// One of its ports, 80/tcp
    pub(crate) port: Option<String>,
}

/// `kiln start`
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Attach its output, and wait for its end
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Attach its input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Keys that detach the terminal
    #[arg(long, value_name = "KEYS", default_value = crate::container::attach::DETACH)]
    pub(crate) detach_keys: String,
    /// The containers
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `kiln stop`, `kiln restart`
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Seconds until it is killed
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) time: Option<i64>,
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL")]
    pub(crate) signal: Option<String>,
    /// The containers
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `kiln kill`
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub(crate) signal: String,
    /// The containers
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `kiln rm`
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill it if it runs; do not complain of containers that do not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove its anonymous volumes too
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// The containers
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `kiln ps`
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Those that do not run too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print ids alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The last N, whatever their state
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// The last one, whatever its state
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Print everything in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print sizes
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Only those that fit: status=exited, name=web, label=K=V, ancestor=IMAGE, exited=0, id=…, volume=…, health=…
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// table, json, or a template: {{.ID}} {{.Names}}
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
}

/// `kiln exec`
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Do not wait for it
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Environment variable, K=V, or K to take it from the environment
    #[arg(short, long = "env", value_name = "K=V")]
    pub(crate) env: Vec<String>,
    /// File of environment variables
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// User and group, name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Give the command every right that kiln has
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Keys that detach the terminal
    #[arg(long, value_name = "KEYS", default_value = crate::container::attach::DETACH)]
    pub(crate) detach_keys: String,
    /// The container
    pub(crate) container: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// `kiln logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on with what it writes from now on
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The last N lines
    #[arg(short = 'n', long, value_name = "N", default_value = "all", allow_hyphen_values = true)]
    pub(crate) tail: String,
    /// From this time on: 2026-01-02T15:04:05, or 10m for the last ten minutes
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Print the times of the lines
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Print no more than that
    #[arg(long, hide = true)]
    pub(crate) details: bool,
    /// The container
    pub(crate) container: String,
}

/// `kiln attach`
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Do not attach its input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass signals on to the container
    #[arg(
        long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set
    )]
    pub(crate) sig_proxy: bool,
    /// Keys that detach the terminal
    #[arg(long, value_name = "KEYS", default_value = crate::container::attach::DETACH)]
    pub(crate) detach_keys: String,
    /// The container
    pub(crate) container: String,
}

/// Commands that take nothing but containers.
#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// The containers
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `kiln top`
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The container
    pub(crate) container: String,
    /// Options of ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) options: Vec<String>,
}

/// `kiln rename`
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The container
    pub(crate) container: String,
    /// Its new name
    pub(crate) name: String,
}
