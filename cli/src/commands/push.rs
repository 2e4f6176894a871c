//! `kiln push`

use std::sync::Arc;

use kiln_core::{Compression, CompressionFormat, Progress, Reference};
use kiln_exporter::{BlobRead, Exported, MediaTypes, PushTo};

use super::{CommandError, Services, print};
use crate::args::PushArgs;
use crate::local::{self, LocalError};
use crate::output::LayerOptions;
use crate::progress::{InternalStep, ProgressMode, Reporter};
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
        for typed in &args.images {
            let name: Reference = typed.parse()?;
            let record =
                local::named(&services.store, &name)?.ok_or_else(|| LocalError::Missing(typed.clone()))?;
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
                Ok::<_, CommandError>(kiln_exporter::push(&client, exported, &to, &blobs, &*watch).await?)
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
