//! Whether overlayfs can stack the layers of a store.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};

/// linux/magic.h
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

/// What is in the way, and what would help.
pub(super) fn problem(store: &Path) -> Option<String> {
    match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => {}
        Err(Errno::NODEV) => {
            return Some("the kernel has no overlayfs (`modprobe overlay` as root loads it)".to_owned());
        }
        Err(Errno::PERM) => {
            return Some("overlayfs in a user namespace is refused: it needs Linux 5.11".to_owned());
        }
        Err(error) => return Some(format!("open overlayfs: {}", io::Error::from(error))),
    }
    // The store may not be there yet.
    let place = store.ancestors().find_map(|path| rustix::fs::statfs(path).ok());
    let on_overlay = place.is_some_and(|stat| stat.f_type == OVERLAYFS);
    on_overlay.then(|| {
        format!(
            "the store is on an overlayfs itself: give {} a volume (`-v kiln:{}`, or an emptyDir)",
            store.display(),
            store.display()
        )
    })
}
