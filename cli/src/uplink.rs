//! Layers on their way to a registry while an image is still being packed: a push takes as long as the slower of packing
//! and sending, not as long as both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_cache::Store;
use kiln_core::{Digest, Reference};
use kiln_exporter::{BlobRead, GrowingWriter, LayerBlob, PushError, PushWatch, Stored, growing};
use kiln_registry::{Client, Fault, RegistryError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::stored::StoreBlobs;

/// What a layer that is being packed became.
pub(crate) type Made = oneshot::Sender<(Digest, u64)>;

/// Sends layers to one repository.
pub(crate) struct Uplink {
    runtime: Handle,
    client: Client,
    store: Store,
    to: Reference,
    watch: Arc<dyn PushWatch>,
    transfers: Mutex<Transfers>,
}

#[derive(Default)]
struct Transfers {
    running: JoinSet<Result<Digest, RegistryError>>,
    begun: BTreeSet<Digest>,
}

impl Uplink {
    /// To the repository of `to`. The runtime is the one that this is called on.
    pub(crate) fn new(client: Client, store: Store, to: Reference, watch: Arc<dyn PushWatch>) -> Self {
        Self { runtime: Handle::current(), client, store, to, watch, transfers: Mutex::default() }
    }

    fn transfers(&self) -> MutexGuard<'_, Transfers> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a layer that is in the store.
    pub(crate) fn send(&self, layer: &LayerBlob) {
        let Ok(digest) = layer.descriptor.digest().to_string().parse::<Digest>() else { return };
        let mut transfers = self.transfers();
        if !transfers.begun.insert(digest) {
            return;
        }
        let (client, to) = (self.client.watched(self.watch.blob(&digest.to_string())), self.to.clone());
        let blobs: Arc<dyn BlobRead> = Arc::new(StoreBlobs::new(self.store.clone()));
        let from = places(&self.store, &digest);
        let descriptor = layer.descriptor.clone();
        let sending = async move {
            client.push_blob(&to, &descriptor, Arc::new(Stored::new(blobs, digest)), &from).await?;
            Ok(digest)
        };
        transfers.running.spawn_on(sending, &self.runtime);
    }

    /// Sends what is written to the writer, which `into` keeps and `file` reads. [`Made`] is to be told what it became.
    pub(crate) fn begin<W: Write>(&self, name: &str, into: W, file: File) -> (GrowingWriter<W>, Made) {
        let (writer, blob) = growing(into, file);
        let (made, become_known) = oneshot::channel();
        let (client, to, name) =
            (self.client.watched(self.watch.blob(name)), self.to.clone(), name.to_owned());
        let sending = async move {
            let known = async { become_known.await.ok() };
            client.push_growing(&to, &name, Arc::new(blob), known).await.map(|(digest, _)| digest)
        };
        self.transfers().running.spawn_on(sending, &self.runtime);
        (writer, made)
    }

    /// Waits until all layers are there, and says which they are. `packed` is how packing ended: what broke first is told.
    ///
    /// # Errors
    /// The first layer that could not be packed or sent; the others are given up.
    pub(crate) async fn finish<T, E: From<PushError>>(
        &self,
        packed: Result<T, E>,
    ) -> Result<(T, BTreeSet<Digest>), E> {
        let mut running = std::mem::take(&mut self.transfers().running);
        if packed.is_err() {
            // What has ended keeps its outcome: perhaps it was that which broke the packing.
            running.abort_all();
        }
        let mut sent = BTreeSet::new();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(Ok(digest)) => {
                    // Only a shortcut for later: a store that cannot be written says so elsewhere.
                    let _ = self.store.index().add_place(&digest, &self.to.name());
                    sent.insert(digest);
                }
                // A layer that could not be made, or was given up: packing knows why.
                Ok(Err(error)) if packed.is_err() && matches!(*error.fault, Fault::Source(_)) => {}
                Err(_) => {}
                Ok(Err(error)) => return Err(PushError::from(error).into()),
            }
        }
        packed.map(|packed| (packed, sent))
    }
}

/// Repositories that are known to have had the blob.
fn places(store: &Store, digest: &Digest) -> Vec<Reference> {
    let places = store.index().places(digest).unwrap_or_default();
    places.iter().filter_map(|place| place.parse().ok()).collect()
}

/// Where each of the layers was seen.
pub(crate) fn places_of<'a>(
    store: &Store,
    layers: impl IntoIterator<Item = &'a LayerBlob>,
) -> BTreeMap<Digest, Vec<Reference>> {
    let digests = layers.into_iter().filter_map(|layer| layer.descriptor.digest().to_string().parse().ok());
    digests.map(|digest| (digest, places(store, &digest))).collect()
}
