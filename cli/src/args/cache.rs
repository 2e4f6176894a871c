//! `kiln cache`

use clap::{Args, Subcommand};

/// `kiln cache`
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Write results of steps and cache mounts where another machine can fetch them: only what is not there yet
    Export {
        #[command(flatten)]
        cache: CacheArgs,
    },
    /// Bring them into this store: cache mounts that are here already stay as they are
    Import {
        #[command(flatten)]
        cache: CacheArgs,
        /// Put imported cache mounts in the place of those that are here
        #[arg(long)]
        replace: bool,
    },
}

/// What both need.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// A directory, a file that ends with .tar, a repository, or type=… as in --cache-to
    #[arg(value_name = "DIR|FILE.tar|REPOSITORY")]
    pub(crate) place: String,
    /// Only cache mounts
    #[arg(long, conflicts_with = "results")]
    pub(crate) mounts: bool,
    /// Only results of steps
    #[arg(long)]
    pub(crate) results: bool,
    /// Only the cache mount of this id; may be repeated
    #[arg(long = "id", value_name = "ID", conflicts_with = "results")]
    pub(crate) ids: Vec<String>,
}
