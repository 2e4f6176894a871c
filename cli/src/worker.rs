//! The solver's worker: what was made is looked up in the store, what was not is performed by the executor.

use std::sync::{Arc, Mutex, PoisonError};

use kiln_cache::{FileLock, Store};
use kiln_core::{ContentHash, Op, Snapshot, Source, StepId, Vertex};
use kiln_executor::{Executor, ExecutorError, Value};
use kiln_solver::{CacheKey, Decided, Definition, Worker};

use crate::explain::{Decision, Decisions};
use crate::pack::Ahead;
use crate::remote_cache::{CacheError, SharedImports};

/// Joins the store and the executor for one build.
#[derive(Clone)]
pub(crate) struct BuildWorker {
    store: Store,
    executor: Arc<Executor>,
    decisions: Arc<Mutex<Decisions>>,
    imports: SharedImports,
    ahead: Option<Ahead>,
}

/// Why a step failed. Cheap to clone: every step that waits for it gets it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WorkError {
    /// The step itself.
    #[error(transparent)]
    Executor(#[from] Arc<ExecutorError>),
    /// The store's index.
    #[error(transparent)]
    Index(#[from] Arc<kiln_cache::IndexError>),
    /// The store.
    #[error(transparent)]
    Store(#[from] Arc<kiln_cache::StoreError>),
    /// A layer of a result that another machine made.
    #[error(transparent)]
    Cache(#[from] Arc<CacheError>),
    /// The thread that did the work panicked: a bug of kiln.
    #[error("kiln failed unexpectedly; please report this")]
    Panic,
}

impl BuildWorker {
    /// A worker for one build.
    pub(crate) fn new(
        store: Store,
        executor: Executor,
        imports: SharedImports,
        ahead: Option<Ahead>,
    ) -> Self {
        Self { store, executor: Arc::new(executor), decisions: Arc::default(), imports, ahead }
    }

    /// What the solver decided so far.
    pub(crate) fn decisions(&self) -> Decisions {
        std::mem::take(&mut *self.decisions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn content_of(&self, op: &Op, index: usize, input: &Value) -> Result<ContentHash, WorkError> {
        let (op, input) = (op.clone(), input.clone());
        self.blocking(move |this| Ok(this.executor.content(&op, index, &input).map_err(Arc::new)?)).await
    }

    /// The same value, of layers that are in the store.
    async fn local(&self, value: &Value) -> Result<Value, WorkError> {
        match (&self.imports, value) {
            (Some(imports), Value::Snapshot(snapshot)) => {
                Ok(Value::Snapshot(imports.localise(snapshot).await.map_err(Arc::new)?))
            }
            _ => Ok(value.clone()),
        }
    }

    /// Runs what blocks on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, WorkError> + Send + 'static,
    ) -> Result<T, WorkError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || work(&this)).await.map_err(|_| WorkError::Panic)?
    }
}

/// An op's base: what its layer is laid on.
fn base(op: &Op, inputs: &[Value]) -> Snapshot {
    match (op, inputs.first()) {
        (Op::Exec(_) | Op::File(_), Some(Value::Snapshot(base))) => base.clone(),
        _ => Snapshot::scratch(),
    }
}

impl Worker for BuildWorker {
    type Output = Value;
    type Error = WorkError;
    type Claim = FileLock;

    async fn lock(&self, _step: StepId, source: &Vertex) -> Result<ContentHash, WorkError> {
        let Op::Source(source) = &source.op else { return Ok(ContentHash::of(b"")) };
        let lock = self.executor.lock(source).await.map_err(Arc::new)?;
        // What the op itself pins needs no further pin.
        Ok(lock.unwrap_or_else(|| ContentHash::of(b"")))
    }

    async fn asked(&self, definition: &Definition) -> Result<Option<Value>, WorkError> {
        // One row of a database that is in memory: not worth a thread.
        let known = self.store.index().asked(&definition.0).map_err(Arc::new)?;
        if let (None, Some(imports)) = (&known, &self.imports) {
            let layers = imports.asked(&definition.0).await;
            return Ok(layers.map(|layers| Value::Snapshot(Snapshot { layers })));
        }
        Ok(known.map(Value::Snapshot))
    }

    async fn made(&self, key: &CacheKey, op: &Op, inputs: &[Value]) -> Result<Option<Value>, WorkError> {
        // A context is walked once a build, and only its layers are remembered.
        if matches!(op, Op::Source(Source::Local(_))) {
            return Ok(None);
        }
        let mut added = self.store.index().made(&key.0).map_err(Arc::new)?;
        if let (None, Some(imports)) = (&added, &self.imports) {
            added = imports.made(&key.0).await;
        }
        Ok(added.map(|added| {
            let mut whole = base(op, inputs);
            whole.layers.extend(added);
            Value::Snapshot(whole)
        }))
    }

    async fn content(&self, op: &Op, index: usize, input: &Value) -> Result<ContentHash, WorkError> {
        let content = self.content_of(op, index, input).await;
        match (&content, &self.imports, input) {
            // What was asked of the input cannot be told without its files.
            (Err(_), Some(imports), Value::Snapshot(snapshot)) if imports.is_elsewhere(snapshot) => {
                let local = self.local(input).await?;
                self.content_of(op, index, &local).await
            }
            _ => content,
        }
    }

    async fn claim(&self, key: &CacheKey) -> Result<FileLock, WorkError> {
        let name = format!("key-{}", key.0.hex());
        self.blocking(move |this| Ok(this.store.lock(&name).map_err(Arc::new)?)).await
    }

    async fn run(&self, step: StepId, vertex: &Vertex, inputs: &[Value]) -> Result<Value, WorkError> {
        let mut local = Vec::with_capacity(inputs.len());
        for input in inputs {
            local.push(self.local(input).await?);
        }
        Ok(self.executor.run(step, &vertex.op, &local).await.map_err(Arc::new)?)
    }

    async fn remember(
        &self,
        definition: &Definition,
        key: &CacheKey,
        op: &Op,
        inputs: &[Value],
        output: &Value,
    ) -> Result<(), WorkError> {
        let Value::Snapshot(whole) = output else { return Ok(()) };
        if self.imports.as_ref().is_some_and(|imports| imports.is_elsewhere(whole)) {
            // It is remembered when its layers are here.
            return Ok(());
        }
        let (definition, key, whole) = (definition.0, key.0, whole.clone());
        let below = base(op, inputs).layers.len();
        self.blocking(move |this| {
            let added = whole.layers.get(below..).unwrap_or_default();
            Ok(this.store.index().remember(Some(&definition), &key, added, &whole).map_err(Arc::new)?)
        })
        .await
    }

    fn decided(&self, decided: &Decided<'_, Value>) {
        let looked_at = decided.key.is_some();
        let added = decided.output.filter(|_| looked_at).and_then(|output| match output {
            Value::Snapshot(whole) => {
                // A source's inputs are none: all of its layers are its own.
                let below = match decided.inputs.first() {
                    Some(Value::Snapshot(base)) => base.layers.len(),
                    _ => 0,
                };
                Some(whole.layers.get(below..).unwrap_or_default().to_vec())
            }
            Value::Context(_) => None,
        });
        if let (Some(ahead), Some(added)) = (&self.ahead, &added) {
            ahead.made(decided.vertex, added);
        }
        let decision = Decision {
            how: decided.how,
            definition: decided.definition.0,
            lock: decided.lock.copied(),
            key: decided.key.map(|key| key.0),
            contents: decided.contents.to_vec(),
            added,
        };
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner).insert(decided.vertex, decision);
    }
}
