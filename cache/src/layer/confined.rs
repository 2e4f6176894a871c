//! Work that writes below one directory alone, by the kernel's word (Landlock): what an archive from outside might talk the
//! unpacker into, beyond its own checks, ends here.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, PathFdError, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
};

/// Does `work` on a thread of its own that reaches no file by name but below `directory`. Where the kernel cannot see to that,
/// `work` is done all the same.
///
/// `work` must not be the first to use rayon: the pool's threads would be confined for good.
pub(super) fn confined<T: Send>(directory: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // No Landlock in the kernel, or a filter that refuses it: the unpacker's own checks hold without.
            let _ = confine(directory);
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Takes all else from this thread.
fn confine(directory: &Path) -> Result<RestrictionStatus, ConfineError> {
    // Before its second version (Linux 5.19) Landlock refuses every link between directories.
    let needed = AccessFs::from_all(ABI::V2);
    let directory = PathFd::new(directory)?;
    Ok(Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(needed)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::Truncate)?
        .create()?
        .add_rule(PathBeneath::new(directory, needed | AccessFs::Truncate))?
        .restrict_self()?)
}

/// Why a thread is not confined.
#[derive(Debug, thiserror::Error)]
enum ConfineError {
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    #[error(transparent)]
    Path(#[from] PathFdError),
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_kernel_refuses_what_leads_out_of_the_directory() {
        let outside = tempfile::tempdir().unwrap();
        let layer = outside.path().join("layer");
        fs::create_dir_all(layer.join("sub")).unwrap();
        fs::write(outside.path().join("file"), "theirs").unwrap();
        symlink(outside.path(), layer.join("link")).unwrap();
        let applied = std::thread::scope(|scope| scope.spawn(|| confine(&layer).is_ok()).join().unwrap());
        if !applied {
            eprintln!("skipped: this kernel has no Landlock of version 2");
            return;
        }
        let is_refused = |result: std::io::Result<()>| {
            let kind = result.map_err(|error| error.kind());
            assert!(matches!(kind, Err(ErrorKind::PermissionDenied | ErrorKind::CrossesDevices)), "{kind:?}");
        };
        confined(&layer, || {
            is_refused(fs::write(outside.path().join("new"), ""));
            is_refused(fs::write(outside.path().join("file"), "ours"));
            is_refused(fs::write(layer.join("link/new"), ""));
            is_refused(fs::remove_file(layer.join("../file")));
            is_refused(fs::create_dir(outside.path().join("directory")));
            is_refused(fs::read_to_string(outside.path().join("file")).map(drop));
            is_refused(fs::hard_link(outside.path().join("file"), layer.join("stolen")));
            is_refused(fs::rename(layer.join("sub"), outside.path().join("sub")));
            fs::write(layer.join("sub/file"), "inside").unwrap();
            fs::hard_link(layer.join("sub/file"), layer.join("same")).unwrap();
            fs::rename(layer.join("same"), layer.join("sub/other")).unwrap();
        });
        assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "theirs");
        // The others are as they were.
        fs::write(outside.path().join("new"), "").unwrap();
    }
}
