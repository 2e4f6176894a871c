//! The options of `kiln imagetools`: those of buildx.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `kiln imagetools`
#[derive(Debug, Subcommand)]
pub(crate) enum ImagetoolsCommand {
    /// Show what a name at a registry leads to
    Inspect(InspectRemoteArgs),
    /// Make an image at a registry of others that are there
    Create(CreateArgs),
    /// Copy an image from one registry to another as it stands, with all its platforms
    #[command(visible_alias = "cp")]
    Copy(ImageCopyArgs),
}

/// `kiln imagetools inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectRemoteArgs {
    /// The image
    pub(crate) image: String,
    /// Print the document byte for byte
    #[arg(long)]
    pub(crate) raw: bool,
    /// {{json .}}, {{json .Manifest}}, {{json .Image}}, {{json .Provenance}}, {{json .SBOM}} or a field of them
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "raw")]
    pub(crate) format: Option<String>,
}

/// `kiln imagetools create`
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Images, digests with `name@`, or descriptors as JSON
    pub(crate) sources: Vec<String>,
    /// Name of the new image
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// File of a descriptor as JSON, or with an image a line
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Add to what the name leads to already
    #[arg(long)]
    pub(crate) append: bool,
    /// Annotation of the index, [index:]K=V
    #[arg(long = "annotation", value_name = "K=V")]
    pub(crate) annotations: Vec<String>,
    /// Only these platforms
    #[arg(short, long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// Make an index of a single image too
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) prefer_index: bool,
    /// Print the document instead of pushing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write digest and descriptor to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
}

/// `kiln imagetools copy`
#[derive(Debug, Args)]
pub(crate) struct ImageCopyArgs {
    /// The image
    pub(crate) source: String,
    /// Its new name
    pub(crate) target: String,
    /// Only these platforms
    #[arg(short, long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
}
