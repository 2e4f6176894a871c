//! `kiln info`

use kiln_executor::isolation::Rung;
use serde_json::json;

use super::{CommandError, Services, print};
use crate::args::FormatArgs;
use crate::template;

/// Prints where the store is, how steps are shut in, and why not better.
///
/// # Errors
/// If the format cannot be understood.
pub(crate) fn info(args: &FormatArgs, services: &Services) -> Result<(), CommandError> {
    let root = services.store.root().display().to_string();
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let (rung, skipped) = match &services.isolation {
        Ok(isolation) => (isolation.rung.to_string(), isolation.skipped.clone()),
        Err(error) => (format!("none: {error}"), Vec::new()),
    };
    let stacking = match &services.isolation {
        Ok(isolation) => isolation.cannot_stack(services.store.root()),
        Err(_) => None,
    };
    let shares = matches!(&services.isolation, Ok(isolation) if isolation.rung == Rung::Chroot);
    if args.format != "text" {
        let skipped: Vec<_> =
            skipped.iter().map(|s| json!({ "Rung": s.rung.to_string(), "Reason": s.reason })).collect();
        let value = json!({
            "Version": env!("CARGO_PKG_VERSION"), "Platform": kiln_core::Platform::host().to_string(),
            "Kernel": kernel, "Root": root, "Isolation": rung, "Skipped": skipped,
            "SharesNamespaces": shares, "Snapshots": if stacking.is_none() { "overlay" } else { "plain" },
            // As Docker calls the same.
            "ServerVersion": env!("CARGO_PKG_VERSION"), "OSType": "linux", "Architecture": uname.machine().to_string_lossy(),
            "KernelVersion": kernel, "DockerRootDir": root,
            "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        });
        return print(&template::list(&args.format, &[], &[value])?);
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
