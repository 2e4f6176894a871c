//! `kiln volume`: Docker's options.

use clap::Subcommand;

/// `kiln volume`
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Make a volume
    Create {
        /// Its name; one is made up without
        name: Option<String>,
        /// Label, K=V
        #[arg(long = "label", value_name = "K=V")]
        labels: Vec<String>,
        /// Accepted for Docker's sake: local
        #[arg(short, long, default_value = "local", hide = true)]
        driver: String,
        /// Option of a directory of the host: type=none, o=bind[,ro], device=DIR
        #[arg(short, long = "opt", value_name = "K=V")]
        options: Vec<String>,
    },
    /// List volumes
    #[command(visible_alias = "list")]
    Ls {
        /// Print names alone
        #[arg(short, long)]
        quiet: bool,
        /// Only what fits: name=TEXT, label=K[=V], dangling=true|false, driver=local
        #[arg(short, long, value_name = "FILTER")]
        filter: Vec<String>,
        /// table, json, or a template: {{.Name}}
        #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
        format: String,
    },
    /// Show volumes
    Inspect {
        /// The volumes
        #[arg(required = true)]
        names: Vec<String>,
        /// json, or a template: {{.Mountpoint}}
        #[arg(short, long, value_name = "FORMAT", default_value = "json", hide_default_value = true)]
        format: String,
    },
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm {
        /// The volumes
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not complain of volumes that do not exist
        #[arg(short, long)]
        force: bool,
    },
    /// Remove volumes that no container uses
    Prune {
        /// Those with a name too
        #[arg(short, long)]
        all: bool,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
        /// Only what fits: label=K[=V], label!=K[=V]
        #[arg(long, value_name = "FILTER")]
        filter: Vec<String>,
    },
}
