//! `kiln load`: every image of an archive or OCI layout.

use std::sync::Arc;

use kiln_core::Progress;

use super::{CommandError, Services, print};
use crate::args::LoadArgs;
use crate::loading::Loaded;
use crate::progress::{ProgressMode, Reporter};

/// Reads an archive into the store: every image of it, under its names.
///
/// # Errors
/// If it is no archive of images, or an image in it is not what its digests say.
pub(crate) fn load(args: &LoadArgs, services: &Services) -> Result<(), CommandError> {
    let loaded = match &args.input {
        Some(path) => Loaded::open(path, services)?,
        None => Loaded::read(std::io::stdin(), services)?,
    };
    let mode = if args.quiet { ProgressMode::Quiet } else { ProgressMode::Auto };
    let reporter = Arc::new(Reporter::start(mode, &services.environment, "Loading"));
    let progress: Arc<dyn Progress> = Arc::clone(&reporter) as _;
    let stored = services.runtime()?.block_on(loaded.store(services, &progress));
    reporter.close();
    let mut text = String::new();
    for name in stored? {
        text.push_str(&format!("Loaded image: {name}\n"));
    }
    print(&text)
}
