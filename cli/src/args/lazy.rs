//! Options that clap hears of when their command was typed, not before.
//!
//! Whoever starts kiln names one command of eighty. The options of all of them are thousands of allocations: without this they
//! are a sixth of the time that a small container takes to start.

use std::ops::Deref;

use clap::builder::Resettable;
use clap::error::Error;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

/// Arguments, or commands of a group, that are described when they are needed.
#[derive(Debug)]
pub(crate) struct Lazy<T>(pub(crate) T);

impl<T> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What the arguments' own type says of itself is no better than what the command says.
fn described(command: Command, describe: impl FnOnce(Command) -> Command) -> Command {
    let about = command.get_about().cloned();
    describe(command).about(about.map_or(Resettable::Reset, Resettable::Value))
}

fn with_args<T: Args>(command: Command) -> Command {
    described(command, T::augment_args)
}

fn with_subcommands<T: Subcommand>(command: Command) -> Command {
    described(command, T::augment_subcommands)
}

impl<T: Args> Args for Lazy<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(with_args::<T>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(with_args::<T>)
    }
}

impl<T: Subcommand> Subcommand for Lazy<T> {
    fn augment_subcommands(command: Command) -> Command {
        command.defer(with_subcommands::<T>)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command.defer(with_subcommands::<T>)
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}

impl<T: FromArgMatches> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}
