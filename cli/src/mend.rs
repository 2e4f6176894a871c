//! A command that failed over damage in the store: what is damaged is dropped, and the command is done once more.
//!
//! Looking at everything before each build would take longer than the build. So a build trusts what it finds, and only one
//! that fails looks at what it stood on: after a failed step at names, sizes and times, after a failed export at every byte.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;

use kiln_cache::{Depth, Store};
use kiln_core::{Diagnostic, Event, Progress, Span};
use kiln_executor::ExecutorError;

use crate::error::CommandError;
use crate::worker::WorkError;

/// As often is a command done again: each time something was found that is gone now.
pub(crate) const TIMES: u32 = 3;

/// Whether the store was to blame for `error`, and is mended now: then the command may succeed if it is done again.
pub(crate) async fn mend(error: &CommandError, store: &Store, progress: &Arc<dyn Progress>) -> bool {
    let Some(depth) = suspicion(error) else { return false };
    let store = store.clone();
    // A store that cannot even be looked at leaves the command with its first error.
    let Ok(Ok(checked)) = tokio::task::spawn_blocking(move || store.drop_damaged(depth)).await else {
        return false;
    };
    for damaged in &checked.damaged {
        let text = format!(
            "the store's {} {}: it is made again",
            damaged.what,
            crate::report::chain(&damaged.damage)
        );
        warn(progress, text);
    }
    for image in &checked.images {
        warn(progress, format!("the image {image} has lost a layer: it is no longer in the store"));
    }
    !checked.damaged.is_empty()
}

fn warn(progress: &Arc<dyn Progress>, text: String) {
    let diagnostic = Diagnostic::warning("DamagedStore", text, Span::default());
    progress.emit(Event::Warning { diagnostic, file: None });
}

/// How closely the store is to be looked at after `error`; `None` if it had no part in it.
fn suspicion(error: &CommandError) -> Option<Depth> {
    if is_of_the_machine(error) {
        return None;
    }
    match error {
        CommandError::Step { cause, .. } => match cause.downcast_ref::<WorkError>() {
            Some(WorkError::Executor(cause)) => match &**cause {
                // What a process misses may be missing in a layer.
                ExecutorError::Process { .. }
                | ExecutorError::Start { .. }
                | ExecutorError::User { .. }
                | ExecutorError::MountSource(_)
                | ExecutorError::File(_)
                | ExecutorError::Source(_)
                | ExecutorError::Layer(_)
                | ExecutorError::Store(_) => Some(Depth::Names),
                ExecutorError::Index(_)
                | ExecutorError::Secret(_)
                | ExecutorError::Ssh(_)
                | ExecutorError::Device(_)
                | ExecutorError::Spec(_)
                | ExecutorError::Context(_)
                | ExecutorError::Git(_)
                | ExecutorError::Network(_)
                | ExecutorError::Input(_)
                | ExecutorError::GivenUp => None,
            },
            Some(WorkError::Store(_)) => Some(Depth::Names),
            // A layer from a cache is no damage of this store.
            Some(WorkError::Cache(_) | WorkError::Index(_) | WorkError::Panic) | None => None,
        },
        CommandError::Layer(_) => Some(Depth::Names),
        CommandError::Blob(_)
        | CommandError::Export(_)
        | CommandError::Push(_)
        | CommandError::Document(_) => Some(Depth::Bytes),
        _ => None,
    }
}

/// A full disk, too many open files, a store that may not be written: no damage.
fn is_of_the_machine(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let told = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
            if told.contains(&io.kind()) || io.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())
            {
                return true;
            }
        }
        next = cause.source();
    }
    false
}

/// Whether the database is damaged: then the store is to be opened anew.
pub(crate) fn is_damaged_index(error: &CommandError) -> bool {
    match error {
        CommandError::Index(cause) | CommandError::Store(kiln_cache::StoreError::Index(cause)) => {
            cause.is_damage()
        }
        CommandError::Step { cause, .. } => match cause.downcast_ref::<WorkError>() {
            Some(WorkError::Index(cause)) => cause.is_damage(),
            Some(WorkError::Executor(cause)) => {
                matches!(&**cause, ExecutorError::Index(cause) if cause.is_damage())
            }
            _ => false,
        },
        _ => false,
    }
}
