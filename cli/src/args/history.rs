//! The options of `kiln history`: docker history's and docker buildx history's.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `kiln history`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct HistoryArgs {
    /// What to do with past builds
    #[command(subcommand)]
    pub(crate) command: Option<HistoryCommand>,
    /// An image, to show how it was made, or the id of a build; past builds are listed without
    pub(crate) image: Option<String>,
    /// Print instructions in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print ids alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print sizes and ages for people, not bytes and times
    #[arg(
        short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set
    )]
    pub(crate) human: bool,
    /// table, json, or a template: {{.CreatedBy}}
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
}

/// `kiln history …`
#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// List past builds
    #[command(visible_alias = "list")]
    Ls {
        /// Only what fits, status=completed|error|canceled, name=PART
        #[arg(long, value_name = "FILTER")]
        filter: Vec<String>,
        /// Print ids alone
        #[arg(short, long)]
        quiet: bool,
        /// table or json
        #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
        format: String,
    },
    /// Show the steps of a build with their times
    Inspect {
        /// The build's id or its beginning [default: the last build]
        build: Option<String>,
        /// text or json
        #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
        format: String,
    },
    /// Print all that the steps of a build wrote
    Logs {
        /// The build's id or its beginning [default: the last build]
        build: Option<String>,
        /// plain or rawjson
        #[arg(long, value_name = "FORMAT", default_value = "plain", hide_default_value = true)]
        progress: String,
    },
    /// Write a build as a page with its stages and its timeline
    Timeline {
        /// The build's id or its beginning [default: the last build]
        build: Option<String>,
        /// Write to a file instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a build as JSON, with all that it told
    Export {
        /// The build's id or its beginning [default: the last build]
        build: Option<String>,
        /// Write to a file instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Forget builds
    Rm {
        /// Their ids
        #[arg(required_unless_present = "all")]
        builds: Vec<String>,
        /// All of them
        #[arg(short, long)]
        all: bool,
    },
}
