//! The command line as typed. What it means is made of it in `request` and in each command.

mod build;
mod cache;
mod container;
mod files;
mod group;
mod history;
mod image;
mod imagetools;
mod lazy;
mod limits;
mod network;
mod run;
mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::build::{BuildArgs, OnFailureAction};
pub(crate) use self::cache::{CacheArgs, CacheCommand};
pub(crate) use self::container::{
    AttachArgs, ContainerCommand, ContainerGroup, ExecArgs, KeepArgs, KillArgs, LogsArgs, NamesArgs,
    PortArgs, PruneContainersArgs, PsArgs, RenameArgs, RmArgs, StartArgs, StatsArgs, StopArgs, TopArgs,
};
pub(crate) use self::files::{CommitArgs, CopyArgs, DiffArgs, ExportArgs};
pub(crate) use self::group::{BuilderCommand, BuilderGroup, ImageGroup, PruneSystemArgs, SystemGroup};
pub(crate) use self::history::{HistoryArgs, HistoryCommand};
pub(crate) use self::image::{ImagesArgs, PruneImagesArgs, RmiArgs, TagArgs};
pub(crate) use self::imagetools::{CreateArgs, ImageCopyArgs, ImagetoolsCommand, InspectRemoteArgs};
pub(crate) use self::lazy::Lazy;
pub(crate) use self::limits::{LimitArgs, MachineArgs};
pub(crate) use self::network::{NetworkArgs, NetworkCommand};
pub(crate) use self::run::RunArgs;
pub(crate) use self::volume::VolumeCommand;
use crate::progress::ProgressMode;

/// Builds container images from Dockerfiles, pushes them, and runs them. No daemon.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Docker's groups work too: kiln image ls, kiln container rm, kiln buildx build, kiln system prune."
)]
pub(crate) struct Cli {
    /// The store [env: KILN_ROOT] [default: /var/lib/kiln as root, otherwise ~/.local/share/kiln]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// How RUN steps and containers are shut in: auto, root, rootless, single-id, chroot
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
    Build(Lazy<Box<BuildArgs>>),
    /// What to do with containers.
    #[command(flatten)]
    Containers(ContainerCommand),
    /// The same, as a group
    #[command(subcommand, hide = true)]
    Container(Lazy<ContainerGroup>),
    /// What is about images, as a group
    #[command(subcommand, hide = true)]
    Image(Lazy<ImageGroup>),
    /// What is about builds, as a group
    #[command(subcommand, alias = "builder", hide = true)]
    Buildx(Lazy<BuilderGroup>),
    /// What is about the store as a whole, as a group
    #[command(subcommand, hide = true)]
    System(Lazy<SystemGroup>),
    /// `kiln container prune`
    #[command(skip)]
    PruneContainers(PruneContainersArgs),
    /// `kiln image prune`
    #[command(skip)]
    PruneImages(PruneImagesArgs),
    /// `kiln system prune`
    #[command(skip)]
    PruneSystem(PruneSystemArgs),
    /// `kiln buildx ls` and others
    #[command(skip)]
    Builder(BuilderCommand),
    /// Download an image from a registry
    Pull(Lazy<PullArgs>),
    /// Upload an image to a registry
    Push(Lazy<PushArgs>),
    /// List images
    Images(Lazy<ImagesArgs>),
    /// Give an image another name
    Tag(Lazy<TagArgs>),
    /// Remove images
    Rmi(Lazy<RmiArgs>),
    /// Show a container's or an image's configuration
    Inspect(Lazy<InspectArgs>),
    /// List past builds and show them, or show how an image was made
    History(Lazy<HistoryArgs>),
    /// Write images to a tar archive
    Save(Lazy<SaveArgs>),
    /// Read images from a tar archive or an OCI layout
    Load(Lazy<LoadArgs>),
    /// Make an image of a root file system in a tar archive
    Import(Lazy<ImportArgs>),
    /// Look at images at registries, join and copy them there
    #[command(subcommand)]
    Imagetools(Lazy<ImagetoolsCommand>),
    /// Log in to a registry
    Login(Lazy<LoginArgs>),
    /// Log out from a registry
    Logout(Lazy<LogoutArgs>),
    /// Remove what no image needs
    Prune(Lazy<PruneArgs>),
    /// Show what the store takes on disk
    Du(Lazy<DuArgs>),
    /// Verify every blob, layer and manifest of the store
    Fsck(Lazy<FsckArgs>),
    /// Show the version
    Version(Lazy<FormatArgs>),
    /// Show what kiln can do on this machine, and why not more
    Info(Lazy<FormatArgs>),
    /// Make and look at networks that containers share
    #[command(subcommand)]
    Network(Lazy<NetworkCommand>),
    /// Make and look at directories that outlive containers
    #[command(subcommand)]
    Volume(Lazy<VolumeCommand>),
    /// Carry results of steps and cache mounts to other machines
    #[command(subcommand)]
    Cache(Lazy<CacheCommand>),
    /// Hold a network until its last container has gone
    #[command(name = crate::networks::HUB_WORD, hide = true)]
    NetworkHub {
        /// The network
        name: String,
    },
    /// Make what is stored outlast a power cut
    #[command(name = crate::durable::WORD, hide = true)]
    SyncStore,
    /// Look at what kiln makes of a Dockerfile
    #[command(subcommand)]
    Debug(Lazy<DebugCommand>),
}

impl Command {
    /// The same command without the group that it was typed in.
    pub(crate) fn without_group(self) -> Self {
        match self {
            Self::Container(Lazy(ContainerGroup::One(command))) => Self::Containers(command),
            Self::Container(Lazy(ContainerGroup::Prune(args))) => Self::PruneContainers(args),
            Self::Image(Lazy(group)) => group.into(),
            Self::Buildx(Lazy(group)) => group.into(),
            Self::System(Lazy(group)) => group.into(),
            alone => alone,
        }
    }
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
    /// Upload every tag of the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(crate) progress: ProgressMode,
}

/// `kiln inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The containers and images
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// container, image; either without
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// json, or a template: {{.State.Status}}
    #[arg(short, long, value_name = "FORMAT", default_value = "json", hide_default_value = true)]
    pub(crate) format: String,
    /// Print the provenance that images at registries have beside them
    #[arg(long, conflicts_with = "sbom")]
    pub(crate) provenance: bool,
    /// Print the packages (SPDX): of an image of the store as it is, of others as stated beside them
    #[arg(long)]
    pub(crate) sbom: bool,
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
    /// Only what fits: until=24h, id=ID, type=exec.cachemount, type!=TYPE, description=TEXT, inuse, shared, private, mutable
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// As much stays in any case
    #[arg(long, visible_alias = "keep-storage", value_name = "BYTES")]
    pub(crate) reserved_space: Option<String>,
    /// No more stays than this
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_used_space: Option<String>,
    /// As much of the disk is to be free
    #[arg(long, value_name = "BYTES")]
    pub(crate) min_free_space: Option<String>,
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove what kiln removes by itself after builds (config.toml, KILN_GC_*)
    #[arg(long, conflicts_with_all = ["all", "filter", "reserved_space", "max_used_space", "min_free_space", "dry_run"])]
    pub(crate) auto: bool,
}

/// `kiln du`
#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    /// List every layer and blob
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Only what fits, as for kiln prune
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
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
    /// text, json, or a template: {{.Version}}
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
    /// Print the graph that a build is lowered to
    Graph {
        /// text, json or dot
        #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
        format: String,
        /// The build, as for kiln build
        #[command(flatten)]
        build: Box<BuildArgs>,
    },
    /// Open a shell in the state before a RUN step, with its mounts and environment
    Shell {
        /// A line of it in the Dockerfile, or as in the progress: "build 2/5"
        step: String,
        /// The build, as for kiln build
        #[command(flatten)]
        build: Box<BuildArgs>,
    },
}
