//! Making what a command stored outlast a power cut, and collecting garbage, without the command waiting for either.
//!
//! Rows of the store's index count in the boot that wrote them; after the next one only if they were synced before
//! (`Store::sync`). A sync takes as long as the disk does, so another process does it, which nobody waits for. If it is
//! killed too, the worst is that the next boot builds again. Then it collects garbage, if it is time (`collect`).

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use kiln_cache::{OverlayXattrs, Store, StoreOptions};

use crate::environment::{Environment, boot_id, now};
use crate::error::CommandError;

/// The word on the command line of the process that syncs.
pub(crate) const WORD: &str = "sync-store";
/// Tells that process whose attributes the layers have.
const XATTRS: &str = "KILN_SYNC_XATTRS";

/// Starts the process that syncs, if something was written since the last sync.
pub(crate) fn sync_soon(store: &Store) {
    if !store.has_unsynced() {
        return;
    }
    let xattrs = match store.xattrs() {
        OverlayXattrs::User => "user",
        OverlayXattrs::Recorded => "recorded",
        OverlayXattrs::Trusted => "trusted",
        OverlayXattrs::Plain => "plain",
    };
    let mut command = Command::new("/proc/self/exe");
    command.arg(WORD).env("KILN_ROOT", store.root()).env(XATTRS, xattrs).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Without it the results of this command count until the machine starts again.
    drop(command.spawn());
}

/// Syncs the store that the environment names and collects garbage: what the process that was started does.
///
/// # Errors
/// If the store cannot be opened, synced or changed.
pub(crate) fn sync(environment: &Environment) -> Result<(), CommandError> {
    let xattrs = match environment.get(XATTRS) {
        Some("user") => OverlayXattrs::User,
        Some("plain") => OverlayXattrs::Plain,
        Some("recorded") => OverlayXattrs::Recorded,
        _ => OverlayXattrs::Trusted,
    };
    let root = environment.store_root(None);
    let store = Store::open(StoreOptions { root, xattrs, boot_id: boot_id(), clock: now })?;
    store.sync()?;
    crate::collect::collect_if_due(&store, environment)?;
    // What the collection wrote was on the disk when it returned: this keeps the log short.
    Ok(store.sync()?)
}
