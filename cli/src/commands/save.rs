//! `kiln save`

use kiln_core::Reference;
use kiln_exporter::{ExportError, Exported, MediaTypes, Naming, write_docker_tar, write_oci_tar};

use super::push::compression;
use super::{CommandError, Services};
use crate::args::SaveArgs;
use crate::environment::now_seconds;
use crate::local;
use crate::output::{Destination, LayerOptions};
use crate::outputs::to_destination;
use crate::request::UsageError;
use crate::stored::{StoreBlobs, stored_image};

/// Writes an image as an archive that `docker load`, podman and skopeo read. Several names of one image go into one archive.
///
/// # Errors
/// If an image does not exist, the names are of different images, or the archive cannot be written.
pub(crate) fn save(args: &SaveArgs, services: &Services) -> Result<(), CommandError> {
    let layers =
        LayerOptions { compression: compression(args.compression.as_deref())?, ..LayerOptions::default() };
    let docker = match args.format.as_str() {
        "docker" | "docker-archive" => true,
        "oci" | "oci-archive" => false,
        other => return Err(UsageError::value("format", other, "expected docker or oci").into()),
    };
    let mut names: Vec<Reference> = Vec::new();
    let mut image = None;
    for typed in &args.images {
        let found = local::find(&services.store, typed)?;
        names.extend(typed.parse::<Reference>().ok().filter(|name| found.names.contains(&name.to_string())));
        match &image {
            None => image = Some(found),
            Some(first) if first.id == found.id => {}
            Some(_) => {
                let problem = "an archive holds one image here: save the others into archives of their own";
                return Err(CommandError::Usage(problem.to_owned()));
            }
        }
    }
    let Some(image) = image else { return Ok(()) };
    let media_types = if docker { MediaTypes::Docker } else { MediaTypes::Oci };
    let packaged = stored_image(&services.store, &image.record, &layers, media_types, None)?;
    let naming = Naming { names, created: now_seconds() };
    let blobs = StoreBlobs::new(services.store.clone());
    let destination = match &args.output {
        Some(path) => Destination::File(path.clone()),
        None if rustix::termios::isatty(std::io::stdout()) => {
            return Err(CommandError::Usage(
                "an archive does not go to a terminal: give --output, or redirect".to_owned(),
            ));
        }
        None => Destination::Stdout,
    };
    to_destination(&destination, |out| -> Result<(), ExportError> {
        let exported = Exported::Image(&packaged);
        if docker {
            write_docker_tar(out, exported, &naming, &blobs)
        } else {
            write_oci_tar(out, exported, &naming, &blobs)
        }
    })?;
    Ok(())
}
