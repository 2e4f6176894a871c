//! The command line as typed. What it means is made of it in `request` and in each command.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::progress::ProgressMode;

/// Builds container images from Dockerfiles, pushes them, and runs them. No daemon.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The store [env: KILN_ROOT] [default: /var/lib/kiln as root, otherwise ~/.local/share/kiln]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// How RUN steps and containers are shut in: auto, root, user, single, chroot
    #[arg(long, global = true, value_name = "RUNG", default_value = "auto", hide_default_value = true)]
    pub(crate) isolation: String,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
    /// Run a command in a new container
    Run(Box<RunArgs>),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// List images
    Images(ImagesArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Show an image's configuration
    Inspect(InspectArgs),
    /// Show how an image was made
    History(HistoryArgs),
    /// Write images to a tar archive
    Save(SaveArgs),
    /// Read images from a tar archive or an OCI layout
    Load(LoadArgs),
    /// Make an image of a root file system in a tar archive
    Import(ImportArgs),
    /// Log in to a registry
    Login(LoginArgs),
    /// Log out from a registry
    Logout(LogoutArgs),
    /// Remove what no image needs
    Prune(PruneArgs),
    /// Show what the store takes on disk
    Du(DuArgs),
    /// Verify every blob, layer and manifest of the store
    Fsck(FsckArgs),
    /// Show the version
    Version(FormatArgs),
    /// Show what kiln can do on this machine, and why not more
    Info(FormatArgs),
    /// Look at what kiln makes of a Dockerfile
    #[command(subcommand)]
    Debug(DebugCommand),
}

/// `kiln build`
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Directory, git repository or URL that COPY and ADD read; - for a tar or a Dockerfile on standard input
    #[arg(value_name = "PATH | URL | -")]
    pub(crate) context: String,
    /// Name of the Dockerfile [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) file: Option<String>,
    /// Name of the image, name:tag
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Build argument, K=V, or K to take it from the environment
    #[arg(long = "build-arg", value_name = "K=V")]
    pub(crate) build_args: Vec<String>,
    /// Further context, NAME=PATH|docker-image://REF|oci-layout://PATH|URL
    #[arg(long = "build-context", value_name = "NAME=REF")]
    pub(crate) build_contexts: Vec<String>,
    /// Label of the image
    #[arg(long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<String>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Perform every step, whatever is known
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Stages to perform whatever is known
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Ask the registry for newer base images
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) pull: bool,
    /// Network of RUN steps: default, host, none, private
    #[arg(long, value_name = "MODE", default_value = "default", hide_default_value = true)]
    pub(crate) network: String,
    /// What comes out: type=oci|docker|image|registry|local|tar[,dest=PATH][,…], or a directory, or - for a tar
    #[arg(short, long = "output", value_name = "SPEC")]
    pub(crate) outputs: Vec<String>,
    /// Shorthand for --output=type=registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Shorthand for --output=type=docker: into the local store
    #[arg(long)]
    pub(crate) load: bool,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Print the image's digest alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(crate) progress: ProgressMode,
    /// Secret for RUN --mount=type=secret, id=ID[,src=PATH|,env=NAME]
    #[arg(long = "secret", value_name = "SPEC")]
    pub(crate) secrets: Vec<String>,
    /// SSH agent or key for RUN --mount=type=ssh, default|ID[=PATH]
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// Grant a right to the build: network.host, security.insecure
    #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// Line for /etc/hosts in RUN steps, HOST:ADDRESS
    #[arg(long = "add-host", value_name = "HOST:IP")]
    pub(crate) add_hosts: Vec<String>,
    /// Size of /dev/shm in RUN steps
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Limit of RUN steps, name=soft[:hard]
    #[arg(long = "ulimit", value_name = "LIMIT")]
    pub(crate) ulimits: Vec<String>,
    /// Parent control group of RUN steps
    #[arg(long, value_name = "GROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// Check the Dockerfile without building it
    #[arg(long)]
    pub(crate) check: bool,
    /// What to do with the Dockerfile: build, check, outline, targets
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,
    /// Annotation of the image's manifest
    #[arg(long = "annotation", value_name = "K=V")]
    pub(crate) annotations: Vec<String>,
    /// Accepted for Docker's sake: attestations are not made
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true)]
    pub(crate) provenance: Option<Option<String>>,
    /// Accepted for Docker's sake: attestations are not made
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true)]
    pub(crate) sbom: Option<Option<String>>,
    /// Accepted for Docker's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) builder: Option<String>,
    /// Accepted for Docker's sake: intermediate containers do not exist
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    pub(crate) rm: Option<Option<String>>,
    /// Accepted for Docker's sake: intermediate containers do not exist
    #[arg(long, hide = true)]
    pub(crate) force_rm: bool,
}

/// `kiln run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Remove the container when it ends (kiln always does)
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
    /// Bind mount, SRC:DST[:ro]
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
    /// Network: host, none, private
    #[arg(
        long,
        visible_alias = "net",
        value_name = "MODE",
        default_value = "default",
        hide_default_value = true
    )]
    pub(crate) network: String,
    /// Host name
    #[arg(long, value_name = "NAME")]
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
    /// Mount the root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Add a capability
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_drop: Vec<String>,
    /// Security option: no-new-privileges, seccomp=unconfined
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// Give the container every right that kiln has
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Whether to pull the image first: always, missing, never
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

/// `kiln pull`
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The image
    pub(crate) image: String,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print the image's name alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(crate) progress: ProgressMode,
}

/// `kiln push`
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The images
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Compression of layers that are not stored yet: gzip, zstd, uncompressed
    #[arg(long, value_name = "FORMAT")]
    pub(crate) compression: Option<String>,
    /// Print the digest alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(crate) progress: ProgressMode,
}

/// `kiln images`
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Only images of this repository
    pub(crate) name: Option<String>,
    /// Print ids alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print digests too
    #[arg(long)]
    pub(crate) digests: bool,
    /// Print ids in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
}

/// `kiln tag`
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// An image
    pub(crate) source: String,
    /// Its further name
    pub(crate) target: String,
}

/// `kiln rmi`
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// The images
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Do not complain of images that do not exist
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `kiln inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The images
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// json
    #[arg(short, long, value_name = "FORMAT", default_value = "json", hide_default_value = true)]
    pub(crate) format: String,
}

/// `kiln history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The image
    pub(crate) image: String,
    /// Print instructions in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
}

/// `kiln save`
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// The images
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// docker (docker load reads it) or oci
    #[arg(long, value_name = "FORMAT", default_value = "docker", hide_default_value = true)]
    pub(crate) format: String,
    /// Compression of the layers: gzip, zstd, uncompressed
    #[arg(long, value_name = "FORMAT")]
    pub(crate) compression: Option<String>,
}

/// `kiln load`
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Read from a file or an OCI layout directory instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Print names alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `kiln import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A tar archive, compressed or not; - for standard input
    pub(crate) file: String,
    /// The image's name
    pub(crate) name: Option<String>,
    /// Dockerfile instruction to apply to the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub(crate) changes: Vec<String>,
    /// Comment of the history entry
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

/// `kiln login`
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The registry [default: Docker Hub]
    pub(crate) server: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password; --password-stdin keeps it out of the shell's history
    #[arg(short, long, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// `kiln logout`
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry [default: Docker Hub]
    pub(crate) server: Option<String>,
}

/// `kiln prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove the results of recent builds and images without a name too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what fits, until=24h, type=exec.cachemount
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Keep this much
    #[arg(long, visible_alias = "max-used-space", value_name = "BYTES")]
    pub(crate) keep_storage: Option<String>,
}

/// `kiln du`
#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    /// List every layer and blob
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
}

/// `kiln fsck`
#[derive(Debug, Args)]
pub(crate) struct FsckArgs {
    /// Drop what is damaged
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Options of commands that print one thing.
#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// text or json
    #[arg(short, long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
    pub(crate) format: String,
}

/// `kiln debug`
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Print the syntax tree of a Dockerfile
    Ast {
        /// The Dockerfile
        file: PathBuf,
    },
    /// Expand words, one a line on standard input, and print JSON
    Expand {
        /// File of variables, K=V a line
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
        /// Escape character
        #[arg(long, default_value_t = '\\', value_name = "CHAR")]
        escape: char,
    },
    /// Say for each path whether it is sent to the build, and which pattern decides
    Ignore {
        /// The ignore file
        #[arg(short, long, value_name = "FILE", default_value = ".dockerignore")]
        file: PathBuf,
        /// text or json
        #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
        format: String,
        /// Paths in the context; they need not exist
        paths: Vec<String>,
    },
}
