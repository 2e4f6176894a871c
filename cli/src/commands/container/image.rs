//! The image of a new container: of the store, pulled, or out of an archive or OCI layout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_cache::ImageRecord;
use kiln_core::{Platform, Progress, Reference, Silent};

use kiln_executor::source::Layout;

use crate::args::RunArgs;
use crate::contexts::layout_name;
use crate::error::CommandError;
use crate::loading::{Loaded, store_from_layout};
use crate::local;
use crate::progress::{ProgressMode, Reporter};
use crate::pulling::PullPolicy;
use crate::request::UsageError;
use crate::wiring::Services;

/// Finds the image of `args`, and pulls it if it is missing or that was asked for.
///
/// # Errors
/// If there is none.
pub(crate) fn find_or_pull(args: &RunArgs, services: &Services) -> Result<ImageRecord, CommandError> {
    let image = choose(args, services)?;
    let (host, its) = (Platform::host(), image.config.platform());
    if args.platform.is_none() && !host.runs(&its) && !args.quiet {
        eprintln!(
            "warning: the image's platform is {its}, this machine's {host}, and no --platform was given"
        );
    }
    Ok(image)
}

fn choose(args: &RunArgs, services: &Services) -> Result<ImageRecord, CommandError> {
    let platform = args.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    if let Some(place) = Place::of(&args.image)? {
        return take(&place, &platform.unwrap_or_else(Platform::host), args, services);
    }
    let fits =
        |image: &ImageRecord| platform.as_ref().is_none_or(|platform| *platform == image.config.platform());
    let policy: PullPolicy =
        args.pull.parse().map_err(|problem: String| UsageError::value("pull", &args.pull, &problem))?;
    let mut stored = None;
    if policy != PullPolicy::Always {
        match local::find(&services.store, &args.image) {
            Ok(image) if fits(&image.record) && policy == PullPolicy::Newer => stored = Some(image.record),
            Ok(image) if fits(&image.record) => return Ok(image.record),
            Ok(_) => {}
            Err(local::LocalError::Missing(_)) if policy != PullPolicy::Never => {}
            Err(error) => return Err(error.into()),
        }
    }
    if policy == PullPolicy::Never {
        return Err(local::LocalError::Missing(args.image.clone()).into());
    }
    let name: Reference = args.image.parse()?;
    let mode = if args.quiet { ProgressMode::Quiet } else { ProgressMode::Auto };
    let reporter = Arc::new(Reporter::start(mode, &services.environment, "Pulling"));
    let progress: Arc<dyn Progress> = if args.quiet { Arc::new(Silent) } else { Arc::clone(&reporter) as _ };
    // Only now: a container of an image that is there needs no threads.
    let runtime = services.runtime()?;
    let pulled = runtime.block_on(services.pull(&name, &platform.unwrap_or_else(Platform::host), &progress));
    reporter.close();
    match (pulled, stored) {
        (Err(CommandError::Registry(error)), Some(image)) if error.is_unreachable() => Ok(image),
        (pulled, _) => pulled,
    }
}

/// Where an image lies that comes from no registry.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// `oci-layout://PATH[:TAG]`: the directory and the tag or digest.
    Layout(PathBuf, String),
    /// `docker-archive:FILE[:NAME]`, `oci-archive:FILE[:TAG]` as podman has them, or a path, which no name of an image looks
    /// like.
    Archive(PathBuf, Option<String>),
}

impl Place {
    /// `None` for what is the name of an image.
    fn of(image: &str) -> Result<Option<Self>, CommandError> {
        if let Some(layout) = image.strip_prefix("oci-layout://") {
            let name = layout_name(layout)?;
            return Ok(Some(Self::Layout(name.path.into(), name.reference)));
        }
        let archive = ["docker-archive:", "oci-archive:"].iter().find_map(|kind| image.strip_prefix(kind));
        if let Some(archive) = archive {
            return Ok(Some(match archive.split_once(':') {
                Some((path, name)) if !Path::new(archive).exists() => {
                    Self::Archive(path.into(), Some(name.to_owned()))
                }
                _ => Self::Archive(archive.into(), None),
            }));
        }
        let is_path = ["/", "./", "../"].iter().any(|start| image.starts_with(start));
        Ok(is_path.then(|| Self::Archive(image.into(), None)))
    }
}

fn take(
    place: &Place,
    platform: &Platform,
    args: &RunArgs,
    services: &Services,
) -> Result<ImageRecord, CommandError> {
    let mode = if args.quiet { ProgressMode::Quiet } else { ProgressMode::Auto };
    let reporter = Arc::new(Reporter::start(mode, &services.environment, "Loading"));
    let progress: Arc<dyn Progress> = Arc::clone(&reporter) as _;
    let taken = match place {
        Place::Layout(directory, reference) => {
            let layout = Layout { directory: directory.clone() };
            let taking = store_from_layout(&layout, reference, platform, services, &progress);
            services.runtime()?.block_on(taking)
        }
        Place::Archive(path, name) => Loaded::open(path, services).and_then(|loaded| {
            services.runtime()?.block_on(loaded.store_one(name.as_deref(), platform, services, &progress))
        }),
    };
    reporter.close();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_no_name() {
        let archive =
            |path: &str, name: Option<&str>| Some(Place::Archive(path.into(), name.map(str::to_owned)));
        for (image, place) in [
            ("busybox", None),
            ("busybox:1.36", None),
            ("localhost:5000/a/b@sha256:1", None),
            ("app.tar", None),
            ("./app.tar", archive("./app.tar", None)),
            ("/tmp/no-such/app.tar", archive("/tmp/no-such/app.tar", None)),
            ("docker-archive:app.tar", archive("app.tar", None)),
            ("docker-archive:app.tar:busybox:1", archive("app.tar", Some("busybox:1"))),
            ("oci-archive:/no/such.tar:v1", archive("/no/such.tar", Some("v1"))),
        ] {
            assert_eq!(Place::of(image).unwrap(), place, "{image}");
        }
        assert!(Place::of("oci-layout:///no/such/directory").is_err());
    }
}
