//! `kiln pull`

use std::sync::Arc;

use kiln_core::{Platform, Progress, Reference};

use super::{CommandError, Services, print};
use crate::args::PullArgs;
use crate::progress::{ProgressMode, Reporter};

/// Downloads an image into the store.
///
/// # Errors
/// If there is none, or it cannot be fetched.
pub(crate) fn pull(args: &PullArgs, services: &Services) -> Result<(), CommandError> {
    let name: Reference = args.image.parse()?;
    let platform = args.platform.as_deref().map(str::parse).transpose()?.unwrap_or_else(Platform::host);
    let mode = if args.quiet { ProgressMode::Quiet } else { args.progress };
    let reporter = Arc::new(Reporter::start(mode, &services.environment, "Pulling"));
    let progress: Arc<dyn Progress> = Arc::clone(&reporter) as _;
    let pulled = services.runtime()?.block_on(services.pull(&name, &platform, &progress));
    reporter.close();
    let record = pulled?;
    if !args.quiet
        && let Some(origin) = &record.origin
    {
        eprintln!("Digest: {}", origin.manifest);
    }
    print(&format!("{name}\n"))
}
