//! Which steps can begin before the step that they stand on has ended.

use std::collections::{HashMap, HashSet};

use kiln_core::{Graph, Op, VertexId};
use tokio::task::JoinHandle;

/// For each missing file edit that waits for a process: the nearest vertex below it, first input by first input, that does
/// not wait for one. `missing` is in topological order.
pub(crate) fn stand_ins(graph: &Graph, missing: &[VertexId]) -> HashMap<VertexId, VertexId> {
    let is_missing: HashSet<VertexId> = missing.iter().copied().collect();
    // The vertex that does not wait, for every missing one.
    let mut below: HashMap<VertexId, VertexId> = HashMap::new();
    let mut waiting = HashSet::new();
    let mut found = HashMap::new();
    for &id in missing {
        let vertex = graph.vertex(id);
        let Some(&first) = vertex.inputs.first() else { continue };
        let stand_in = below.get(&first).copied().unwrap_or(first);
        let waits = waiting.contains(&first);
        below.insert(id, stand_in);
        if waits || matches!(vertex.op, Op::Exec(_)) {
            waiting.insert(id);
        }
        if waits && matches!(vertex.op, Op::File(_)) && is_missing.contains(&first) {
            found.insert(id, stand_in);
        }
    }
    found
}

/// A task that is given up when nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Begun<T>(JoinHandle<Option<T>>);

impl<T: Send + 'static> Begun<T> {
    /// Starts `work` beside the caller.
    pub(crate) fn start(work: impl Future<Output = Option<T>> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// What came of it.
    pub(crate) async fn done(mut self) -> Option<T> {
        (&mut self.0).await.ok().flatten()
    }
}

impl<T> Drop for Begun<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
