//! The lowest rung: root in a container whose engine allows neither mounts nor namespaces.

use crate::sandbox::capability::{self, CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SYS_CHROOT};

/// What laying out an image's files, entering them and becoming their users takes.
const NEEDED: u64 = SYS_CHROOT | CHOWN | DAC_OVERRIDE | FOWNER | SETUID | SETGID;

/// Whether steps can be run by chroot alone.
pub(super) fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root: run the container as user 0".to_owned());
    }
    let have = rustix::thread::capabilities(None).map_err(|error| format!("read capabilities: {error}"))?;
    let missing = capability::names(NEEDED & !have.effective.bits());
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|name| format!("CAP_{name}")).collect();
    Err(format!("needs {}, which the container engine gives by default", names.join(", ")))
}
