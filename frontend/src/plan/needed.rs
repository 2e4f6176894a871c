//! Which stages the target needs, and whether stages need each other.

use kiln_core::Diagnostic;

use super::stage::{Stage, StageId};

/// Whether `target` needs the stage, for each; with `all` every stage of the text counts as a target.
pub(crate) fn needed(stages: &[Stage], target: StageId, all: bool) -> Vec<bool> {
    let mut needed = vec![false; stages.len()];
    let mut queue = vec![target];
    if all {
        queue.extend((0..stages.len()).filter(|&id| !stages[id].source_only));
    }
    while let Some(id) = queue.pop() {
        // What a context stands in for is not performed, so it needs nothing.
        if !std::mem::replace(&mut needed[id], true) && !stages[id].is_replaced() {
            queue.extend(stages[id].needs());
        }
    }
    needed
}

/// Refuses stages whose instructions take files from each other in a circle. What they stand on need not be looked at: it comes
/// before them in the text.
pub(crate) fn check_circles(stages: &[Stage]) -> Result<(), Diagnostic> {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        Not,
        Under,
        Done,
    }
    let mut visits = vec![Visit::Not; stages.len()];
    for start in 0..stages.len() {
        if visits[start] != Visit::Not {
            continue;
        }
        // An explicit stack: a hundred thousand stages may stand on each other.
        let mut path: Vec<(StageId, Vec<StageId>)> = vec![(start, stages[start].sources().collect())];
        visits[start] = Visit::Under;
        while let Some((id, rest)) = path.last_mut() {
            let id = *id;
            let Some(next) = rest.pop() else {
                visits[id] = Visit::Done;
                path.pop();
                continue;
            };
            match visits[next] {
                Visit::Not => {
                    visits[next] = Visit::Under;
                    path.push((next, stages[next].sources().collect()));
                }
                Visit::Under => {
                    let stage = &stages[id];
                    let message = format!("circular dependency detected on stage: {}", stages[next].label);
                    let guilty = stage.steps.iter().find(|step| step.sources.contains(&Some(next)));
                    let place = guilty.map_or(stage.place, |step| step.place(step.instruction.span));
                    return Err(Diagnostic::error(message, place));
                }
                Visit::Done => {}
            }
        }
    }
    Ok(())
}
