//! A push: layers go out while they are packed, manifests after them, tags last.

use std::sync::Arc;

use kiln_exporter::{BlobRead, PushTo};

use super::packaged::Packaged;
use super::{Ending, record};
use crate::error::CommandError;
use crate::pushed;
use crate::stored::StoreBlobs;
use crate::uplink::{Uplink, places_of};

/// Sends a build's images under all names of an output; without a name there is nothing to send them to.
pub(super) async fn push(ending: &Ending<'_>, by_digest: bool) -> Result<Packaged, CommandError> {
    let Ending { output, names, services, step, .. } = ending;
    let Some(first) = names.first() else { return Packaged::of(ending, None).await };
    let _pushing = step.part("pushing layers");
    let registries = names.iter().map(|name| name.registry().to_owned());
    let client = match output.insecure {
        true => services.insecure_client(registries),
        false => services.client().clone(),
    };
    let (client, watch) = (client.watched(step.watch()), step.pushes());
    let store = services.store.clone();
    let uplink = Arc::new(Uplink::new(client.clone(), store.clone(), first.clone(), Arc::clone(&watch)));
    let packed = Packaged::of(ending, Some(&uplink)).await;
    let (packaged, sent) = uplink.finish(packed).await?;
    let from = places_of(&store, packaged.exported().layers());
    let to = PushTo { names: names.to_vec(), by_digest, from, sent };
    let blobs: Arc<dyn BlobRead> = Arc::new(StoreBlobs::new(store));
    let digest = kiln_exporter::push(&client, packaged.exported(), &to, &blobs, &*watch).await?;
    for name in *names {
        // The registry has it: a store that cannot be written is no failure of the push.
        let _ = pushed::note(&services.store, &record(&ending.built[0]), name, &digest);
    }
    Ok(packaged)
}
