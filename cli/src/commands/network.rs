//! `kiln network`

use std::fmt::Write as _;

use kiln_executor::isolation::{IsolationRequest, enter};
use kiln_executor::network::{NetworkKind, NetworkRequest};
use serde_json::json;

use super::prune::Reclaimed;
use super::{CommandError, print};
use crate::args::{Cli, NetworkCommand};
use crate::container::network::networks_in;
use crate::environment::{Environment, now, rfc3339};
use crate::networks::{UserNetwork, UserNetworkError, UserNetworks};
use crate::request::pairs;
use crate::template;

/// Makes, lists, shows and removes user networks. Nothing is shut in for this, and no store is opened.
///
/// # Errors
/// If a network does not exist, exists already, or is in use.
pub(crate) fn network(
    command: &NetworkCommand,
    cli: &Cli,
    environment: &Environment,
) -> Result<(), CommandError> {
    let root = environment.store_root(cli.root.as_deref());
    let all = UserNetworks::of(&std::path::absolute(&root).unwrap_or(root));
    match command {
        NetworkCommand::Create { name, subnet, labels, driver } => {
            if driver != "bridge" {
                return Err(CommandError::Usage(format!(
                    "unknown network driver `{driver}`: there is bridge"
                )));
            }
            let made = all.create(name, subnet.as_deref(), (id()?, rfc3339(now())), pairs::labels(labels))?;
            print(&format!("{}\n", made.id))
        }
        NetworkCommand::Ls { quiet, format } => list(&all, *quiet, format),
        NetworkCommand::Rm { names, force } => remove(&all, names, *force),
        NetworkCommand::Inspect { names } => inspect(&all, names),
        NetworkCommand::Prune { force: _ } => {
            let gone = remove_unused(&all)?.gone;
            print(&gone.iter().map(|name| format!("{name}\n")).collect::<String>())
        }
    }
}

/// The process of a hub: holds the network until its last member has gone. It opens no store: it may have been started from
/// within a container's user namespace, whose root is not the store's.
///
/// # Errors
/// If the network cannot be made.
pub(crate) fn hub(name: &str, cli: &Cli, environment: &Environment) -> Result<(), CommandError> {
    // Not the terminal's of the container that needed it first.
    let _ = rustix::process::setsid();
    let isolation =
        enter(&IsolationRequest::default()).map_err(|error| CommandError::NoIsolation(error.to_string()))?;
    let request = UserNetworks::of(&environment.store_root(cli.root.as_deref())).hub(name)?;
    let request = NetworkRequest { kind: NetworkKind::Hub(request), ..NetworkRequest::default() };
    let network = networks_in(&isolation, isolation.rung, environment).start(&request)?;
    print("ready\n")?;
    network.wait();
    Ok(())
}

fn id() -> Result<String, CommandError> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|cause| CommandError::System { what: "draw a random number", cause: cause.into() })?;
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

fn list(all: &UserNetworks, quiet: bool, format: &str) -> Result<(), CommandError> {
    let networks = all.all()?;
    if quiet {
        return print(&networks.iter().map(|network| format!("{}\n", network.name)).collect::<String>());
    }
    let row = |network: &UserNetwork| {
        let labels: Vec<String> = network.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        json!({
            "ID": network.id.chars().take(12).collect::<String>(),
            "Name": network.name,
            "Driver": "bridge",
            "Scope": "local",
            "Subnet": format!("{}/24", network.subnet),
            "Members": all.members(network).len(),
            "Labels": labels.join(","),
            "CreatedAt": network.created,
        })
    };
    let rows: Vec<_> = networks.iter().map(row).collect();
    let columns = [
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Subnet", "SUBNET"),
        ("Members", "CONTAINERS"),
    ];
    print(&template::list(format, &columns, &rows)?)
}

fn described(all: &UserNetworks, network: &UserNetwork) -> serde_json::Value {
    let containers: Vec<_> = all
        .members(network)
        .into_iter()
        .map(|member| json!({ "Names": member.names, "IPv4Address": format!("{}/24", member.address) }))
        .collect();
    let gateway = std::net::Ipv4Addr::from(u32::from(network.subnet) + 1);
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Driver": "bridge",
        "IPAM": { "Config": [{ "Subnet": format!("{}/24", network.subnet), "Gateway": gateway }] },
        "Containers": containers,
        "Labels": network.labels,
    })
}

fn inspect(all: &UserNetworks, names: &[String]) -> Result<(), CommandError> {
    let found = names.iter().map(|name| all.find(name)).collect::<Result<Vec<_>, _>>()?;
    let described: Vec<_> = found.iter().map(|network| described(all, network)).collect();
    print(&format!("{}\n", serde_json::to_string_pretty(&described)?))
}

/// Removes the networks that no container is in.
///
/// # Errors
/// If one cannot be removed.
pub(super) fn remove_unused(all: &UserNetworks) -> Result<Reclaimed, CommandError> {
    let mut gone = Vec::new();
    for network in all.all()? {
        if !all.members(&network).is_empty() {
            continue;
        }
        match all.remove(&network.name) {
            Ok(()) => gone.push(network.name),
            // A container came into it meanwhile, or somebody else removed it.
            Err(UserNetworkError::InUse { .. } | UserNetworkError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Reclaimed { head: "Deleted Networks", gone, bytes: 0 })
}

/// Removes all that can be removed; the last failure is told.
fn remove(all: &UserNetworks, names: &[String], force: bool) -> Result<(), CommandError> {
    let mut failed = None;
    for name in names {
        match all.remove(name) {
            Ok(()) => print(&format!("{name}\n"))?,
            Err(UserNetworkError::Missing(_)) if force => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
