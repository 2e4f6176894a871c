//! The image of a new container: of the store, or pulled.

use std::sync::Arc;

use kiln_cache::ImageRecord;
use kiln_core::{Platform, Progress, Reference, Silent};

use crate::args::RunArgs;
use crate::error::CommandError;
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
