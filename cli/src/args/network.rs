//! The network options of a container: Docker's.

use clap::Args;

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
    /// Publish all ports that the image exposes
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Name server
    #[arg(long, value_name = "IP")]
    pub(crate) dns: Vec<String>,
    /// Domain to search names in; . for none
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
}
