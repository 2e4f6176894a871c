//! The files of images as directories, with what is stated about them.

use std::path::{Path, PathBuf};

use kiln_exporter::{ExportError, Predicate, to_file, write_directory};
use serde_json::Value;

use super::Ending;
use super::destination::blocking;
use crate::attest;
use crate::error::CommandError;
use crate::stored::StoreTree;

/// Writes each platform's files, into a directory of its own if `split` or if there are several.
pub(super) async fn write(
    ending: &Ending<'_>,
    directory: &Path,
    split: Option<bool>,
) -> Result<(), CommandError> {
    let Ending { request, output, services, .. } = ending;
    let split = split.unwrap_or(request.platforms.len() > 1);
    for built in ending.built {
        let tree = StoreTree::new(services.store.layers().view(&built.snapshot)?);
        let directory = match split {
            true => directory.join(built.platform.to_string().replace('/', "_")),
            false => PathBuf::from(directory),
        };
        let statements = attest::predicates(request, built, Value::Null, &services.store)?;
        let (prefix, epoch) = (output.attestation_prefix.clone(), built.epoch);
        blocking(move || {
            write_directory(&directory, &tree, epoch)?;
            write_predicates(&directory, &prefix, &statements)
        })
        .await?;
    }
    Ok(())
}

/// Writes `provenance.json` and `sbom.spdx.json` beside the files of an image, as BuildKit does.
fn write_predicates(directory: &Path, prefix: &str, predicates: &[Predicate]) -> Result<(), ExportError> {
    for predicate in predicates {
        let name = if predicate.kind.contains("spdx") { "sbom.spdx.json" } else { "provenance.json" };
        let path = directory.join(format!("{prefix}{name}"));
        let text = format!("{:#}\n", predicate.value);
        to_file(&path, |out| {
            out.write_all(text.as_bytes()).map_err(|cause| ExportError::Output { path: path.clone(), cause })
        })?;
    }
    Ok(())
}
