//! What the store keeps for containers, whatever its policy: the layers that they stand on.

use kiln_cache::{IndexError, Store};

use super::directory::Containers;

const PREFIX: &str = "container ";

/// The name under which the store keeps a container's layers.
pub(crate) fn name(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// Lets go of the layers of containers that are gone. A supervisor that removes its container (`--rm`) has no store to tell,
/// and one that was killed tells nobody.
///
/// # Errors
/// If the index cannot be read or written.
pub(crate) fn let_go_of_gone(store: &Store) -> Result<(), IndexError> {
    let place = Containers::of(store.root()).place().to_owned();
    for (name, _) in store.index().roots()? {
        // The directory is made before its layers are kept: where there is none, there is no container any more.
        if let Some(id) = name.strip_prefix(PREFIX)
            && place.join(id).try_exists().is_ok_and(|there| !there)
        {
            store.index().remove_root(&name)?;
        }
    }
    Ok(())
}
