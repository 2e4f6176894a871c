//! Steps that are not of the graph: loading a Dockerfile, exporting, pushing.

use std::sync::Arc;

use kiln_core::{Event, Outcome, Progress, StepId, Stream};
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
        Arc::new(Retries { step: self.id, progress: Arc::clone(&self.progress) })
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

struct Retries {
    step: StepId,
    progress: Arc<dyn Progress>,
}

impl Watch for Retries {
    fn retrying(&self, retrying: &Retrying) {
        let data = format!("{retrying}\n").into_bytes();
        self.progress.emit(Event::Log { step: self.step, stream: Stream::Stderr, data });
    }
}
