//! `kiln diff`, `kiln export` and `kiln commit`: what a container has changed.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;

use kiln_cache::{ImageRecord, Kind};
use kiln_core::{Empty, History, ImageConfig, Platform, Reference};
use kiln_exporter::write_rootfs_tar;

use super::print;
use crate::args::{CommitArgs, DiffArgs, ExportArgs};
use crate::commands::{compare, import};
use crate::container::client::Client;
use crate::container::config::Config;
use crate::container::copy::changes;
use crate::container::directory::{Container, Containers};
use crate::container::protocol::Ask;
use crate::container::signal;
use crate::container::state::Status;
use crate::environment::{now, now_seconds, rfc3339};
use crate::error::CommandError;
use crate::local;
use crate::stored::StoreTree;
use crate::wiring::Services;

/// Prints what was added (A), changed (C) and deleted (D).
///
/// # Errors
/// If there is no such container.
pub(crate) fn diff(
    args: &DiffArgs,
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    if let Some(newer) = &args.newer {
        compare::images(&args.name, newer, &args.format, services)?;
        return Ok(ExitCode::SUCCESS);
    }
    let container = containers.find(&args.name)?;
    let config = container.config()?;
    let layer = changes::layer(&container, &config, services)?;
    let below = services.store.layers().view(&config.image.snapshot)?;
    let mut text = String::new();
    for entry in layer.manifest.entries().iter().filter(|entry| !entry.path.as_os_str().is_empty()) {
        let letter = match (&entry.kind, below.lookup(&entry.path)) {
            (Kind::Whiteout, _) => 'D',
            (_, Some(_)) => 'C',
            (_, None) => 'A',
        };
        text.push_str(&format!("{letter} /{}\n", entry.path.display()));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a container's files as a tar.
///
/// # Errors
/// If there is no such container, or the tar cannot be written.
pub(crate) fn export(
    args: &ExportArgs,
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        let problem = "cowardly refusing to save to a terminal: use the -o flag or redirect";
        return Err(CommandError::Usage(problem.to_owned()));
    }
    let container = containers.find(&args.container)?;
    let config = container.config()?;
    let layer = changes::layer(&container, &config, services)?;
    let tree = StoreTree::new(services.store.layers().view(&config.image.snapshot.with(layer.id))?);
    match &args.output {
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            write_rootfs_tar(&mut out, &tree, None)?;
            out.flush().map_err(CommandError::Output)?;
        }
        Some(path) => {
            let failed =
                |cause| CommandError::File { verb: "write", what: "archive", path: path.clone(), cause };
            let mut out = BufWriter::new(File::create(path).map_err(failed)?);
            write_rootfs_tar(&mut out, &tree, None)?;
            out.flush().map_err(failed)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes an image of a container: its image with one layer more.
///
/// # Errors
/// If there is no such container, or a change is no instruction.
pub(crate) fn commit(
    args: &CommitArgs,
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    let name = args.name.as_deref().map(str::parse::<Reference>).transpose()?;
    let container = containers.find(&args.container)?;
    let config = container.config()?;
    let mut image = image_of(&config, services)?;
    image.config = config.image.config.clone();
    as_started(&config, &mut image);
    for change in &args.changes {
        import::apply(change, &mut image.config)?;
    }
    let still = hold_still(args, &container)?;
    let layer = changes::layer(&container, &config, services);
    drop(still);
    let layer = layer?;
    let created = rfc3339(now());
    image.created = Some(created.clone());
    if let Some(author) = &args.author {
        image.author.clone_from(author);
    }
    // Of the layers below alone; they are computed with the new one.
    image.rootfs.diff_ids.clear();
    image.history.push(History {
        created: Some(created),
        created_by: config.process.args.join(" "),
        author: args.author.clone().unwrap_or_default(),
        comment: args.message.clone().unwrap_or_default(),
        ..History::default()
    });
    let snapshot = config.image.snapshot.with(layer.id);
    let record = ImageRecord { config: image, snapshot, origin: None, created: now_seconds() };
    services.store.index().set_image(name.as_ref(), &record)?;
    print(&format!("{}\n", local::image_id(&services.store, &record)?))?;
    Ok(ExitCode::SUCCESS)
}

/// Lets a container go on when it is dropped.
struct Still(Client);

impl Drop for Still {
    fn drop(&mut self) {
        // It may have ended meanwhile.
        let _ = self.0.call(&Ask::Pause(false));
    }
}

/// Pauses a container that runs, as Docker does it for a commit. Where it cannot be (an ordinary user's without control
/// groups), that is an error only if it was asked for.
fn hold_still(args: &CommitArgs, container: &Container) -> Result<Option<Still>, CommandError> {
    let wanted = args.pause.unwrap_or(!args.no_pause);
    if !wanted || container.state()?.status != Status::Running {
        return Ok(None);
    }
    let paused = Client::connect(container).and_then(|client| {
        client.call(&Ask::Pause(true))?;
        Ok(Still(client))
    });
    match paused {
        Err(error) if args.pause.is_some() => Err(error.into()),
        paused => Ok(paused.ok()),
    }
}

/// The document of the container's image; if it was removed, one that says as much as the container does.
fn image_of(config: &Config, services: &Services) -> Result<ImageConfig, CommandError> {
    let images = services.store.index().images()?;
    let found = images.into_iter().find(|image| image.record.snapshot == config.image.snapshot);
    match found {
        Some(found) => Ok(found.record.config),
        None => {
            let mut image = ImageConfig::for_platform(&config.image.platform.parse::<Platform>()?);
            image.history.resize_with(config.image.snapshot.layers.len(), History::default);
            Ok(image)
        }
    }
}

/// What the container was started with is what containers of the new image start with.
fn as_started(config: &Config, image: &mut ImageConfig) {
    let (process, to) = (&config.process, &mut image.config);
    to.env.clone_from(&process.env);
    to.labels.clone_from(&config.labels);
    to.user.clone_from(&config.user);
    to.exposed_ports = config.exposed.iter().map(|port| (port.clone(), Empty {})).collect();
    let volumes = config.mounts.iter().filter(|mount| mount.anonymous);
    to.volumes.extend(volumes.map(|mount| (mount.target.clone(), Empty {})));
    if config.stop_signal != signal::TERM || !to.stop_signal.is_empty() {
        to.stop_signal = signal::name(config.stop_signal);
    }
    if process.cwd != "/" {
        to.working_dir.clone_from(&process.cwd);
    }
    match &to.entrypoint {
        Some(entrypoint) if !entrypoint.is_empty() && process.args.starts_with(entrypoint) => {
            to.cmd = Some(process.args[entrypoint.len()..].to_vec()).filter(|words| !words.is_empty());
        }
        _ => {
            to.entrypoint = None;
            to.cmd = Some(process.args.clone());
        }
    }
}
