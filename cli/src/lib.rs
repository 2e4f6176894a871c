//! The kiln command: arguments as typed, the request as meant, the wiring of the crates, progress and errors for people.
//!
//! `build.rs` reads like the picture in ARCHITECTURE.md: parse, plan, resolve, lower, solve, assemble, export. Each
//! command is a file in `commands/`.
//!
//! **Invariant:** the only crate that prints, reads the environment and asks the clock.

mod annotations;
mod args;
mod attest;
mod build;
mod call;
mod collect;
mod commands;
mod container;
mod contexts;
mod durable;
mod engine;
mod environment;
mod error;
mod explain;
mod history;
mod imagetools;
mod loading;
mod local;
mod look;
mod mend;
mod networks;
mod output;
mod outputs;
mod pack;
mod progress;
mod pulling;
mod pushed;
mod remote;
mod remote_cache;
mod report;
mod request;
mod resolver;
mod source;
mod stamp;
mod stored;
mod table;
mod template;
mod terminal;
mod uplink;
mod wiring;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, ContainerCommand};
use crate::container::error::ContainerError;
use crate::environment::Environment;
use crate::error::CommandError;

/// Does what the command line says. No thread runs before the command has entered its isolation.
pub fn main() -> ExitCode {
    if let Some(code) = container::supervisor::from_command_line() {
        return code;
    }
    let environment = Environment::of_process();
    let cli = match Cli::try_parse() {
        Ok(cli) => Cli { command: cli.command.without_group(), ..cli },
        Err(error) => {
            // A reader that has gone is no reason to complain.
            let _ = error.print();
            return if error.use_stderr() { usage_code() } else { ExitCode::SUCCESS };
        }
    };
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let color = !environment.no_color() && environment::stderr_is_terminal();
    let is_run =
        matches!(&cli.command, Command::Containers(ContainerCommand::Run(_) | ContainerCommand::Create(_)));
    match commands::perform(&cli, environment) {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", error.report(color));
            // `docker run` gives 125 for its own failures: 1 may be the container's.
            let is_told = matches!(error, CommandError::Container(ContainerError::Refused { .. }));
            if is_run && !is_told { ExitCode::from(125) } else { error.exit_code() }
        }
    }
}

/// The exit code of a command line that cannot be understood: 125 for `kiln run`, as Docker has it.
fn usage_code() -> ExitCode {
    let is_run =
        std::env::args().skip(1).find(|word| !word.starts_with('-')).is_some_and(|word| word == "run");
    if is_run { ExitCode::from(125) } else { ExitCode::FAILURE }
}
