//! The commands about the files of a container, with Docker's options.

use std::path::PathBuf;

use clap::Args;

/// `kiln cp`
#[derive(Debug, Args)]
#[command(
    override_usage = "kiln cp [OPTIONS] CONTAINER:PATH PATH\n       kiln cp [OPTIONS] PATH CONTAINER:PATH\n       \
                      kiln cp [OPTIONS] IMAGE REGISTRY/IMAGE",
    after_help = "A word with a colon is a path in a container if a container is called as the part before it, or if the part \
                  after it begins with `/` or `.`. Images are copied, with all platforms and without unpacking them, if \
                  neither word names a container or a file and the new name begins with its registry: \
                  `kiln cp docker.io/library/app:1 registry.example/app:1`."
)]
pub(crate) struct CopyArgs {
    /// Keep owners
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Follow a symbolic link that is the source
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Say nothing
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What is copied: CONTAINER:PATH, PATH, or - for a tar on standard input; DIR/. for what is in a directory; an image
    #[arg(allow_hyphen_values = true)]
    pub(crate) source: String,
    /// Where to: CONTAINER:PATH, PATH, or - for a tar on standard output; REGISTRY/IMAGE
    #[arg(allow_hyphen_values = true)]
    pub(crate) destination: String,
}

/// `kiln diff`
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The container, to show what it has changed; or the older one of two images
    pub(crate) name: String,
    /// The newer image
    pub(crate) newer: Option<String>,
    /// Of two images: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
}

/// `kiln export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The container
    pub(crate) container: String,
}

/// `kiln commit`
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// Author
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) author: Option<String>,
    /// Dockerfile instruction to apply to the configuration, as for kiln import
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub(crate) changes: Vec<String>,
    /// Comment of the history entry
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Whether it stands still meanwhile, if it runs and can be paused
    #[arg(
        short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub(crate) pause: Option<bool>,
    /// Let it run on meanwhile
    #[arg(long, conflicts_with = "pause")]
    pub(crate) no_pause: bool,
    /// The container
    pub(crate) container: String,
    /// The image's name
    pub(crate) name: Option<String>,
}
