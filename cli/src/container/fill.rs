//! A new volume begins with what its image has at that place, as Docker does it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use kiln_cache::{Kind, Links, View};

use crate::error::CommandError;

/// Copies the directory `path` of an image into `to`, owner and mode of the directory itself too.
///
/// # Errors
/// If the store cannot be read or the volume not written.
pub(crate) fn from_image(view: &View, path: &str, to: &Path) -> Result<(), CommandError> {
    let Ok(resolved) = view.resolve(Path::new(path.trim_start_matches('/')), Links::Followed) else {
        return Ok(());
    };
    let Some(found) = resolved.found.filter(|found| matches!(found.entry().kind, Kind::Dir)) else {
        return Ok(());
    };
    let base: PathBuf = found.entry().path.clone();
    let failed = |cause| CommandError::File { verb: "fill", what: "volume", path: to.to_owned(), cause };
    dress(to, &found.entry().attributes).map_err(failed)?;
    for found in view.walk(&base) {
        let entry = found.entry();
        let Ok(relative) = entry.path.strip_prefix(&base) else { continue };
        if relative.as_os_str().is_empty() {
            continue;
        }
        let place = to.join(relative);
        let target = found.target();
        match &target.kind {
            Kind::Dir => fs::create_dir(&place).map_err(failed)?,
            Kind::File(_) => {
                let mut from = view.open(&found)?;
                let mut file = fs::File::create_new(&place).map_err(failed)?;
                io::copy(&mut from, &mut file).map_err(failed)?;
            }
            Kind::Symlink { target } => symlink(target, &place).map_err(failed)?,
            // Devices and FIFOs in a volume's place are nobody's wish.
            _ => continue,
        }
        dress(&place, &target.attributes).map_err(failed)?;
    }
    Ok(())
}

fn dress(path: &Path, attributes: &kiln_cache::Attributes) -> io::Result<()> {
    lchown(path, Some(attributes.uid), Some(attributes.gid))?;
    if !fs::symlink_metadata(path)?.is_symlink() {
        fs::set_permissions(path, fs::Permissions::from_mode(attributes.mode))?;
    }
    let time = rustix::fs::Timespec {
        tv_sec: attributes.mtime.seconds,
        tv_nsec: i64::from(attributes.mtime.nanoseconds),
    };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}
