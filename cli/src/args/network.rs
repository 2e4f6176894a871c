//! The network options of a container: Docker's.

use clap::{Args, Subcommand};

/// The options of `kiln run` and `kiln create` that are about the network.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Network: host, none, private, container:NAME, or one of `kiln network`
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NETWORK",
        default_value = "default",
        hide_default_value = true
    )]
    pub(crate) network: String,
    /// Publish a port, [[IP:][HOST-PORT]:]PORT[/udp]
    #[arg(short, long, value_name = "PORTS")]
    pub(crate) publish: Vec<String>,
    /// Port that --publish-all publishes too, PORT[-PORT][/udp]
    #[arg(long, value_name = "PORT")]
    pub(crate) expose: Vec<String>,
    /// Publish all ports that the image exposes
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Further name in a network of `kiln network`
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
    /// Name server
    #[arg(long, value_name = "IP")]
    pub(crate) dns: Vec<String>,
    /// Domain to search names in; . for none
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
}

/// `kiln network`
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Make a network
    Create {
        /// Its name
        name: String,
        /// Its 256 addresses, as 10.1.2.0/24
        #[arg(long, value_name = "CIDR")]
        subnet: Option<String>,
        /// Label, K=V
        #[arg(long = "label", value_name = "K=V")]
        labels: Vec<String>,
        /// Accepted for Docker's sake: bridge
        #[arg(short, long, default_value = "bridge", hide = true)]
        driver: String,
    },
    /// List networks
    #[command(visible_alias = "list")]
    Ls {
        /// Print names alone
        #[arg(short, long)]
        quiet: bool,
        /// table or json
        #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
        format: String,
    },
    /// Remove networks without containers
    #[command(visible_alias = "remove")]
    Rm {
        /// The networks
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not complain of networks that do not exist
        #[arg(short, long)]
        force: bool,
    },
    /// Show networks and their containers
    Inspect {
        /// The networks
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove all networks without containers
    Prune {
        /// Accepted for Docker's sake: nothing is asked
        #[arg(short, long, hide = true)]
        force: bool,
    },
}
