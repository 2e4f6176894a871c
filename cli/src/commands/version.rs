//! `kiln version`

use serde_json::json;

use super::{CommandError, Format, print};
use crate::args::FormatArgs;

/// Prints the version.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn version(args: &FormatArgs) -> Result<(), CommandError> {
    let version = env!("CARGO_PKG_VERSION");
    match Format::parse(&args.format, &[Format::Text, Format::Json])? {
        Format::Json => print(&format!(
            "{}\n",
            json!({ "Version": version, "Platform": kiln_core::Platform::host().to_string() })
        )),
        Format::Text | Format::Table => print(&format!("kiln {version} {}\n", kiln_core::Platform::host())),
    }
}
