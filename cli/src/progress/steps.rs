//! What is known of every step while a build runs: the picture that all displays draw from.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use kiln_core::{Event, Outcome, StepId};

/// How many of the last lines of a step's output are kept for the picture and for its failure.
const TAIL: usize = 20;

/// A line that is longer is shown in pieces: it may never end.
const LONGEST_LINE: usize = 64 << 10;

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) id: StepId,
    /// From 1, in the order in which steps became visible.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) inputs: Vec<StepId>,
    pub(super) started: Option<Duration>,
    pub(super) completed: Option<(Duration, Outcome)>,
    pub(super) parts: Vec<Part>,
    /// The last whole lines of the step's output.
    pub(super) tail: VecDeque<String>,
    /// A line that has not ended yet.
    partial: Vec<u8>,
}

/// A part of a step: a layer's download.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) id: String,
    pub(super) current: u64,
    pub(super) total: u64,
    pub(super) started: Duration,
    pub(super) completed: Option<Duration>,
}

impl Step {
    /// How long it took, or has taken so far.
    pub(super) fn elapsed(&self, now: Duration) -> Duration {
        match (self.started, &self.completed) {
            (Some(started), Some((completed, _))) => completed.saturating_sub(started),
            (Some(started), None) => now.saturating_sub(started),
            (None, _) => Duration::ZERO,
        }
    }

    /// Splits what came into lines, keeps the last ones, and gives the new whole lines.
    pub(super) fn log(&mut self, data: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in data.split_inclusive(|&b| b == b'\n') {
            self.partial.extend_from_slice(piece);
            let ended = self.partial.pop_if(|last| *last == b'\n').is_some();
            if ended || self.partial.len() >= LONGEST_LINE {
                let line = std::mem::take(&mut self.partial);
                lines.push(self.keep(&line));
            }
        }
        lines
    }

    /// The line that never ended.
    pub(super) fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.partial);
        (!rest.is_empty()).then(|| self.keep(&rest))
    }

    fn keep(&mut self, line: &[u8]) -> String {
        let text = String::from_utf8_lossy(line);
        // A progress bar overwrites its line: what stands is what came last.
        let text = text.trim_end_matches('\r');
        let text = text.rsplit('\r').next().unwrap_or(text).to_owned();
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.clone());
        text
    }
}

/// All steps, in the order in which they became visible.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    index: HashMap<StepId, usize>,
    announced: HashMap<StepId, (String, Vec<StepId>)>,
    pub(super) queued: usize,
}

/// What an event changed, for displays that print changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Started(usize),
    Log(usize, Vec<String>),
    Part(usize, usize),
    Completed(usize, Vec<String>),
}

impl Steps {
    /// Takes note of `event`.
    pub(super) fn apply(&mut self, at: Duration, event: &Event) -> Change {
        match event {
            Event::Queued { step, name, inputs } => {
                if self.announced.insert(*step, (name.clone(), inputs.clone())).is_none() {
                    self.queued += 1;
                }
                Change::None
            }
            Event::Started { step } => {
                let index = self.visible(*step);
                let step = &mut self.steps[index];
                // What was known and is gone is made after all.
                if step.completed.take().is_some() {
                    step.started = None;
                }
                step.started.get_or_insert(at);
                Change::Started(index)
            }
            Event::Completed { step, outcome } => {
                let index = self.visible(*step);
                let step = &mut self.steps[index];
                if step.completed.is_some() {
                    return Change::None;
                }
                let rest = step.rest().into_iter().collect();
                step.completed = Some((at, outcome.clone()));
                Change::Completed(index, rest)
            }
            Event::Status { step, id, current, total, done } => {
                let index = self.visible(*step);
                let parts = &mut self.steps[index].parts;
                let at_part = parts.iter().position(|part| part.id == *id).unwrap_or_else(|| {
                    parts.push(Part { id: id.clone(), current: 0, total: 0, started: at, completed: None });
                    parts.len() - 1
                });
                let part = &mut parts[at_part];
                (part.current, part.total) = (*current, *total);
                part.completed = done.then_some(part.completed.unwrap_or(at));
                Change::Part(index, at_part)
            }
            Event::Log { step, data, .. } => {
                let index = self.visible(*step);
                let lines = self.steps[index].log(data);
                Change::Log(index, lines)
            }
            Event::Warning { .. } => Change::None,
        }
    }

    fn visible(&mut self, id: StepId) -> usize {
        if let Some(&index) = self.index.get(&id) {
            return index;
        }
        let index = self.steps.len();
        let (name, inputs) = self.announced.get(&id).cloned().unwrap_or_default();
        self.steps.push(Step {
            id,
            number: index + 1,
            name,
            inputs,
            started: None,
            completed: None,
            parts: Vec::new(),
            tail: VecDeque::new(),
            partial: Vec::new(),
        });
        self.index.insert(id, index);
        index
    }
}

#[cfg(test)]
mod tests {
    use kiln_core::Stream;

    use super::*;

    #[test]
    fn output_is_split_into_lines_across_pieces() {
        let mut steps = Steps::default();
        let step = StepId::internal("x");
        let log = |data: &str| Event::Log { step, stream: Stream::Stdout, data: data.as_bytes().to_vec() };
        assert_eq!(steps.apply(Duration::ZERO, &log("a")), Change::Log(0, vec![]));
        assert_eq!(
            steps.apply(Duration::ZERO, &log("b\n10%\r50%\r\nc")),
            Change::Log(0, vec!["ab".into(), "50%".into()])
        );
        let end = Event::Completed { step, outcome: Outcome::Done };
        assert_eq!(steps.apply(Duration::ZERO, &end), Change::Completed(0, vec!["c".into()]));
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let mut steps = Steps::default();
        let step = StepId::internal("x");
        let data = vec![b'x'; LONGEST_LINE / 2];
        let mut log =
            || steps.apply(Duration::ZERO, &Event::Log { step, stream: Stream::Stdout, data: data.clone() });
        assert_eq!(log(), Change::Log(0, vec![]));
        assert_eq!(log(), Change::Log(0, vec!["x".repeat(LONGEST_LINE)]));
        assert_eq!(log(), Change::Log(0, vec![]));
    }
}
