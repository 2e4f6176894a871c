//! Steps that are not of the graph: loading a Dockerfile, exporting, pushing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_core::{Event, Outcome, Progress, StepId, Stream};
use kiln_exporter::PushWatch;
use kiln_registry::{Retrying, Watch};

/// A step that is shown from its beginning to its end.
pub(crate) struct InternalStep {
    id: StepId,
    progress: Arc<dyn Progress>,
}

impl InternalStep {
    /// Shows that `name` begins.
    pub(crate) fn begin(progress: &Arc<dyn Progress>, name: &str) -> Self {
        let id = StepId::internal(name);
        progress.emit(Event::Queued { step: id, name: name.to_owned(), inputs: Vec::new() });
        progress.emit(Event::Started { step: id });
        Self { id, progress: Arc::clone(progress) }
    }

    /// Shows a part of it until the result is dropped.
    pub(crate) fn part(&self, id: &str) -> Part {
        let part = Part { step: self.id, id: id.to_owned(), progress: Arc::clone(&self.progress) };
        part.emit(false);
        part
    }

    /// Shows how it ended.
    pub(crate) fn end<T, E: std::error::Error + 'static>(self, result: Result<T, E>) -> Result<T, E> {
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(crate::report::chain(error)),
        };
        self.progress.emit(Event::Completed { step: self.id, outcome });
        result
    }

    /// Listens to transfers of it: what is tried again stands among its output.
    pub(crate) fn watch(&self) -> Arc<dyn Watch> {
        Arc::new(self.transfers())
    }

    /// Listens to what is sent: each blob is a part of it, with its bytes.
    pub(crate) fn pushes(&self) -> Arc<dyn PushWatch> {
        Arc::new(self.transfers())
    }

    fn transfers(&self) -> Transfers {
        Transfers { step: self.id, progress: Arc::clone(&self.progress) }
    }
}

/// A part of a step.
pub(crate) struct Part {
    step: StepId,
    id: String,
    progress: Arc<dyn Progress>,
}

impl Part {
    fn emit(&self, done: bool) {
        let id = self.id.clone();
        self.progress.emit(Event::Status { step: self.step, id, current: 0, total: 0, done });
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.emit(true);
    }
}

/// What goes over lines on behalf of a step.
#[derive(Clone)]
struct Transfers {
    step: StepId,
    progress: Arc<dyn Progress>,
}

impl Watch for Transfers {
    fn retrying(&self, retrying: &Retrying) {
        let data = format!("{retrying}\n").into_bytes();
        self.progress.emit(Event::Log { step: self.step, stream: Stream::Stderr, data });
    }
}

impl PushWatch for Transfers {
    fn blob(&self, name: &str) -> Arc<dyn Watch> {
        Arc::new(Transfer { of: self.clone(), id: format!("pushing {name}"), told: AtomicU64::new(0) })
    }
}

/// One blob.
struct Transfer {
    of: Transfers,
    id: String,
    told: AtomicU64,
}

impl Watch for Transfer {
    fn bytes(&self, current: u64, total: u64) {
        // So often that it looks smooth.
        const STEP: u64 = 1 << 20;
        let done = total > 0 && current == total;
        if !done && current.abs_diff(self.told.load(Ordering::Relaxed)) < STEP {
            return;
        }
        self.told.store(current, Ordering::Relaxed);
        let id = self.id.clone();
        self.of.progress.emit(Event::Status { step: self.of.step, id, current, total, done });
    }

    fn retrying(&self, retrying: &Retrying) {
        self.of.retrying(retrying);
    }
}
