//! The options of the commands about images of the store: Docker's.

use clap::Args;

/// `kiln images`
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Only images of this name; * and ? stand for any letters and any letter
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
    /// Only what fits: dangling=true|false, label=K[=V], reference=PATTERN, before=IMAGE, since=IMAGE, until=24h
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// table, json, or a template: {{.Repository}}:{{.Tag}}
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
    /// Accepted for Docker's sake: intermediate images do not exist
    #[arg(short, long, hide = true)]
    pub(crate) all: bool,
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
    /// Accepted for Docker's sake: an image has no parents
    #[arg(long, hide = true)]
    pub(crate) no_prune: bool,
}

/// `kiln image prune`
#[derive(Debug, Args)]
pub(crate) struct PruneImagesArgs {
    /// Those with a name that no container uses too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what fits: until=24h, label=K[=V], label!=K[=V]
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
}
