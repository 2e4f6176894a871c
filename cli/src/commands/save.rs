//! `kiln save`

use kiln_cache::StoredImage;
use kiln_core::Reference;
use kiln_exporter::{ExportError, Exported, MediaTypes, Named, Naming, write_docker_tar, write_oci_tar};

use super::push::compression;
use super::{CommandError, Services};
use crate::args::SaveArgs;
use crate::environment::now_seconds;
use crate::local;
use crate::output::{Destination, LayerOptions};
use crate::outputs::to_destination;
use crate::request::UsageError;
use crate::stored::{StoreBlobs, stored_image};

/// Writes images as one archive that `docker load`, podman and skopeo read.
///
/// # Errors
/// If an image does not exist, or the archive cannot be written.
pub(crate) fn save(args: &SaveArgs, services: &Services) -> Result<(), CommandError> {
    let layers =
        LayerOptions { compression: compression(args.compression.as_deref())?, ..LayerOptions::default() };
    let docker = match args.format.as_str() {
        "docker" | "docker-archive" => true,
        "oci" | "oci-archive" => false,
        other => return Err(UsageError::value("format", other, "expected docker or oci").into()),
    };
    let mut chosen: Vec<(StoredImage, Naming)> = Vec::new();
    for typed in &args.images {
        let found = local::find(&services.store, typed)?;
        let name = typed.parse::<Reference>().ok().filter(|name| found.names.contains(&name.to_string()));
        match chosen.iter_mut().find(|(image, _)| image.id == found.id) {
            Some((_, naming)) => naming.names.extend(name),
            None => {
                let naming = Naming { names: Vec::from_iter(name), created: now_seconds() };
                chosen.push((found, naming));
            }
        }
    }
    let media_types = if docker { MediaTypes::Docker } else { MediaTypes::Oci };
    let packaged = chosen
        .iter()
        .map(|(image, _)| stored_image(&services.store, &image.record, &layers, media_types, None))
        .collect::<Result<Vec<_>, _>>()?;
    let images: Vec<Named<'_>> = packaged
        .iter()
        .zip(&chosen)
        .map(|(packaged, (_, naming))| (Exported::Image(packaged), naming))
        .collect();
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
        if docker { write_docker_tar(out, &images, &blobs) } else { write_oci_tar(out, &images, &blobs) }
    })?;
    Ok(())
}
