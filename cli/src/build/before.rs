//! `kiln debug shell`: the build up to a RUN step, and a look at that in place of running it.

use std::sync::Arc;

use kiln_core::{Graph, Op, Platform, Progress, StepId, VertexId};
use kiln_executor::Look;

use super::{executor, lower, note_isolation, parse, step_error};
use crate::contexts::Contexts;
use crate::error::CommandError;
use crate::request::BuildRequest;
use crate::source::BuildSource;
use crate::wiring::Services;
use crate::worker::BuildWorker;

/// Makes all that the RUN step `step` reads, and has `look` look at it.
///
/// # Errors
/// Those of the build up to there; a step that there is not.
pub(crate) async fn look_before(
    request: &BuildRequest,
    source: &BuildSource,
    with: &Services,
    progress: &Arc<dyn Progress>,
    (step, look): (&str, Arc<dyn Look>),
) -> Result<(), CommandError> {
    note_isolation(with, progress);
    let dockerfile = parse(source, request, progress)?;
    let contexts = Contexts::open(source, &request.contexts)?;
    let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    let lowered = lower(request, source, &contexts, &dockerfile, &platform, with, progress).await?;
    let graph = Arc::new(lowered.graph);
    let found = find(&graph, lowered.root, step)?;
    let executor = executor(request, &contexts, with, progress, None)?;
    let worker = Arc::new(BuildWorker::new(with.store.clone(), executor.clone(), None, None));
    let vertex = graph.vertex(found);
    let mut inputs = Vec::new();
    for input in &vertex.inputs {
        let made =
            kiln_solver::solve(Arc::clone(&graph), *input, Arc::clone(&worker), Arc::clone(progress)).await;
        inputs.push(made.map_err(|error| step_error(&graph, error))?);
    }
    let Op::Exec(exec) = &vertex.op else { return Err(missing(&graph, lowered.root, step)) };
    let name = &vertex.about.name;
    executor.look(StepId::internal(name), exec, &inputs, look).await.map_err(|cause| CommandError::Step {
        name: name.clone(),
        place: vertex.about.place.clone(),
        cause: Box::new(cause),
    })
}

/// The RUN steps that `root` needs, each with the line of the Dockerfile where it begins and the one where it ends.
fn steps(graph: &Graph, root: VertexId) -> impl Iterator<Item = (VertexId, (usize, usize), &str)> {
    graph.needed(root).into_iter().filter_map(|id| {
        let vertex = graph.vertex(id);
        let (file, span) = vertex.about.place.as_ref()?;
        let lines = (file.position(span.start).0, file.position(span.end).0);
        matches!(vertex.op, Op::Exec(_)).then_some((id, lines, vertex.about.name.as_str()))
    })
}

/// The step of a line of the Dockerfile, or that is shown as `[step]` in the progress.
fn find(graph: &Graph, root: VertexId, step: &str) -> Result<VertexId, CommandError> {
    let line: Option<usize> = step.parse().ok();
    let label = format!("[{}]", step.trim_start_matches('[').trim_end_matches(']'));
    let is_meant = |(first, last): (usize, usize), name: &str| match line {
        Some(line) => (first..=last).contains(&line),
        None => name.starts_with(&label),
    };
    steps(graph, root)
        .find(|(_, lines, name)| is_meant(*lines, name))
        .map(|(id, ..)| id)
        .ok_or_else(|| missing(graph, root, step))
}

fn missing(graph: &Graph, root: VertexId, step: &str) -> CommandError {
    let known: Vec<String> =
        steps(graph, root).map(|(_, (line, _), name)| format!("\n  line {line}: {name}")).collect();
    let known = if known.is_empty() { " none".to_owned() } else { known.concat() };
    CommandError::Usage(format!("there is no RUN step `{step}`; those of the build are:{known}"))
}
