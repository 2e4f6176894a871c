//! `kiln version`

use serde_json::json;

use super::{CommandError, print};
use crate::args::FormatArgs;
use crate::template;

/// Prints the version.
///
/// # Errors
/// If the format cannot be understood.
pub(crate) fn version(args: &FormatArgs) -> Result<(), CommandError> {
    let (version, platform) = (env!("CARGO_PKG_VERSION"), kiln_core::Platform::host());
    if args.format == "text" {
        return print(&format!("kiln {version} {platform}\n"));
    }
    // Docker's client and its daemon are one program here.
    let part = json!({ "Version": version, "Os": platform.os, "Arch": platform.architecture });
    let value = json!({
        "Version": version, "Platform": platform.to_string(), "Client": part, "Server": part,
    });
    print(&template::list(&args.format, &[], &[value])?)
}
