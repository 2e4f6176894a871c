//! What a build ends in: names in the store, archives, directories, registries.

use std::sync::Arc;

use kiln_cache::{ImageRecord, Store};
use kiln_core::{Digest, Progress};

use crate::build::Built;
use crate::environment::now_seconds;
use crate::error::CommandError;
use crate::local;
use crate::output::OutputKind;
use crate::request::BuildRequest;
use crate::wiring::Services;

/// A build with its outputs written.
#[derive(Debug)]
pub struct Finished {
    /// The images, one a platform.
    pub built: Vec<Built>,
}

impl Finished {
    /// The digest of the first image's configuration.
    ///
    /// # Errors
    /// If a layer cannot be read.
    pub fn id(&self, services: &Services) -> Result<Digest, CommandError> {
        Ok(local::image_id(&services.store, &record(&self.built[0]))?)
    }
}

fn record(built: &Built) -> ImageRecord {
    let (config, snapshot) = (built.config.clone(), built.snapshot.clone());
    ImageRecord { config, snapshot, origin: None, created: now_seconds() }
}

/// Writes all outputs.
///
/// # Errors
/// The first output that cannot be written.
pub async fn export(
    request: &BuildRequest,
    built: Vec<Built>,
    services: &Services,
    _progress: &Arc<dyn Progress>,
) -> Result<Finished, CommandError> {
    for output in &request.outputs {
        if let OutputKind::Image { .. } = &output.kind {
            let names: Vec<_> = request.names.iter().chain(&output.names).collect();
            store(&services.store, &built[0], &names)?;
        }
    }
    Ok(Finished { built })
}

fn store(store: &Store, built: &Built, names: &[&kiln_core::Reference]) -> Result<(), CommandError> {
    let record = record(built);
    if names.is_empty() {
        store.index().set_image(None, &record)?;
    }
    for name in names {
        store.index().set_image(Some(name), &record)?;
    }
    Ok(())
}

/// Writes `--iidfile` and `--metadata-file`.
///
/// # Errors
/// If they cannot be written.
pub fn write_files(
    request: &BuildRequest,
    finished: &Finished,
    services: &Services,
) -> Result<(), CommandError> {
    if let Some(path) = &request.iidfile {
        let fail =
            |cause| CommandError::File { verb: "write", what: "image id file", path: path.clone(), cause };
        std::fs::write(path, finished.id(services)?.to_string()).map_err(fail)?;
    }
    Ok(())
}
