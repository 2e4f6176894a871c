//! `kiln image prune`: images that nothing uses, with the layers that were theirs alone.

use std::collections::HashSet;

use kiln_cache::{ImageRecord, PrunePolicy, Selection, Store, Trait};
use kiln_core::{Compression, CompressionFormat, LayerId, Reference};

use super::prune::{Reclaimed, confirmed};
use super::{CommandError, Services};
use crate::args::PruneImagesArgs;
use crate::collect;
use crate::container::directory::Containers;
use crate::local;
use crate::request::fitting::Fitting;

/// Removes images without a name, or all that no container uses.
///
/// # Errors
/// If the store cannot be changed, or a filter cannot be understood.
pub(crate) fn prune(args: &PruneImagesArgs, services: &Services) -> Result<(), CommandError> {
    let filters = Fitting::all(&args.filter)?;
    let what = if args.all { "all images that no container uses" } else { "all images without a name" };
    if !args.force && !confirmed(&format!("This removes {what}."))? {
        return Ok(());
    }
    Reclaimed::tell(&[remove_unused(args.all, &filters, services)?])
}

/// Removes the images without a name that fit, or, with `all`, those with one too. What a container was made of stays.
///
/// # Errors
/// If the store cannot be read or changed.
pub(crate) fn remove_unused(
    all: bool,
    filters: &[Fitting],
    services: &Services,
) -> Result<Reclaimed, CommandError> {
    // What is looked at is held for as long as this handle lives, and what is held is no garbage.
    let store = services.store.reopen()?;
    let used = layers_of_containers(&Containers::of(store.root()))?;
    let (mut gone, mut layers) = (Vec::new(), HashSet::new());
    for image in store.index().images()? {
        let record = &image.record;
        let is_used = record.snapshot.layers.last().is_some_and(|top| used.contains(top));
        let made = record.config.created.as_deref().and_then(|at| humantime::parse_rfc3339_weak(at).ok());
        let fits = filters.iter().all(|filter| filter.fits(made, &record.config.config.labels));
        if is_used || !fits || !(all || image.names.is_empty()) {
            continue;
        }
        let id = local::image_id(&store, record)?;
        store.index().remove_image_by_id(&image.id)?;
        let names = image.names.iter().filter_map(|name| name.parse::<Reference>().ok());
        gone.extend(names.map(|name| format!("untagged: {}", name.familiar())));
        gone.push(format!("deleted: {id}"));
        layers.extend(ids(&store, record)?);
    }
    drop(store);
    if layers.is_empty() {
        return Ok(Reclaimed { head: "Deleted Images", gone, bytes: 0 });
    }
    // What another image has, or a running build uses, is no garbage.
    let selection = Selection::default().and(false, layers.into_iter().map(Trait::Id));
    let freed = collect::prune(&services.store, &PrunePolicy { selection, ..PrunePolicy::default() })?;
    Ok(Reclaimed { head: "Deleted Images", gone, bytes: freed.bytes })
}

/// The ids of the records that an image is made of: its layers and their blobs.
fn ids(store: &Store, record: &ImageRecord) -> Result<Vec<String>, CommandError> {
    let formats = [CompressionFormat::Gzip, CompressionFormat::Zstd, CompressionFormat::Uncompressed];
    let mut ids = Vec::new();
    for layer in &record.snapshot.layers {
        ids.push(layer.0.hex());
        for format in formats {
            let packed = store.index().packed(layer, Compression { format, level: None })?;
            ids.extend(packed.map(|packed| packed.blob.to_string()));
        }
    }
    Ok(ids)
}

fn layers_of_containers(containers: &Containers) -> Result<HashSet<LayerId>, CommandError> {
    let mut layers = HashSet::new();
    for container in containers.all()? {
        // One that is being removed just now uses nothing.
        if let Ok(config) = container.config() {
            layers.extend(config.image.snapshot.layers);
        }
    }
    Ok(layers)
}
