//! `kiln port`.

use std::process::ExitCode;

use super::print;
use crate::args::PortArgs;
use crate::container::directory::Containers;
use crate::container::ports;
use crate::error::CommandError;

/// Prints the addresses of the host that lead to a container's ports.
///
/// # Errors
/// If the port that was asked for is not published.
pub(crate) fn port(args: &PortArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    let container = containers.find(&args.container)?;
    let state = container.state()?;
    let published = ports::sorted(&state.network.published);
    let Some(wanted) = &args.port else {
        let lines =
            published.iter().map(|port| format!("{} -> {}\n", ports::inside(port), ports::address(port)));
        print(&lines.collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    };
    let full = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
    let is_port = full.split_once('/').is_some_and(|(number, protocol)| {
        number.parse::<u16>().is_ok() && ["tcp", "udp", "sctp"].contains(&protocol)
    });
    if !is_port {
        return Err(CommandError::Usage(format!("invalid port `{wanted}`: expected PORT[/tcp|/udp]")));
    }
    let found: Vec<_> = published.iter().filter(|port| ports::inside(port) == full).collect();
    if found.is_empty() {
        let problem = format!("no public port '{full}' published for {}", args.container);
        return Err(CommandError::Usage(problem));
    }
    print(&found.iter().map(|port| format!("{}\n", ports::address(port))).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}
