//! `kiln info`

use kiln_executor::isolation::Rung;
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
    let stacking = match &services.isolation {
        Ok(isolation) => isolation.cannot_stack(services.store.root()),
        Err(_) => None,
    };
    let shares = matches!(&services.isolation, Ok(isolation) if isolation.rung == Rung::Chroot);
    if format == Format::Json {
        let skipped: Vec<_> =
            skipped.iter().map(|s| json!({ "Rung": s.rung.to_string(), "Reason": s.reason })).collect();
        let value = json!({
            "Version": env!("CARGO_PKG_VERSION"), "Platform": kiln_core::Platform::host().to_string(),
            "Kernel": kernel, "Root": root, "Isolation": rung, "Skipped": skipped,
            "SharesNamespaces": shares, "Snapshots": if stacking.is_none() { "overlay" } else { "plain" },
        });
        return print(&format!("{value}\n"));
    }
    let mut text = format!(
        "version:   {}\nplatform:  {}\nkernel:    {kernel}\nstore:     {root}\nisolation: {rung}\n",
        env!("CARGO_PKG_VERSION"),
        kiln_core::Platform::host()
    );
    if shares {
        text.push_str("  steps share this container's processes, network and host name\n");
    }
    for skipped in skipped {
        text.push_str(&format!("  not {}: {}\n", skipped.rung, skipped.reason));
    }
    match stacking {
        None => text.push_str("snapshots: overlayfs\n"),
        Some(reason) => text.push_str(&format!("snapshots: plain directories\n  not overlayfs: {reason}\n")),
    }
    print(&text)
}
