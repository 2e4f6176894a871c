//! Docker's groups of commands: `docker image ls` is `kiln image ls` as well as `kiln images`.

use clap::{Args, Subcommand};

use super::image::{ImagesArgs, PruneImagesArgs, RmiArgs, TagArgs};
use super::{
    BuildArgs, Command, DuArgs, FormatArgs, HistoryArgs, ImagetoolsCommand, ImportArgs, InspectArgs, Lazy,
    LoadArgs, PruneArgs, PullArgs, PushArgs, SaveArgs,
};

/// `kiln image`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageGroup {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Show how an image was made
    History(HistoryArgs),
    /// Make an image of a root file system in a tar archive
    Import(ImportArgs),
    /// Show an image's configuration
    Inspect(InspectArgs),
    /// Read images from a tar archive or an OCI layout
    Load(LoadArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Remove images that nothing uses
    Prune(PruneImagesArgs),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Write images to a tar archive
    Save(SaveArgs),
    /// Give an image another name
    Tag(TagArgs),
}

/// `kiln builder` and `kiln buildx`: there is one builder, and it is here.
#[derive(Debug, Subcommand)]
pub(crate) enum BuilderGroup {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
    /// Show what the store takes on disk
    Du(DuArgs),
    /// List past builds and show them
    History(HistoryArgs),
    /// Look at images at registries, join and copy them there
    #[command(subcommand)]
    Imagetools(ImagetoolsCommand),
    /// Remove what no image needs
    Prune(PruneArgs),
    /// Show the version
    Version(FormatArgs),
    /// What is about builders.
    #[command(flatten)]
    Builder(BuilderCommand),
}

/// What people say to `docker buildx` of its builders. kiln needs none: scripts that make and choose one run.
#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// List builders: there is one
    Ls(FormatArgs),
    /// Show the builder
    Inspect(BuilderArgs),
    /// Print the builder's name: none has to be made
    Create(BuilderArgs),
    /// Nothing: there is one builder
    Use(BuilderArgs),
    /// Nothing: the builder is no process
    #[command(visible_alias = "stop")]
    Rm(BuilderArgs),
}

/// Options and names of builders, which change nothing.
#[derive(Debug, Args)]
pub(crate) struct BuilderArgs {
    /// The words after the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) _words: Vec<String>,
}

/// `kiln system`
#[derive(Debug, Subcommand)]
pub(crate) enum SystemGroup {
    /// Show what the store takes on disk
    Df(DuArgs),
    /// Show what kiln can do on this machine, and why not more
    Info(FormatArgs),
    /// Remove containers that do not run, and networks, images and build results that nothing uses
    Prune(PruneSystemArgs),
}

/// `kiln system prune`
#[derive(Debug, Args)]
pub(crate) struct PruneSystemArgs {
    /// Images with a name that no container uses too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Volumes without a name that no container uses too
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Only what fits: until=24h, label=K[=V], label!=K[=V]
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
}

impl From<ImageGroup> for Command {
    fn from(group: ImageGroup) -> Self {
        match group {
            ImageGroup::Build(args) => Self::Build(Lazy(args)),
            ImageGroup::History(args) => Self::History(Lazy(args)),
            ImageGroup::Import(args) => Self::Import(Lazy(args)),
            ImageGroup::Inspect(args) => {
                Self::Inspect(Lazy(InspectArgs { kind: Some("image".to_owned()), ..args }))
            }
            ImageGroup::Load(args) => Self::Load(Lazy(args)),
            ImageGroup::Ls(args) => Self::Images(Lazy(args)),
            ImageGroup::Prune(args) => Self::PruneImages(args),
            ImageGroup::Pull(args) => Self::Pull(Lazy(args)),
            ImageGroup::Push(args) => Self::Push(Lazy(args)),
            ImageGroup::Rm(args) => Self::Rmi(Lazy(args)),
            ImageGroup::Save(args) => Self::Save(Lazy(args)),
            ImageGroup::Tag(args) => Self::Tag(Lazy(args)),
        }
    }
}

impl From<BuilderGroup> for Command {
    fn from(group: BuilderGroup) -> Self {
        match group {
            BuilderGroup::Build(args) => Self::Build(Lazy(args)),
            BuilderGroup::Du(args) => Self::Du(Lazy(args)),
            BuilderGroup::History(args) => Self::History(Lazy(args)),
            BuilderGroup::Imagetools(command) => Self::Imagetools(Lazy(command)),
            BuilderGroup::Prune(args) => Self::Prune(Lazy(args)),
            BuilderGroup::Version(args) => Self::Version(Lazy(args)),
            BuilderGroup::Builder(command) => Self::Builder(command),
        }
    }
}

impl From<SystemGroup> for Command {
    fn from(group: SystemGroup) -> Self {
        match group {
            SystemGroup::Df(args) => Self::Du(Lazy(args)),
            SystemGroup::Info(args) => Self::Info(Lazy(args)),
            SystemGroup::Prune(args) => Self::PruneSystem(args),
        }
    }
}
