//! `kiln volume`

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::prune::{Reclaimed, confirmed};
use super::{CommandError, Services, print};
use crate::args::VolumeCommand;
use crate::container::directory::Containers;
use crate::container::volume::Volumes;
use crate::container::{self, id};
use crate::request::UsageError;
use crate::request::pairs::{self, has_label};
use crate::template;

/// Makes, lists, shows and removes volumes.
///
/// # Errors
/// If one does not exist or is in use, or a flag cannot be understood.
pub(crate) fn volume(command: &VolumeCommand, services: &Services) -> Result<ExitCode, CommandError> {
    let containers = Containers::of(services.store.root());
    let volumes = Volumes::beside(&containers);
    match command {
        VolumeCommand::Create { name, labels, driver, options } => {
            if driver != "local" {
                return Err(CommandError::Usage(format!("unknown volume driver `{driver}`: there is local")));
            }
            let options = container::volume::options(options)?;
            let (volume, _) = volumes.create(name.as_deref(), pairs::labels(labels), options)?;
            print(&format!("{}\n", volume.name))?;
            Ok(ExitCode::SUCCESS)
        }
        VolumeCommand::Ls { quiet, filter, format } => {
            list(&volumes, &users(&containers)?, *quiet, filter, format)?;
            Ok(ExitCode::SUCCESS)
        }
        VolumeCommand::Inspect { names, format } => inspect(&volumes, names, format),
        VolumeCommand::Rm { names, force } => remove(&volumes, &users(&containers)?, names, *force),
        VolumeCommand::Prune { all, force, filter } => {
            let what = if *all { "all volumes" } else { "all volumes without a name" };
            if !force && !confirmed(&format!("This removes {what} that no container uses."))? {
                return Ok(ExitCode::SUCCESS);
            }
            Reclaimed::tell(&[prune(&containers, *all, filter)?])?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The containers that use each volume, running or not.
fn users(containers: &Containers) -> Result<BTreeMap<String, BTreeSet<String>>, CommandError> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for container in containers.all()? {
        // One that is being removed just now uses nothing.
        let Ok(config) = container.config() else { continue };
        for mount in config.mounts.into_iter().filter(|mount| mount.kind == "volume") {
            users.entry(mount.name).or_default().insert(container.id.clone());
        }
    }
    Ok(users)
}

fn list(
    volumes: &Volumes,
    users: &BTreeMap<String, BTreeSet<String>>,
    quiet: bool,
    filters: &[String],
    format: &str,
) -> Result<(), CommandError> {
    let mut all = volumes.all()?;
    for text in filters {
        let wrong = |why: &str| CommandError::from(UsageError::value("filter", text, why));
        match text.split_once('=') {
            Some(("name", name)) => all.retain(|volume| volume.name.contains(name)),
            Some(("label", label)) => all.retain(|volume| has_label(&volume.labels, label)),
            Some(("driver", driver)) => all.retain(|_| driver == "local"),
            Some(("dangling", answer)) => {
                let dangling = match answer {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(wrong("expected true or false")),
                };
                all.retain(|volume| users.contains_key(&volume.name) != dangling);
            }
            _ => return Err(wrong("expected name=…, label=…, dangling=… or driver=…")),
        }
    }
    if quiet {
        return print(&all.iter().map(|volume| format!("{}\n", volume.name)).collect::<String>());
    }
    let rows: Vec<Value> = all
        .iter()
        .map(|volume| {
            let labels: Vec<String> = volume.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            json!({
                "Driver": "local", "Name": volume.name, "Labels": labels.join(","), "Scope": "local",
                "Mountpoint": volumes.data(&volume.name).display().to_string(),
            })
        })
        .collect();
    let columns = [("Driver", "DRIVER"), ("Name", "VOLUME NAME")];
    let text = template::list(format, &columns, &rows)?;
    print(&text)
}

fn inspect(volumes: &Volumes, names: &[String], format: &str) -> Result<ExitCode, CommandError> {
    let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for name in names {
        match volumes.find(name)? {
            Some(volume) => found.push(json!({
                "CreatedAt": volume.created, "Driver": "local", "Labels": volume.labels,
                "Mountpoint": volumes.data(&volume.name).display().to_string(), "Name": volume.name,
                "Options": volume.options, "Scope": "local",
            })),
            None => {
                eprintln!("error: no such volume: {name}");
                code = ExitCode::FAILURE;
            }
        }
    }
    // What was found is shown all the same, as Docker does it.
    let text = match format {
        "json" => format!("{}\n", serde_json::to_string_pretty(&found)?),
        _ => template::list(format, &[], &found)?,
    };
    print(&text)?;
    Ok(code)
}

fn remove(
    volumes: &Volumes,
    users: &BTreeMap<String, BTreeSet<String>>,
    names: &[String],
    force: bool,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        let problem = match (volumes.find(name)?, users.get(name)) {
            (None, _) if force => None,
            (None, _) => Some(format!("no such volume: {name}")),
            (Some(_), Some(users)) => {
                let users: Vec<&str> = users.iter().map(|user| id::short(user)).collect();
                Some(format!("remove {name}: volume is in use - [{}]", users.join(", ")))
            }
            (Some(_), None) => {
                volumes.remove(name)?;
                None
            }
        };
        match problem {
            None => print(&format!("{name}\n"))?,
            Some(problem) => {
                eprintln!("error: {problem}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Removes the volumes that no container uses: those without a name, or all of them.
///
/// # Errors
/// A filter that cannot be understood, or a volume that cannot be removed.
pub(crate) fn prune(
    containers: &Containers,
    all: bool,
    filters: &[String],
) -> Result<Reclaimed, CommandError> {
    let (volumes, users) = (Volumes::beside(containers), users(containers)?);
    let mut unused = volumes.all()?;
    unused.retain(|volume| !users.contains_key(&volume.name) && (all || volume.anonymous));
    for text in filters {
        match text.split_once('=') {
            Some(("label", label)) => unused.retain(|volume| has_label(&volume.labels, label)),
            Some(("label!", label)) => unused.retain(|volume| !has_label(&volume.labels, label)),
            Some(("all", "true" | "1")) => {}
            _ => return Err(UsageError::value("filter", text, "expected label=… or label!=…").into()),
        }
    }
    let mut bytes = 0;
    for volume in &unused {
        bytes += container::disk::bytes(&volumes.data(&volume.name));
        volumes.remove(&volume.name)?;
    }
    let gone = unused.into_iter().map(|volume| volume.name).collect();
    Ok(Reclaimed { head: "Deleted Volumes", gone, bytes })
}
