//! `kiln push`

use std::sync::Arc;

use kiln_cache::Store;
use kiln_core::{Compression, CompressionFormat, Progress, Reference};
use kiln_exporter::{BlobRead, Exported, MediaTypes, PushTo};

use super::{CommandError, Services, print};
use crate::args::PushArgs;
use crate::local::{self, LocalError};
use crate::output::LayerOptions;
use crate::progress::{InternalStep, ProgressMode, Reporter};
use crate::pushed;
use crate::request::UsageError;
use crate::stored::{StoreBlobs, stored_image};
use crate::uplink::{Uplink, places_of};

/// Uploads images under their names.
///
/// # Errors
/// If there is none of that name, or the registry does not take it.
pub(crate) fn push(args: &PushArgs, services: &Services) -> Result<(), CommandError> {
    let layers =
        LayerOptions { compression: compression(args.compression.as_deref())?, ..LayerOptions::default() };
    let mode = if args.quiet { ProgressMode::Quiet } else { args.progress };
    let reporter = Arc::new(Reporter::start(mode, &services.environment, "Pushing"));
    let progress: Arc<dyn Progress> = Arc::clone(&reporter) as _;
    let mut digests = Vec::new();
    let pushed: Result<(), CommandError> = services.runtime()?.block_on(async {
        for name in names(args, &services.store)? {
            let record = local::named(&services.store, &name)?;
            let record = record.ok_or_else(|| LocalError::Missing(name.familiar()))?;
            let step = InternalStep::begin(&progress, &format!("push {name}"));
            let result = async {
                let _pushing = step.part("pushing layers");
                let (client, watch) = (services.client().watched(step.watch()), step.pushes());
                let store = services.store.clone();
                let uplink = Uplink::new(client.clone(), store.clone(), name.clone(), Arc::clone(&watch));
                // Layers are packed on this thread while the runtime's others send them.
                let packed = stored_image(&store, &record, &layers, MediaTypes::Oci, Some(&uplink));
                let (image, sent) = uplink.finish(packed).await?;
                let from = places_of(&store, &image.layers);
                let to = PushTo { names: vec![name.clone()], by_digest: false, from, sent };
                let blobs: Arc<dyn BlobRead> = Arc::new(StoreBlobs::new(store));
                let exported = Exported::Image(&image);
                let digest = kiln_exporter::push(&client, exported, &to, &blobs, &*watch).await?;
                // The registry has it: a store that cannot be written is no failure of the push.
                let _ = pushed::note(&services.store, &record, &name, &digest);
                Ok::<_, CommandError>(digest)
            }
            .await;
            digests.push((name.clone(), step.end(result)?));
        }
        Ok(())
    });
    reporter.close();
    pushed?;
    for (name, digest) in digests {
        print(&if args.quiet { format!("{digest}\n") } else { format!("{name}: digest: {digest}\n") })?;
    }
    Ok(())
}

/// The names that are pushed: those typed, or all of their repositories.
fn names(args: &PushArgs, store: &Store) -> Result<Vec<Reference>, CommandError> {
    let mut names = Vec::new();
    for typed in &args.images {
        let name: Reference = typed.parse()?;
        if !args.all_tags {
            names.push(name);
            continue;
        }
        if name.tag().is_some() || name.digest().is_some() {
            return Err(CommandError::Usage(format!(
                "--all-tags is of a repository: {typed} names one image of it"
            )));
        }
        let images = store.index().images()?;
        let all = images.iter().flat_map(|image| &image.names);
        let of_it = all
            .filter_map(|other| other.parse::<Reference>().ok())
            .filter(|other| other.name() == name.name());
        let before = names.len();
        names.extend(of_it);
        if names.len() == before {
            return Err(LocalError::Missing(typed.clone()).into());
        }
    }
    Ok(names)
}

/// `--compression`.
pub(crate) fn compression(typed: Option<&str>) -> Result<Option<Compression>, UsageError> {
    let format = match typed {
        None => return Ok(None),
        Some("gzip") => CompressionFormat::Gzip,
        Some("zstd") => CompressionFormat::Zstd,
        Some("uncompressed" | "none") => CompressionFormat::Uncompressed,
        Some(other) => {
            return Err(UsageError::value("compression", other, "expected gzip, zstd or uncompressed"));
        }
    };
    Ok(Some(Compression { format, level: None }))
}
