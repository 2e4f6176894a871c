//! The commands, one file each, and what they share: the store, the ways out, the error.

mod build;
mod builder;
mod cache;
mod compare;
mod container;
mod debug;
mod du;
mod fsck;
mod history;
mod image;
mod images;
mod imagetools;
mod import;
mod info;
mod inspect;
mod load;
mod login;
mod network;
mod past;
mod prune;
mod pull;
mod push;
mod rmi;
mod save;
mod system;
mod tag;
mod version;
mod volume;

use std::io::Write;
use std::process::ExitCode;

use kiln_cache::{ImageRecord, Store};
use kiln_core::LayerId;

use crate::args::{Cli, Command, DebugCommand, Lazy};
use crate::container::directory::Containers;
use crate::environment::Environment;
pub(crate) use crate::error::CommandError;
use crate::wiring::Services;

/// Performs a command line.
///
/// # Errors
/// Why it could not be done, for people.
pub(crate) fn perform(cli: &Cli, environment: Environment) -> Result<ExitCode, CommandError> {
    let done = |result: Result<(), CommandError>| result.map(|()| ExitCode::SUCCESS);
    let mut beside = None;
    // What needs no store does not make one.
    match &cli.command {
        Command::Version(args) => return done(version::version(args)),
        Command::Builder(command) => return done(builder::builder(command, cli, &environment)),
        Command::Login(args) => return done(login::login(args, &environment)),
        Command::Logout(args) => return done(login::logout(args, &environment)),
        Command::SyncStore => return done(crate::durable::sync(&environment)),
        Command::Network(command) => return done(network::network(command, cli, &environment)),
        Command::NetworkHub { name } => return done(network::hub(name, cli, &environment)),
        Command::Debug(command)
            if !matches!(&**command, DebugCommand::Graph { .. } | DebugCommand::Shell { .. }) =>
        {
            return done(debug::debug(command, &environment));
        }
        _ => {}
    }
    if let Command::Containers(command) = &cli.command {
        let root = environment.store_root(cli.root.as_deref());
        let root = std::path::absolute(&root).unwrap_or(root);
        // Who has one id alone has a store of another kind, in a place of its own.
        let single = root.join("single-id");
        let is_single = !root.join("kind").exists() && single.join("kind").exists();
        let containers = Containers::of(if is_single { &single } else { &root });
        if let Some(performed) = container::perform_lightly(command, &containers, &environment) {
            return performed;
        }
        beside = crate::container::sharing::beside(command, &containers);
    }
    let mut services = Services::open(cli, environment, beside)?;
    let mut performed = perform_in(cli, &services);
    if performed.as_ref().is_err_and(crate::mend::is_damaged_index) {
        services.reopen()?;
        performed = perform_in(cli, &services);
    }
    crate::durable::sync_soon(&services.store);
    performed
}

fn perform_in(cli: &Cli, services: &Services) -> Result<ExitCode, CommandError> {
    let done = |result: Result<(), CommandError>| result.map(|()| ExitCode::SUCCESS);
    match &cli.command {
        Command::Build(args) => build::build(args, services),
        Command::Containers(command) => container::perform(command, services),
        Command::PruneContainers(args) => done(container::prune(args, services)),
        Command::PruneImages(args) => done(image::prune(args, services)),
        Command::PruneSystem(args) => done(system::prune(args, services)),
        Command::Volume(command) => volume::volume(command, services),
        Command::Cache(command) => done(cache::cache(command, services)),
        Command::Pull(args) => done(pull::pull(args, services)),
        Command::Push(args) => done(push::push(args, services)),
        Command::Images(args) => done(images::images(args, services)),
        Command::Imagetools(command) => done(imagetools::imagetools(command, services)),
        Command::Tag(args) => done(tag::tag(args, services)),
        Command::Rmi(args) => done(rmi::rmi(args, services)),
        Command::Inspect(args) => done(inspect::inspect(args, services)),
        Command::History(args) => done(history::history(args, services)),
        Command::Save(args) => done(save::save(args, services)),
        Command::Load(args) => done(load::load(args, services)),
        Command::Import(args) => done(import::import(args, services)),
        Command::Prune(args) => done(prune::prune(args, services)),
        Command::Du(args) => done(du::du(args, services)),
        Command::Fsck(args) => fsck::fsck(args, services),
        Command::Info(args) => done(info::info(args, services)),
        Command::Debug(Lazy(DebugCommand::Graph { format, build })) => {
            done(debug::graph(format, build, services))
        }
        Command::Debug(Lazy(DebugCommand::Shell { step, build })) => {
            done(debug::shell(step, build, services))
        }
        Command::Version(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::SyncStore
        | Command::Network(_)
        | Command::NetworkHub { .. }
        | Command::Builder(_)
        | Command::Debug(_) => Ok(ExitCode::SUCCESS),
        Command::Container(_) | Command::Image(_) | Command::Buildx(_) | Command::System(_) => {
            unreachable!("a command is taken out of its group where it is parsed")
        }
    }
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Text,
    Json,
}

impl Format {
    /// Understands `text` as one of `offered`; Docker's `{{json .}}` is JSON.
    pub(crate) fn parse(text: &str, offered: &[Format]) -> Result<Self, CommandError> {
        let format = match text {
            "json" | "{{json .}}" => Some(Self::Json),
            "table" => Some(Self::Table),
            "text" => Some(Self::Text),
            _ => None,
        };
        format.filter(|format| offered.contains(format)).ok_or_else(|| {
            let names: Vec<&str> = offered
                .iter()
                .map(|format| match format {
                    Self::Table => "table",
                    Self::Text => "text",
                    Self::Json => "json",
                })
                .collect();
            CommandError::Usage(format!("unknown --format `{text}`: expected {}", names.join(" or ")))
        })
    }
}

/// Writes to standard output. A reader that has gone (`kiln images | head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => Err(CommandError::Output(cause)),
        _ => Ok(()),
    }
}

/// The bytes of a layer's files.
pub(crate) fn layer_size(store: &Store, layer: &LayerId) -> Result<u64, CommandError> {
    Ok(store.layers().get(layer)?.manifest.size())
}

/// The bytes of an image's files, layer by layer.
pub(crate) fn image_size(store: &Store, record: &ImageRecord) -> Result<u64, CommandError> {
    record.snapshot.layers.iter().map(|layer| layer_size(store, layer)).sum()
}

/// An RFC 3339 time in seconds since 1970.
pub(crate) fn seconds(time: Option<&str>) -> Option<i64> {
    let time = humantime::parse_rfc3339_weak(time?).ok()?;
    let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}
