//! The commands about containers, a file a family.

mod attach;
mod changes;
mod cp;
mod exec;
mod image;
mod inspect;
mod list;
mod logs;
mod pause;
mod port;
mod remove;
mod run;
mod start;
mod stats;
mod stop;

use std::process::ExitCode;

pub(crate) use inspect::inspect;
pub(crate) use remove::{prune, remove_idle};

use super::{CommandError, print};
use crate::args::{ContainerCommand, NamesArgs, RenameArgs, TopArgs};
use crate::container::client::Client;
use crate::container::directory::{Container, Containers};
use crate::container::error::ContainerError;
use crate::container::protocol::{Answer, Ask};
use crate::container::state::State;
use crate::environment::Environment;
use crate::wiring::Services;

/// Performs what needs neither the store nor an isolation; `None` for the rest.
///
/// # Errors
/// Why it could not be done.
pub(crate) fn perform_lightly(
    command: &ContainerCommand,
    containers: &Containers,
    environment: &Environment,
) -> Option<Result<ExitCode, CommandError>> {
    Some(match command {
        ContainerCommand::Stop(args) => stop::stop(args, containers),
        ContainerCommand::Kill(args) => stop::kill(args, containers),
        ContainerCommand::Ps(args) => list::list(args, containers),
        ContainerCommand::Exec(args) => exec::exec(args, containers, environment),
        ContainerCommand::Logs(args) => logs::logs(args, containers),
        ContainerCommand::Attach(args) => attach::attach(args, containers),
        ContainerCommand::Wait(args) => wait(args, containers),
        ContainerCommand::Top(args) => top(args, containers),
        ContainerCommand::Rename(args) => rename(args, containers),
        ContainerCommand::Port(args) => port::port(args, containers),
        ContainerCommand::Stats(args) => stats::stats(args, containers),
        ContainerCommand::Pause(args) => pause::pause(args, true, containers),
        ContainerCommand::Unpause(args) => pause::pause(args, false, containers),
        ContainerCommand::Run(_)
        | ContainerCommand::Create(_)
        | ContainerCommand::Start(_)
        | ContainerCommand::Restart(_)
        | ContainerCommand::Cp(_)
        | ContainerCommand::Diff(_)
        | ContainerCommand::Export(_)
        | ContainerCommand::Commit(_)
        | ContainerCommand::Rm(_) => return None,
    })
}

/// Performs the rest.
///
/// # Errors
/// Why it could not be done.
pub(crate) fn perform(command: &ContainerCommand, services: &Services) -> Result<ExitCode, CommandError> {
    let containers = Containers::of(services.store.root());
    match command {
        ContainerCommand::Run(args) => run::run(args, services),
        ContainerCommand::Create(args) => run::create(args, services),
        ContainerCommand::Start(args) => start::start(args, services, &containers),
        ContainerCommand::Restart(args) => start::restart(args, services, &containers),
        ContainerCommand::Rm(args) => remove::remove(args, services, &containers),
        ContainerCommand::Cp(args) => cp::cp(args, services, &containers),
        ContainerCommand::Diff(args) => changes::diff(args, services, &containers),
        ContainerCommand::Export(args) => changes::export(args, services, &containers),
        ContainerCommand::Commit(args) => changes::commit(args, services, &containers),
        // The others were performed before the store was opened.
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Does something with each container that is named, prints what that gives, and goes on after an error: Docker's way.
pub(crate) fn each(
    names: &[String],
    containers: &Containers,
    mut work: impl FnMut(&Container, &str) -> Result<String, CommandError>,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        let done = containers.find(name).map_err(CommandError::from).and_then(|found| work(&found, name));
        match done {
            Ok(text) => print(&format!("{text}\n"))?,
            Err(error) => {
                eprint!("{}", error.report(false));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// A container that runs, and how.
pub(crate) fn running(containers: &Containers, name: &str) -> Result<(Container, State), ContainerError> {
    let container = containers.find(name)?;
    let state = container.state()?;
    if state.status.is_active() {
        Ok((container, state))
    } else {
        Err(ContainerError::NotRunning(name.to_owned()))
    }
}

fn wait(args: &NamesArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    each(&args.containers, containers, |container, _| {
        let code = match Client::connect(container).and_then(|client| client.until_exit(&Ask::Wait)) {
            Ok(code) => code,
            // It has ended before, or just now.
            Err(ContainerError::NotRunning(_) | ContainerError::Supervisor { .. }) => {
                container.state()?.exit_code
            }
            Err(error) => return Err(error.into()),
        };
        Ok(code.to_string())
    })
}

fn top(args: &TopArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    let (container, _) = running(containers, &args.container)?;
    if let (Answer::Text(text), _) = Client::connect(&container)?.call(&Ask::Top)? {
        print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rename(args: &RenameArgs, containers: &Containers) -> Result<ExitCode, CommandError> {
    let container = containers.find(&args.container)?;
    if container.name() == args.name.trim_start_matches('/') {
        return Err(CommandError::Usage(
            "renaming a container with the same name as its current name".into(),
        ));
    }
    containers.rename(&container, &args.name)?;
    Ok(ExitCode::SUCCESS)
}
