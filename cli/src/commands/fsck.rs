//! `kiln fsck`

use std::process::ExitCode;

use super::{CommandError, Services, print};
use crate::args::FsckArgs;
use crate::report;

/// Compares the whole store with what its names and manifests say.
///
/// # Errors
/// If the store cannot be read at all.
pub(crate) fn fsck(args: &FsckArgs, services: &Services) -> Result<ExitCode, CommandError> {
    let checked = services.store.fsck(args.repair)?;
    let mut text = String::new();
    for damaged in &checked.damaged {
        text.push_str(&format!("{} {}\n", damaged.what, report::chain(&damaged.damage)));
    }
    for image in &checked.images {
        text.push_str(&format!("image {image} has lost a layer\n"));
    }
    let end = match (checked.damaged.is_empty(), checked.repaired) {
        (true, _) => "all is well",
        (false, true) => "what was damaged is gone: the next build makes it again",
        (false, false) => "run `kiln fsck --repair` to drop what is damaged",
    };
    text.push_str(&format!("{} blobs and {} layers checked: {end}\n", checked.blobs, checked.layers));
    print(&text)?;
    Ok(if checked.damaged.is_empty() || checked.repaired { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
