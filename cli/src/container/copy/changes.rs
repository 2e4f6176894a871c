//! What a container has changed, as a layer over its image: what `diff`, `export` and `commit` look at. A copy is taken,
//! because what a mount writes into must not be brought into a layer's form, and a program may still write.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_cache::{Layer, View};

use super::place::{Owner, Place, dress};
use super::root::Root;
use super::tree::LiveTree;
use crate::container::config::Config;
use crate::container::directory::Container;
use crate::container::state::State;
use crate::error::CommandError;
use crate::wiring::Services;

/// A container's changes.
///
/// # Errors
/// If its files are gone, or the store cannot be written.
pub(crate) fn layer(
    container: &Container,
    config: &Config,
    services: &Services,
) -> Result<Layer, CommandError> {
    if config.plain_root.is_some() {
        let problem = "its files went with the process that ran it: nothing can be mounted here";
        return Err(CommandError::Usage(format!("container {}: {problem}", container.name())));
    }
    let layers = services.store.layers();
    let view = layers.view(&config.image.snapshot)?;
    let stubs = stubs(&container.state()?, &view);
    let draft = layers.draft()?;
    let upper = container.path.join("layer/tree");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| CommandError::File { verb: "copy", what: "container's files", path, cause }
    };
    let (from, to) = (
        Root::open(&upper).map_err(failed(&upper))?,
        Root::open(draft.tree()).map_err(failed(draft.tree()))?,
    );
    let opened = |root: &Root| root.directory(Path::new("")).map_err(std::io::Error::from);
    let tree = LiveTree::whole(opened(&from).map_err(failed(&upper))?);
    Place::new(opened(&to).map_err(failed(draft.tree()))?, Owner::Same).take(&tree)?;
    dress(&opened(&to).map_err(failed(draft.tree()))?, &from).map_err(failed(draft.tree()))?;
    Ok(draft.commit_upper(&config.image.snapshot, &stubs)?)
}

/// The mount points that were made for a container that runs, with the directories above them.
fn stubs(state: &State, image: &View) -> Vec<PathBuf> {
    if state.pid == 0 {
        return Vec::new();
    }
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", state.pid)).unwrap_or_default();
    let mut stubs = BTreeSet::new();
    for target in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        let target = Path::new(target.trim_start_matches('/'));
        let above = target.ancestors().filter(|path| !path.as_os_str().is_empty());
        stubs.extend(above.filter(|path| image.lookup(path).is_none()).map(Path::to_owned));
    }
    stubs.into_iter().collect()
}
