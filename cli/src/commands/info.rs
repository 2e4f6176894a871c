//! `kiln info`

use serde_json::json;

use super::{CommandError, Format, Services, print};
use crate::args::FormatArgs;

/// Prints where the store is, how steps are shut in, and why not better.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn info(args: &FormatArgs, services: &Services) -> Result<(), CommandError> {
    let format = Format::parse(&args.format, &[Format::Text, Format::Json])?;
    let root = services.store.root().display().to_string();
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    let (rung, skipped) = match &services.isolation {
        Ok(isolation) => (isolation.rung.to_string(), isolation.skipped.clone()),
        Err(error) => (format!("none: {error}"), Vec::new()),
    };
    if format == Format::Json {
        let skipped: Vec<_> =
            skipped.iter().map(|s| json!({ "Rung": s.rung.to_string(), "Reason": s.reason })).collect();
        let value = json!({
            "Version": env!("CARGO_PKG_VERSION"), "Platform": kiln_core::Platform::host().to_string(),
            "Kernel": kernel, "Root": root, "Isolation": rung, "Skipped": skipped,
        });
        return print(&format!("{value}\n"));
    }
    let mut text = format!(
        "version:   {}\nplatform:  {}\nkernel:    {kernel}\nstore:     {root}\nisolation: {rung}\n",
        env!("CARGO_PKG_VERSION"),
        kiln_core::Platform::host()
    );
    for skipped in skipped {
        text.push_str(&format!("  not {}: {}\n", skipped.rung, skipped.reason));
    }
    print(&text)
}
