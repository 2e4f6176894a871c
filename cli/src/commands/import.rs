//! `kiln import`

use std::fs::File;
use std::io::{BufReader, Read};

use kiln_cache::{Decompressor, ImageRecord, Limits};
use kiln_core::{ContainerConfig, Empty, History, ImageConfig, Platform, Reference, Snapshot};

use super::{CommandError, Services, print};
use crate::args::ImportArgs;
use crate::environment::{now, now_seconds, rfc3339};
use crate::local;

/// Makes an image of one layer of a root file system in a tar archive.
///
/// # Errors
/// If the archive cannot be read, or a change is no instruction.
pub(crate) fn import(args: &ImportArgs, services: &Services) -> Result<(), CommandError> {
    let name = args.name.as_deref().map(str::parse::<Reference>).transpose()?;
    let platform = args.platform.as_deref().map(str::parse).transpose()?.unwrap_or_else(Platform::host);
    let mut config = ImageConfig::for_platform(&platform);
    for change in &args.changes {
        apply(change, &mut config.config)?;
    }
    let input: Box<dyn Read + Send> = if args.file == "-" {
        Box::new(std::io::stdin())
    } else {
        let fail = |cause| CommandError::File {
            verb: "open",
            what: "archive",
            path: args.file.clone().into(),
            cause,
        };
        Box::new(File::open(&args.file).map_err(fail)?)
    };
    let tar = Decompressor::detect(BufReader::with_capacity(1 << 20, input)).map_err(CommandError::Input)?;
    let unpacked = services.store.layers().unpack(tar, Limits::default())?;
    let layer = unpacked.commit(&Snapshot::scratch())?;
    let created = rfc3339(now());
    config.created = Some(created.clone());
    config.history.push(History {
        created: Some(created),
        created_by: String::new(),
        comment: args.message.clone().unwrap_or_else(|| format!("Imported from {}", args.file)),
        ..History::default()
    });
    let snapshot = Snapshot::scratch().with(layer.id);
    let record = ImageRecord { config, snapshot, origin: None, created: now_seconds() };
    services.store.index().set_image(name.as_ref(), &record)?;
    print(&format!("{}\n", local::image_id(&services.store, &record)?))
}

/// Applies a Dockerfile instruction that changes the configuration alone.
pub(crate) fn apply(change: &str, config: &mut ContainerConfig) -> Result<(), CommandError> {
    let wrong = || {
        CommandError::Usage(format!(
            "invalid --change `{change}`: expected CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME or WORKDIR and its value"
        ))
    };
    let (instruction, value) = change.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
    let value = value.trim();
    let words = || -> Vec<String> {
        serde_json::from_str(value)
            .unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), value.to_owned()])
    };
    let pair = || value.split_once('=').or_else(|| value.split_once(' ')).ok_or_else(wrong);
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(words()),
        "ENTRYPOINT" => config.entrypoint = Some(words()),
        "ENV" => {
            let (name, value) = pair()?;
            config.set_variable(name, value.trim_matches('"'));
        }
        "LABEL" => {
            let (name, value) = pair()?;
            config.labels.insert(name.to_owned(), value.trim_matches('"').to_owned());
        }
        "EXPOSE" => {
            for port in value.split_whitespace() {
                let port = if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") };
                config.exposed_ports.insert(port, Empty {});
            }
        }
        "VOLUME" => {
            let paths: Vec<String> = serde_json::from_str(value)
                .unwrap_or_else(|_| value.split_whitespace().map(str::to_owned).collect());
            config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "USER" => value.clone_into(&mut config.user),
        "WORKDIR" => value.clone_into(&mut config.working_dir),
        _ => return Err(wrong()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_instructions() {
        let mut config = ContainerConfig::default();
        for change in
            ["CMD [\"sh\"]", "env A=b", "ENTRYPOINT run it", "EXPOSE 80 53/udp", "USER nobody", "WORKDIR /x"]
        {
            apply(change, &mut config).unwrap();
        }
        assert_eq!(config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env, ["A=b"]);
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert!(apply("RUN x", &mut ContainerConfig::default()).is_err());
        assert!(apply("ENV", &mut ContainerConfig::default()).is_err());
    }
}
