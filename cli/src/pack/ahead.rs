//! Packing while later steps run: what is compressed and hashed by then is only sent or copied in the end. If the
//! image stays in the store and its id is asked for, only the digests are computed that the id is made of.
//!
//! Only layers that the image will have are packed, one at a time, and behind everything else that wants a processor. A build
//! that fails has lost nothing: the blobs are found when it is done again, and what is half packed then goes at once.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use kiln_cache::Store;
use kiln_core::{Compression, CompressionFormat, Graph, LayerId, Op, VertexId};

use super::{Way, WhileWanted, pack_one};
use crate::error::CommandError;
use crate::output::{Output, OutputKind};
use crate::request::BuildRequest;

/// Packs layers as they are made, until the image is.
#[derive(Debug, Clone)]
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    /// The steps whose layers the image has.
    of_image: Arc<HashSet<VertexId>>,
    /// Ends the thread with the last of these.
    _end: Arc<End>,
}

/// What is done with a layer.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Its blob is made.
    Pack(Compression),
    /// The digest of its tar is computed and remembered.
    Digest,
}

#[derive(Debug, Default)]
struct Shared {
    layers: Mutex<Layers>,
    changed: Condvar,
    /// Changed while `layers` are locked.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Layers {
    waiting: VecDeque<LayerId>,
    current: Option<LayerId>,
}

#[derive(Debug)]
struct End {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut layers = self.shared.lock();
        self.shared.ended.store(true, Ordering::Relaxed);
        layers.waiting.clear();
        drop(layers);
        self.shared.changed.notify_all();
        // The thread has a part of the store's session, which leaves scratch behind unless all of it ends. It stops at the
        // next block that it writes.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Layers> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, layers: MutexGuard<'a, Layers>) -> MutexGuard<'a, Layers> {
        self.changed.wait(layers).unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the layers of an output are packed, if it needs them so and nothing of it is known only in the end.
fn packed(output: &Output) -> Option<Work> {
    let packs = match &output.kind {
        OutputKind::Image { push, store, .. } => *push || !store,
        OutputKind::Oci { .. } | OutputKind::Docker { destination: Some(_) } => true,
        OutputKind::Docker { destination: None }
        | OutputKind::Engine
        | OutputKind::Local { .. }
        | OutputKind::Tar { .. }
        | OutputKind::CacheOnly => false,
    };
    // With clamped times the tar is another one, and an eStargz is no plain blob.
    let plain = !output.layers.estargz && !output.layers.rewrite_timestamp;
    (packs && plain).then(|| Work::Pack(output.layers.compression.unwrap_or_default()))
}

impl Ahead {
    /// For a build whose result is `root`; `None` if no output needs its layers packed, and nobody asks for the image's id.
    pub(crate) fn begin(
        store: &Store,
        request: &BuildRequest,
        graph: &Graph,
        root: VertexId,
    ) -> Option<Self> {
        let work = request.outputs.iter().find_map(packed);
        let work = work.or_else(|| request.wants_id().then_some(Work::Digest))?;
        let mut of_image = HashSet::new();
        let mut current = root;
        while let Op::Exec(_) | Op::File(_) = &graph.vertex(current).op {
            of_image.insert(current);
            match graph.vertex(current).inputs.first() {
                Some(&below) => current = below,
                None => break,
            }
        }
        let shared = Arc::new(Shared::default());
        let (store, working) = (store.clone(), Arc::clone(&shared));
        let packing = move || take_all(&store, &working, work);
        // Without a thread everything is packed in the end.
        let thread = std::thread::Builder::new().name("packing ahead".to_owned()).spawn(packing).ok()?;
        let end = End { shared: Arc::clone(&shared), thread: Some(thread) };
        Some(Self { _end: Arc::new(end), shared, of_image: Arc::new(of_image) })
    }

    /// Takes the layers that a step has added.
    pub(crate) fn made(&self, step: VertexId, added: &[LayerId]) {
        if self.of_image.contains(&step) {
            self.shared.lock().waiting.extend(added);
            self.shared.changed.notify_all();
        }
    }

    /// Leaves a layer to the caller, once it is not being packed.
    pub(crate) fn hand_over(&self, layer: &LayerId) {
        let mut layers = self.shared.lock();
        layers.waiting.retain(|waiting| waiting != layer);
        while layers.current.as_ref() == Some(layer) {
            layers = self.shared.wait(layers);
        }
    }
}

/// Nobody waits for a layer any more, however its packing has ended.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.lock().current = None;
        self.0.changed.notify_all();
    }
}

fn take_all(store: &Store, shared: &Shared, work: Work) {
    // The steps come first, but not by much: on a busy machine the image waits for a layer that is being packed. The
    // threads that compress are started here and begin as this one is.
    let _ = rustix::process::nice(5);
    let nowhere = Way { uplink: None, name: String::new(), given_up: Some(&shared.ended) };
    while let Some(layer) = next(shared) {
        let _done = Done(shared);
        // What fails here is met again, and told, when the image is made.
        match work {
            Work::Pack(compression) => drop(pack_one(store, &layer, compression, None, &nowhere)),
            Work::Digest => drop(note_digest(store, &layer, &shared.ended)),
        }
    }
}

fn note_digest(store: &Store, layer: &LayerId, given_up: &AtomicBool) -> Result<(), CommandError> {
    if store.index().diff_id(layer)?.is_none() {
        let compression = Compression { format: CompressionFormat::Uncompressed, level: None };
        let into = WhileWanted { into: io::sink(), given_up: Some(given_up) };
        let tar = store.layers().pack(layer, compression, None, into)?;
        store.index().set_diff_id(layer, &tar.diff_id)?;
    }
    Ok(())
}

/// Waits for a layer; `None` when the build has ended.
fn next(shared: &Shared) -> Option<LayerId> {
    let mut layers = shared.lock();
    loop {
        if shared.ended.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(layer) = layers.waiting.pop_front() {
            layers.current = Some(layer);
            return Some(layer);
        }
        layers = shared.wait(layers);
    }
}
