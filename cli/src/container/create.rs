//! Making a container of an image: everything that is decided once, written down.

use std::collections::BTreeMap;

use kiln_cache::{Draft, ImageRecord, OverlayXattrs, Store, View};
use kiln_core::Healthcheck;
use kiln_executor::Ground;
use kiln_executor::sandbox::Tree;
use kiln_executor::spec::ProcessRequest;

use super::config::{Config, Health, ImageOf, LogOptions, Restart};
use super::directory::{Container, Containers};
use super::mounts::Mounts;
use super::network::ContainerNetwork;
use super::volume::{Fresh, Volumes};
use super::{fill, id, process, roots, signal};
use crate::args::RunArgs;
use crate::environment::{now, rfc3339};
use crate::error::CommandError;
use crate::request::{UsageError, limits, pairs};
use crate::wiring::Services;

/// A container that was made, and is removed again unless it is kept.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) containers: Containers,
    pub(crate) container: Container,
    pub(crate) config: Config,
    /// Its root, where nothing can be mounted; it goes with this process.
    _plain: Option<Ground>,
}

/// Makes the container that `args` describe of `image`. `lasting`: whether it outlives this process.
///
/// # Errors
/// A flag that cannot be understood, a name in use; then nothing is left.
pub(crate) fn create(
    args: &RunArgs,
    image: &ImageRecord,
    services: &Services,
    lasting: bool,
) -> Result<Made, CommandError> {
    let view = services.store.layers().view(&image.snapshot)?;
    let mut request = process::request(args, image, &services.environment)?;
    let wanted = args.user.as_deref().unwrap_or(&image.config.config.user);
    // Those of devices.
    let groups = std::mem::take(&mut request.user.groups);
    request.user =
        kiln_executor::user(&view, wanted).map_err(|error| CommandError::Usage(error.to_string()))?;
    request.user.groups.extend(groups);
    for group in &args.group_add {
        let group =
            kiln_executor::group(&view, group).map_err(|error| CommandError::Usage(error.to_string()))?;
        request.user.groups.push(group);
    }
    let containers = Containers::of(services.store.root());
    let volumes = Volumes::beside(&containers);
    let container = containers.make()?;
    let mut fresh = Fresh::new(&volumes);
    let made = furnish(args, image, services, (&container, &mut fresh), request, &view);
    let made = made.and_then(|(config, plain)| {
        if lasting {
            let mut kept = image.snapshot.clone();
            // A tall image is mounted as fewer layers, which stay too.
            kept.layers.extend(services.store.stack(&image.snapshot)?.iter().map(|layer| layer.id));
            services.store.index().set_root(&roots::name(&container.id), &kept)?;
        }
        containers.claim(&container, args.keep.name.as_deref())?;
        container.write_config(&config)?;
        Ok((config, plain))
    });
    match made {
        Ok((config, plain)) => {
            fresh.keep();
            Ok(Made { containers, container, config, _plain: plain })
        }
        Err(error) => {
            // The error tells more than what might go wrong here.
            let _ = container.remove(&containers);
            if lasting {
                let _ = services.store.index().remove_root(&roots::name(&container.id));
            }
            Err(error)
        }
    }
}

impl Made {
    /// Takes it away again: it could not be started.
    pub(crate) fn discard(&self, store: &Store) {
        let _ = super::removal::remove(&self.containers, &self.container, &self.config);
        let _ = store.index().remove_root(&roots::name(&self.container.id));
    }
}

fn furnish(
    args: &RunArgs,
    image: &ImageRecord,
    services: &Services,
    (container, fresh): (&Container, &mut Fresh<'_>),
    mut request: ProcessRequest,
    view: &View,
) -> Result<(Config, Option<Ground>), CommandError> {
    if args.hostname.is_none() {
        id::short(&container.id).clone_into(&mut request.hostname);
    }
    let layers = services.store.layers();
    let mut plain = None;
    if layers.xattrs() == OverlayXattrs::Plain {
        let on = (request.cwd.as_str(), &request.user);
        plain = Some(Ground::new(&services.store, &image.snapshot, on, None)?);
    } else {
        let draft: Draft = layers.draft_in(container.path.clone())?;
        draft.take_root_from(&image.snapshot)?;
        kiln_executor::make_directory(&draft, view, &request.cwd, &request.user)?;
    }
    let stack = services.store.stack(&image.snapshot)?;
    let plain_root = match plain.as_ref().map(Ground::tree) {
        Some(Tree::Directory(path)) => Some(path),
        _ => None,
    };
    let runtime = args.runtime.as_deref().map(|name| services.oci_runtime(name)).transpose()?;
    let image_config = &image.config.config;
    let mut mounts = Mounts::of(args, image_config.volumes.keys().cloned(), fresh)?;
    for other in &args.keep.volumes_from {
        let (name, option) = other.split_once(':').unwrap_or((other, "rw"));
        if !["ro", "rw", "z", "Z"].contains(&option) {
            return Err(
                UsageError::value("volumes-from", other, "expected CONTAINER, or CONTAINER:ro").into()
            );
        }
        let from = Containers::of(services.store.root()).find(name)?.config()?;
        mounts.take_from(&from.mounts, option == "ro");
    }
    for (data, path) in &mounts.fill {
        fill::from_image(view, path, data)?;
    }
    let mut labels = image_config.labels.clone();
    labels.extend(label_pairs(args, services)?);
    let stop_signal = args.keep.stop_signal.as_deref().unwrap_or(&image_config.stop_signal);
    let origin = image.origin.as_ref().map(|origin| origin.config.to_string());
    let networking = ContainerNetwork::new(args, image, services)?;
    let config = Config {
        plain_root,
        id: container.id.clone(),
        created: rfc3339(now()),
        image: ImageOf {
            name: args.image.clone(),
            id: origin.unwrap_or_else(|| image.id().to_string()),
            snapshot: image.snapshot.clone(),
            platform: image.config.platform().to_string(),
            config: image_config.clone(),
        },
        lowers: stack.iter().map(|layer| layer.tree().to_owned()).collect(),
        runtime: runtime.map(|runtime| runtime.program().to_owned()),
        user: args.user.clone().unwrap_or_else(|| image_config.user.clone()),
        process: request,
        grafts: mounts.grafts,
        mounts: mounts.points,
        open_stdin: args.interactive,
        stdin_once: args.interactive && !args.keep.detach,
        auto_remove: args.rm,
        log: log_options(args)?,
        restart: restart(args)?,
        stop_signal: match stop_signal {
            "" => signal::TERM,
            name => signal::number(name)
                .ok_or_else(|| UsageError::value("stop-signal", name, "no signal is called so"))?,
        },
        stop_timeout: args.keep.stop_timeout.unwrap_or(10),
        health: health(args, image_config.healthcheck.as_ref())?,
        labels,
        exposed: super::network::exposed(args, image)?.into_iter().collect(),
        network: networking.mode(&args.network.network),
        networking,
    };
    Ok((config, plain))
}

fn label_pairs(args: &RunArgs, services: &Services) -> Result<BTreeMap<String, String>, CommandError> {
    let mut labels = BTreeMap::new();
    for file in &args.keep.label_files {
        labels.extend(pairs::file(file, &services.environment)?);
    }
    for text in &args.keep.labels {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

fn restart(args: &RunArgs) -> Result<Restart, CommandError> {
    let text = args.keep.restart.as_deref().unwrap_or("no");
    let wrong = |why| CommandError::from(UsageError::value("restart", text, why));
    let policy =
        Restart::parse(text).ok_or_else(|| wrong("expected no, on-failure[:n], always or unless-stopped"))?;
    if args.rm && policy != Restart::No {
        return Err(CommandError::Usage(
            "conflicting options: cannot specify both --restart and --rm".into(),
        ));
    }
    Ok(policy)
}

fn log_options(args: &RunArgs) -> Result<LogOptions, CommandError> {
    let mut options = LogOptions::default();
    match args.keep.log_driver.as_deref() {
        None | Some("" | "json-file" | "local" | "k8s-file") => {}
        Some("none") => options.keep = false,
        Some(other) => {
            return Err(UsageError::value("log-driver", other, "expected json-file or none").into());
        }
    }
    for text in &args.keep.log_opts {
        match text.split_once('=') {
            Some(("max-size", value)) => options.max_size = limits::bytes("log-opt", value)?,
            Some(("max-file", value)) => {
                let number = value.parse().ok().filter(|&number| number > 0);
                options.max_file =
                    number.ok_or_else(|| UsageError::value("log-opt", text, "expected a number above 0"))?;
            }
            Some(("mode" | "max-buffer-size" | "labels" | "env" | "tag" | "compress", _)) => {}
            _ => return Err(UsageError::value("log-opt", text, "expected max-size=… or max-file=…").into()),
        }
    }
    Ok(options)
}

/// The image's health check with the flags over it, and Docker's defaults under both.
fn health(args: &RunArgs, image: Option<&Healthcheck>) -> Result<Option<Health>, CommandError> {
    let keep = &args.keep;
    let flags =
        [&keep.health_interval, &keep.health_timeout, &keep.health_start_period, &keep.health_start_interval];
    let is_changed =
        keep.health_cmd.is_some() || keep.health_retries.is_some() || flags.iter().any(|f| f.is_some());
    if keep.no_healthcheck {
        if is_changed {
            return Err(CommandError::Usage("--no-healthcheck conflicts with --health-* options".into()));
        }
        return Ok(None);
    }
    let shell = |command: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()];
    let command = match (keep.health_cmd.as_deref(), image.map(|image| image.test.as_slice())) {
        (Some("none"), _) => return Ok(None),
        (Some(command), _) => shell(command),
        (None, Some([kind, words @ ..])) if kind == "CMD" && !words.is_empty() => words.to_vec(),
        (None, Some([kind, command])) if kind == "CMD-SHELL" => shell(command),
        _ => return Ok(None),
    };
    let time = |flag: &Option<String>, image: i64, default: u64| -> Result<u64, CommandError> {
        match flag {
            Some(text) => {
                let time = humantime::parse_duration(text)
                    .map_err(|_| UsageError::value("health", text, "expected a time such as 30s"))?;
                Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1))
            }
            None if image > 0 => Ok(image.unsigned_abs() / 1_000_000),
            None => Ok(default),
        }
    };
    let of_image = |field: fn(&Healthcheck) -> i64| image.map_or(0, field);
    let retries = keep.health_retries.unwrap_or(0);
    let retries = if retries > 0 { retries } else { u32::try_from(of_image(|i| i.retries)).unwrap_or(0) };
    Ok(Some(Health {
        command,
        interval: time(&keep.health_interval, of_image(|i| i.interval), 30_000)?,
        timeout: time(&keep.health_timeout, of_image(|i| i.timeout), 30_000)?,
        start_period: time(&keep.health_start_period, of_image(|i| i.start_period), 0)?,
        start_interval: time(&keep.health_start_interval, of_image(|i| i.start_interval), 5_000)?,
        retries: if retries > 0 { retries } else { 3 },
    }))
}
