//! `--iidfile` and `--metadata-file`.

use std::path::Path;

use kiln_exporter::{ExportError, to_file};
use serde_json::json;

use super::Finished;
use crate::error::CommandError;
use crate::explain::Explained;
use crate::request::BuildRequest;
use crate::wiring::Services;

/// Writes the files that tell other programs what was built.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn write_files(
    request: &BuildRequest,
    finished: &Finished,
    explained: &[Explained],
    services: &Services,
) -> Result<(), CommandError> {
    let write = |what: &'static str, path: &Path, text: String| {
        let fail = |cause| CommandError::File { verb: "write", what, path: path.to_owned(), cause };
        to_file(path, |out| {
            out.write_all(text.as_bytes())
                .map_err(|cause| ExportError::Output { path: path.to_owned(), cause })
        })
        .map_err(|error| fail(std::io::Error::other(error)))
    };
    if let Some(path) = &request.iidfile {
        write("image id file", path, finished.id(services)?.to_string())?;
    }
    if let Some(path) = &request.metadata_file {
        let mut metadata = json!({ "containerimage.config.digest": finished.id(services)?.to_string() });
        if let Some(descriptor) = &finished.exported {
            metadata["containerimage.descriptor"] = descriptor.clone();
            metadata["containerimage.digest"] = descriptor["digest"].clone();
        }
        if !finished.names.is_empty() {
            metadata["image.name"] = finished.names.join(",").into();
        }
        if request.explain {
            metadata["kiln.explanation"] = serde_json::to_value(explained)?;
        }
        write("metadata file", path, format!("{}\n", serde_json::to_string_pretty(&metadata)?))?;
    }
    Ok(())
}
