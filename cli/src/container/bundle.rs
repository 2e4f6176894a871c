//! From what is written down of a container to what a sandbox is started from.

use std::fs;
use std::io;

use kiln_executor::sandbox::{Bundle, Content, Graft, GraftSource, SandboxError, Tree, Writable};
use kiln_executor::spec::{ProcessRequest, SpecError, specification};

use super::config::Config;
use super::directory::{Container, remove_tree};

/// The bundle of a container that starts now; `process` is its process, joined to its network.
pub(crate) fn bundle(
    container: &Container,
    config: &Config,
    process: &ProcessRequest,
) -> Result<Bundle, SandboxError> {
    let (spec, mut grafts, profile) = specification(process).map_err(|error| match error {
        SpecError::Default(error) => error,
        other => SandboxError::Spec(other.to_string()),
    })?;
    // Docker's containers have it, and RUN steps do not.
    let hostname =
        Content { data: format!("{}\n", process.hostname).into_bytes(), uid: 0, gid: 0, mode: 0o644 };
    let source = GraftSource::Content(hostname);
    grafts.push(Graft { target: "/etc/hostname".to_owned(), source, read_only: true });
    grafts.extend(config.grafts.iter().cloned());
    // A volume at /etc hides none of the files above; one of the user's own in a file's place does.
    grafts.sort_by_key(|graft| graft.target.split('/').filter(|part| !part.is_empty()).count());
    Ok(Bundle { spec, root: root(container, config)?, grafts, profile })
}

/// The image's layers and the container's own over them.
pub(crate) fn root(container: &Container, config: &Config) -> Result<Tree, SandboxError> {
    if let Some(root) = &config.plain_root {
        return Ok(Tree::Directory(root.clone()));
    }
    let upper = Writable { upper: container.path.join("layer/tree"), work: container.path.join("work") };
    // overlayfs refuses the work directory of a mount before, for that one was not synced ("volatile").
    let renewed = match fs::read_dir(&upper.work).map(|mut entries| entries.next().is_some()) {
        Ok(false) => Ok(()),
        Ok(true) => remove_tree(&upper.work).and_then(|()| fs::create_dir(&upper.work)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&upper.work),
        Err(error) => Err(error),
    };
    let operation = || format!("renew {}", upper.work.display());
    renewed.map_err(|cause| SandboxError::Setup { operation: operation(), cause })?;
    Ok(Tree::Overlay { lowers: config.lowers.clone(), upper: Some(upper) })
}
