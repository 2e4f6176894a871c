//! Packing while later steps run: what is compressed and hashed by then is only sent or copied in the end.
//!
//! Only layers that the image will have are packed, one at a time, and behind everything else that wants a processor. A build
//! that fails has lost nothing: the blobs are found when it is done again, and what is half packed then goes at once.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use kiln_cache::Store;
use kiln_core::{Compression, Graph, LayerId, Op, VertexId};

use super::{Way, pack_one};
use crate::output::{Output, OutputKind};

/// Packs layers as they are made, until the image is.
#[derive(Debug, Clone)]
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    /// The steps whose layers the image has.
    of_image: Arc<HashSet<VertexId>>,
    /// Ends the thread with the last of these.
    _end: Arc<End>,
}

#[derive(Debug, Default)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
    /// Changed while `work` is locked.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Work {
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
        let mut work = self.shared.lock();
        self.shared.ended.store(true, Ordering::Relaxed);
        work.waiting.clear();
        drop(work);
        self.shared.changed.notify_all();
        // The thread has a part of the store's session, which leaves scratch behind unless all of it ends. It stops at the
        // next block that it writes.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, work: MutexGuard<'a, Work>) -> MutexGuard<'a, Work> {
        self.changed.wait(work).unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the layers of an output are packed, if it needs them so and nothing of it is known only in the end.
fn compression(output: &Output) -> Option<Compression> {
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
    (packs && plain).then(|| output.layers.compression.unwrap_or_default())
}

impl Ahead {
    /// For a build whose result is `root`; `None` if no output needs its layers packed.
    pub(crate) fn begin(store: &Store, outputs: &[Output], graph: &Graph, root: VertexId) -> Option<Self> {
        let compression = outputs.iter().find_map(compression)?;
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
        let packing = move || pack_all(&store, &working, compression);
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
    pub(super) fn hand_over(&self, layer: &LayerId) {
        let mut work = self.shared.lock();
        work.waiting.retain(|waiting| waiting != layer);
        while work.current.as_ref() == Some(layer) {
            work = self.shared.wait(work);
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

fn pack_all(store: &Store, shared: &Shared, compression: Compression) {
    // The steps come first, but not by much: on a busy machine the image waits for a layer that is being packed. The
    // threads that compress are started here and begin as this one is.
    let _ = rustix::process::nice(5);
    let nowhere = Way { uplink: None, name: String::new(), given_up: Some(&shared.ended) };
    loop {
        let layer = {
            let mut work = shared.lock();
            loop {
                if let Some(layer) = work.waiting.pop_front() {
                    work.current = Some(layer);
                    break layer;
                }
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                work = shared.wait(work);
            }
        };
        let _done = Done(shared);
        // What fails here is met again, and told, when the image is packed.
        let _ = pack_one(store, &layer, compression, None, &nowhere);
    }
}
