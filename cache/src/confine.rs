//! Threads that the kernel lets reach no file by name but where they should (Landlock): what a context or an archive from outside
//! might talk kiln's own code into, beyond its own checks, ends here.
//!
//! Where the kernel has no Landlock (before Linux 5.19, in its second version), or a filter refuses it, the work is done all the
//! same: the checks of descriptor-relative paths hold without.
//!
//! Who writes a COPY is not confined: the kernel walks up from each of ten thousand new files, which made such a step a quarter
//! slower, and what is written there kiln has read itself.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, PathFdError,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
};

/// The first version that lets files be linked between directories.
const NEEDED: ABI = ABI::V2;

/// Does `work` on a thread that reaches nothing but what is below `directory`.
pub(crate) fn within<T: Send>(directory: &Path, work: impl FnOnce() -> T + Send) -> T {
    // The first use of rayon's own pool starts its threads, which inherit what the thread may do: not from this one.
    let _ = rayon::current_num_threads();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let _ = restrict_to(directory);
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Does `work`, in parallel where it uses rayon, on threads that read nothing but what is below `directory`, and write nothing.
pub fn reading_within<T: Send>(directory: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> T {
    let Ok(directory) = directory.try_clone_to_owned() else { return work() };
    let confined = move |_| {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let _ = restrict(AccessFs::from_all(NEEDED), &directory, read);
    };
    match rayon::ThreadPoolBuilder::new().start_handler(confined).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

fn restrict_to(directory: &Path) -> Result<RestrictionStatus, ConfineError> {
    let all = AccessFs::from_all(NEEDED);
    restrict(all, &PathFd::new(directory)?, all)
}

/// Takes what is in `handled` from this thread, but for what is `allowed` below `directory`.
fn restrict(
    handled: BitFlags<AccessFs>,
    directory: &impl AsFd,
    allowed: BitFlags<AccessFs>,
) -> Result<RestrictionStatus, ConfineError> {
    // Of the third version: without it, what is reached otherwise can still be cut short.
    let cut = AccessFs::Truncate;
    let allowed = if allowed.contains(AccessFs::WriteFile) { allowed | cut } else { allowed };
    Ok(Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(cut)?
        .create()?
        .add_rule(PathBeneath::new(directory.as_fd(), allowed))?
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
    use std::io::{self, ErrorKind};
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A directory `layer` beside a file that is not its; `None` where the kernel cannot confine.
    fn place() -> Option<(tempfile::TempDir, PathBuf)> {
        let outside = tempfile::tempdir().unwrap();
        let layer = outside.path().join("layer");
        fs::create_dir_all(layer.join("sub")).unwrap();
        fs::write(outside.path().join("file"), "theirs").unwrap();
        fs::write(layer.join("sub/file"), "inside").unwrap();
        symlink(outside.path(), layer.join("link")).unwrap();
        let applied = std::thread::scope(|scope| scope.spawn(|| restrict_to(&layer).is_ok()).join().unwrap());
        if !applied {
            eprintln!("skipped: this kernel has no Landlock of version 2");
        }
        applied.then_some((outside, layer))
    }

    fn refused(result: io::Result<()>) {
        let kind = result.map_err(|error| error.kind());
        assert!(matches!(kind, Err(ErrorKind::PermissionDenied | ErrorKind::CrossesDevices)), "{kind:?}");
    }

    /// What writes outside of the directory, by every way there is.
    fn leave(outside: &Path, layer: &Path) {
        refused(fs::write(outside.join("new"), ""));
        refused(fs::write(layer.join("link/new"), ""));
        refused(fs::remove_file(layer.join("../file")));
        refused(fs::create_dir(outside.join("directory")));
        refused(fs::hard_link(outside.join("file"), layer.join("stolen")));
    }

    #[test]
    fn the_kernel_refuses_what_leads_out_of_the_directory() {
        let Some((outside, layer)) = place() else { return };
        within(&layer, || {
            leave(outside.path(), &layer);
            refused(fs::write(outside.path().join("file"), "ours"));
            refused(fs::read_to_string(outside.path().join("file")).map(drop));
            refused(fs::rename(layer.join("sub"), outside.path().join("sub")));
            fs::hard_link(layer.join("sub/file"), layer.join("same")).unwrap();
            fs::rename(layer.join("same"), layer.join("sub/other")).unwrap();
        });
        assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "theirs");
        // The others are as they were.
        fs::write(outside.path().join("new"), "").unwrap();
    }

    #[test]
    fn a_reader_reads_its_directory_and_writes_nowhere() {
        use rayon::prelude::*;
        let Some((outside, layer)) = place() else { return };
        let root = fs::File::open(&layer).unwrap();
        reading_within(root.as_fd(), || {
            (0..16).into_par_iter().for_each(|_| {
                refused(fs::read_to_string(outside.path().join("file")).map(drop));
                refused(fs::read_dir(outside.path()).map(drop));
                refused(fs::write(layer.join("sub/file"), "changed"));
                assert_eq!(fs::read_to_string(layer.join("sub/file")).unwrap(), "inside");
                assert_eq!(fs::read_dir(&layer).unwrap().count(), 2);
            });
        });
        fs::write(layer.join("sub/file"), "changed").unwrap();
    }
}
