//! `kiln system prune`: all that nothing uses, in one go.

use kiln_cache::PrunePolicy;

use super::prune::{Reclaimed, confirmed};
use super::{CommandError, Services, container, image, network, volume};
use crate::args::PruneSystemArgs;
use crate::collect;
use crate::container::directory::Containers;
use crate::networks::UserNetworks;
use crate::request::fitting::Fitting;

/// Removes containers that do not run, then networks, images, volumes if asked for, and build results that nothing uses.
///
/// # Errors
/// If something cannot be removed, or a filter cannot be understood.
pub(crate) fn prune(args: &PruneSystemArgs, services: &Services) -> Result<(), CommandError> {
    let filters = Fitting::all(&args.filter)?;
    let images = if args.all { "images that no container uses" } else { "images without a name" };
    let volumes = if args.volumes { "volumes without a name that no container uses, " } else { "" };
    let what = format!(
        "This removes containers that do not run, networks without containers, {images}, {volumes}and build results that no \
         image with a name needs."
    );
    if !args.force && !confirmed(&what)? {
        return Ok(());
    }
    let store = &services.store;
    let mut all = vec![
        container::remove_idle(&filters, services)?,
        network::remove_unused(&UserNetworks::of(store.root()))?,
    ];
    all.push(image::remove_unused(args.all, &filters, services)?);
    if args.volumes {
        all.push(volume::prune(&Containers::of(store.root()), false, &[])?);
    }
    // Build results have no labels, and a filter by time was meant for when things were made.
    if filters.is_empty() {
        let freed = collect::prune(store, &PrunePolicy::default())?;
        let gone = freed.records.into_iter().map(|record| record.id).collect();
        all.push(Reclaimed { head: "Deleted build cache objects", gone, bytes: freed.bytes });
    }
    Reclaimed::tell(&all)
}
