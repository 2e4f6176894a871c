//! The walk: lock, define, ask, make.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_core::{ContentHash, Event, Graph, Op, Outcome, Progress, StepId, VertexId};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::keys::{cache_key, definition, fresh, step_ids};
use crate::once::Turns;
use crate::{Decided, Definition, How, SolveError, Worker};

/// A vertex's output, on its way to the vertices that read it.
type Slot<T> = watch::Receiver<Option<T>>;

/// Finds or makes the output of `root`.
///
/// # Errors
/// The first step that failed; everything else is given up.
pub async fn solve<W: Worker>(
    graph: Arc<Graph>,
    root: VertexId,
    worker: Arc<W>,
    progress: Arc<dyn Progress>,
) -> Result<W::Output, SolveError<W::Error>> {
    let run = Arc::new(Run {
        steps: step_ids(&graph),
        fresh: fresh(&graph),
        turns: Turns::default(),
        graph,
        worker,
        progress,
    });
    let needed = run.graph.needed(root);
    for &vertex in &needed {
        run.queued(vertex);
    }
    let locks = run.lock_sources(&needed).await?;
    let definitions = run.define(&needed, &locks);
    let known = run.ask(root, &needed, &locks, &definitions).await?;
    run.make(root, &needed, &locks, &definitions, known).await
}

/// What all steps of one solve share.
struct Run<W> {
    graph: Arc<Graph>,
    worker: Arc<W>,
    progress: Arc<dyn Progress>,
    steps: Vec<StepId>,
    fresh: Vec<bool>,
    turns: Turns,
}

/// What is known without making anything: the outputs, and the vertices that still have to be made.
struct Known<T> {
    outputs: HashMap<VertexId, T>,
    missing: Vec<VertexId>,
}

impl<W: Worker> Run<W> {
    /// Locks all needed sources at the same time.
    async fn lock_sources(
        self: &Arc<Self>,
        needed: &[VertexId],
    ) -> Result<HashMap<VertexId, ContentHash>, SolveError<W::Error>> {
        let mut tasks = JoinSet::new();
        for &id in needed {
            if matches!(self.graph.vertex(id).op, Op::Source(_)) {
                let run = Arc::clone(self);
                tasks.spawn(async move {
                    let locked = run.worker.lock(run.step(id), run.graph.vertex(id)).await;
                    (id, locked.map_err(|cause| run.failed(id, cause)))
                });
            }
        }
        let mut locks = HashMap::new();
        while let Some(joined) = tasks.join_next().await {
            let (id, lock) = joined.map_err(|_| self.panicked(needed[0]))?;
            locks.insert(id, lock?);
        }
        Ok(locks)
    }

    fn define(
        &self,
        needed: &[VertexId],
        locks: &HashMap<VertexId, ContentHash>,
    ) -> HashMap<VertexId, Definition> {
        let mut definitions: HashMap<VertexId, Definition> = HashMap::with_capacity(needed.len());
        for id in needed {
            let vertex = self.graph.vertex(*id);
            let inputs: Vec<Definition> = vertex.inputs.iter().map(|input| definitions[input]).collect();
            definitions.insert(*id, definition(&vertex.op, locks.get(id), &inputs));
        }
        definitions
    }

    /// Asks from the root down, and no further than the first known output on each way.
    async fn ask(
        &self,
        root: VertexId,
        needed: &[VertexId],
        locks: &HashMap<VertexId, ContentHash>,
        definitions: &HashMap<VertexId, Definition>,
    ) -> Result<Known<W::Output>, SolveError<W::Error>> {
        let mut known = Known { outputs: HashMap::new(), missing: Vec::new() };
        let mut visited = std::collections::HashSet::from([root]);
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if !self.fresh[id.index()] {
                let asked =
                    self.worker.asked(&definitions[&id]).await.map_err(|cause| self.failed(id, cause))?;
                if let Some(output) = asked {
                    known.outputs.insert(id, output);
                    continue;
                }
            }
            known.missing.push(id);
            open.extend(self.graph.vertex(id).inputs.iter().copied().filter(|input| visited.insert(*input)));
        }
        // Insertion order is a topological order.
        known.missing.sort_unstable();
        let missing: std::collections::HashSet<VertexId> = known.missing.iter().copied().collect();
        for &id in needed.iter().filter(|id| !missing.contains(id)) {
            let output = known.outputs.get(&id);
            self.worker.decided(&Decided {
                vertex: id,
                how: if output.is_some() { How::Asked } else { How::Beyond },
                definition: &definitions[&id],
                lock: locks.get(&id),
                key: None,
                contents: &[],
                inputs: &[],
                output,
            });
            self.completed(id, Outcome::Cached);
        }
        Ok(known)
    }

    /// Makes what is missing, each vertex as soon as its inputs are there.
    async fn make(
        self: &Arc<Self>,
        root: VertexId,
        needed: &[VertexId],
        locks: &HashMap<VertexId, ContentHash>,
        definitions: &HashMap<VertexId, Definition>,
        known: Known<W::Output>,
    ) -> Result<W::Output, SolveError<W::Error>> {
        let mut slots: HashMap<VertexId, Slot<W::Output>> = HashMap::with_capacity(needed.len());
        for (id, output) in known.outputs {
            slots.insert(id, watch::channel(Some(output)).1);
        }
        let mut tasks = JoinSet::new();
        let mut tasks_of = HashMap::new();
        for id in known.missing {
            let (sender, receiver) = watch::channel(None);
            slots.insert(id, receiver);
            let inputs: Vec<Slot<W::Output>> =
                self.graph.vertex(id).inputs.iter().map(|input| slots[input].clone()).collect();
            let run = Arc::clone(self);
            let (lock, definition) = (locks.get(&id).copied(), definitions[&id]);
            let task = tasks.spawn(async move {
                let Some(inputs) = ready(inputs).await else {
                    // An input failed: that step's error is the build's.
                    return Ok(());
                };
                let output = run.make_one(id, lock, definition, &inputs).await?;
                // Nobody may be left to read it.
                let _ = sender.send(Some(output));
                Ok(())
            });
            tasks_of.insert(task.id(), id);
        }
        while let Some(joined) = tasks.join_next_with_id().await {
            match joined {
                Ok((_, Ok(()))) => {}
                Ok((_, Err(error))) => return Err(error),
                Err(failure) => return Err(self.panicked(tasks_of[&failure.id()])),
            }
        }
        // Every task ended well, so the root's slot is filled.
        let output = slots[&root].borrow().clone();
        output.ok_or_else(|| self.panicked(root))
    }

    async fn make_one(
        &self,
        id: VertexId,
        lock: Option<ContentHash>,
        definition: Definition,
        inputs: &[W::Output],
    ) -> Result<W::Output, SolveError<W::Error>> {
        let vertex = self.graph.vertex(id);
        let fail = |cause| self.failed(id, cause);
        let mut contents = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.iter().enumerate() {
            contents.push(self.worker.content(&vertex.op, index, input).await.map_err(fail)?);
        }
        let key = cache_key(&vertex.op, lock.as_ref(), &contents);
        let decided = |how, output: Option<&W::Output>| {
            self.worker.decided(&Decided {
                vertex: id,
                how,
                definition: &definition,
                lock: lock.as_ref(),
                key: Some(&key),
                contents: &contents,
                inputs,
                output,
            });
        };
        let _turn = self.turns.take(&key).await;
        let _claim = self.worker.claim(&key).await.map_err(fail)?;
        if !vertex.about.no_cache
            && let Some(output) = self.worker.made(&key, &vertex.op, inputs).await.map_err(fail)?
        {
            self.worker.remember(&definition, &key, &vertex.op, inputs, &output).await.map_err(fail)?;
            decided(How::Made, Some(&output));
            self.completed(id, Outcome::Cached);
            return Ok(output);
        }
        decided(How::Runs, None);
        self.progress.emit(Event::Started { step: self.step(id) });
        let output = self.worker.run(self.step(id), vertex, inputs).await.map_err(fail)?;
        self.worker.remember(&definition, &key, &vertex.op, inputs, &output).await.map_err(fail)?;
        decided(How::Ran, Some(&output));
        self.completed(id, Outcome::Done);
        Ok(output)
    }

    fn step(&self, id: VertexId) -> StepId {
        self.steps[id.index()]
    }

    fn queued(&self, id: VertexId) {
        let vertex = self.graph.vertex(id);
        let inputs = vertex.inputs.iter().map(|input| self.step(*input)).collect();
        self.progress.emit(Event::Queued { step: self.step(id), name: vertex.about.name.clone(), inputs });
    }

    fn completed(&self, id: VertexId, outcome: Outcome) {
        self.progress.emit(Event::Completed { step: self.step(id), outcome });
    }

    fn failed(&self, id: VertexId, cause: W::Error) -> SolveError<W::Error> {
        self.completed(id, Outcome::Failed(cause.to_string()));
        SolveError::Step { vertex: id, name: self.graph.vertex(id).about.name.clone(), cause }
    }

    fn panicked(&self, id: VertexId) -> SolveError<W::Error> {
        SolveError::Panic { vertex: id, name: self.graph.vertex(id).about.name.clone() }
    }
}

/// Waits for all inputs; `None` if one of them will never come.
async fn ready<T: Clone>(slots: Vec<Slot<T>>) -> Option<Vec<T>> {
    let mut outputs = Vec::with_capacity(slots.len());
    for mut slot in slots {
        let output = slot.wait_for(Option::is_some).await.ok()?.clone();
        outputs.push(output?);
    }
    Some(outputs)
}
