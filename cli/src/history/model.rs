//! The steps of a build: when each began and ended, how, and which of them the build waited for.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use kiln_core::{Event, Outcome as Ended, StepId};

/// As many of the last lines of a step's output are kept.
const TAIL: usize = 20;
/// As many bytes of one of them: a step may write without ever ending a line.
const LONGEST: usize = 4 << 10;

/// The steps of a build, in the order in which they were announced.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) steps: Vec<Step>,
    /// How long the whole build took.
    pub(crate) took: Duration,
    index: HashMap<StepId, usize>,
}

/// A step.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// As progress shows it.
    pub(crate) name: String,
    /// Its id in progress.
    pub(crate) digest: String,
    /// The steps that it waited for.
    pub(crate) inputs: Vec<usize>,
    /// When it began, if it ran.
    pub(crate) started: Option<Duration>,
    /// When it was known how it ended.
    pub(crate) ended: Option<Duration>,
    /// How.
    pub(crate) outcome: Outcome,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// The last lines of its output.
    pub(crate) tail: VecDeque<String>,
    /// Whether the build would have ended sooner if it had been faster.
    pub(crate) critical: bool,
    partial: String,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Outcome {
    /// It did not begin.
    #[default]
    Waiting,
    /// It ran.
    Done,
    /// Its result was known.
    Cached,
    /// It failed.
    Failed,
    /// It was given up.
    Canceled,
}

impl Outcome {
    /// In one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl Step {
    /// How long it ran.
    pub(crate) fn took(&self) -> Duration {
        match (self.started, self.ended) {
            (Some(started), Some(ended)) => ended.saturating_sub(started),
            _ => Duration::ZERO,
        }
    }

    /// Whether it is a step of the Dockerfile, and not one of kiln's own.
    pub(crate) fn is_instruction(&self) -> bool {
        self.name.starts_with('[') && !self.name.starts_with("[internal]")
    }
}

impl Model {
    /// The model of a build that was kept.
    pub(crate) fn of(events: &[(Duration, Event)], took: Duration) -> Self {
        let mut model = Self::default();
        for (at, event) in events {
            model.event(*at, event);
        }
        model.finish(took);
        model
    }

    /// Takes note of an event.
    pub(crate) fn event(&mut self, at: Duration, event: &Event) {
        match event {
            Event::Queued { step, name, inputs } => {
                let inputs = inputs.iter().map(|input| self.step(*input)).collect();
                let number = self.step(*step);
                let step = &mut self.steps[number];
                step.name.clone_from(name);
                step.inputs = inputs;
            }
            Event::Started { step } => {
                let number = self.step(*step);
                self.steps[number].started.get_or_insert(at);
            }
            Event::Completed { step, outcome } => {
                let number = self.step(*step);
                let step = &mut self.steps[number];
                if step.ended.is_some() {
                    return;
                }
                step.ended = Some(at);
                step.outcome = match outcome {
                    Ended::Done => Outcome::Done,
                    Ended::Cached => Outcome::Cached,
                    Ended::Failed(_) => Outcome::Failed,
                    Ended::Canceled => Outcome::Canceled,
                };
                if let Ended::Failed(error) = outcome {
                    step.error = Some(error.clone());
                }
            }
            Event::Log { step, data, .. } => {
                let number = self.step(*step);
                self.steps[number].log(data);
            }
            Event::Status { .. } | Event::Warning { .. } => {}
        }
    }

    /// The build has ended after `took`: what still ran was given up.
    pub(crate) fn finish(&mut self, took: Duration) {
        self.took = took;
        for step in &mut self.steps {
            if step.started.is_some() && step.ended.is_none() {
                (step.ended, step.outcome) = (Some(took), Outcome::Canceled);
            }
            if !step.partial.is_empty() {
                let rest = std::mem::take(&mut step.partial);
                step.keep(&rest);
            }
        }
        self.mark_critical();
    }

    /// From the step that ended last back to what each one waited for longest.
    fn mark_critical(&mut self) {
        let ran = |step: &Step| step.started.is_some();
        let last =
            (0..self.steps.len()).filter(|&n| ran(&self.steps[n])).max_by_key(|&n| self.steps[n].ended);
        let mut current = last;
        while let Some(number) = current {
            self.steps[number].critical = true;
            let began = self.steps[number].started.unwrap_or_default();
            let before = |n: &usize| {
                *n != number
                    && !self.steps[*n].critical
                    && ran(&self.steps[*n])
                    && self.steps[*n].ended <= Some(began)
            };
            let inputs = self.steps[number].inputs.iter().copied().filter(before);
            // A step of kiln's own (an export, a load) names no inputs: it waited for whatever ended last.
            current = inputs.max_by_key(|&n| self.steps[n].ended).or_else(|| {
                if !self.steps[number].inputs.is_empty() {
                    return None;
                }
                (0..self.steps.len()).filter(before).max_by_key(|&n| self.steps[n].ended)
            });
        }
    }

    fn step(&mut self, id: StepId) -> usize {
        let next = self.steps.len();
        let number = *self.index.entry(id).or_insert(next);
        if number == next {
            let digest = format!("sha256:{}", id.0.hex());
            self.steps.push(Step { digest, ..Step::default() });
        }
        number
    }
}

impl Step {
    fn log(&mut self, data: &[u8]) {
        for piece in String::from_utf8_lossy(data).split_inclusive('\n') {
            self.partial.push_str(piece);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.partial);
                self.keep(&line);
            } else if self.partial.len() > 2 * LONGEST {
                self.partial = end(&self.partial).to_owned();
            }
        }
    }

    fn keep(&mut self, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        let line = line.trim_end_matches(['\n', '\r']);
        // A progress bar overwrites its line: what stands is what came last.
        self.tail.push_back(end(line.rsplit('\r').next().unwrap_or(line)).to_owned());
    }
}

/// As much of the end of a line as is kept.
fn end(line: &str) -> &str {
    let mut start = line.len().saturating_sub(LONGEST);
    while !line.is_char_boundary(start) {
        start += 1;
    }
    &line[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_critical_path_is_what_the_build_waited_for() {
        let ids: Vec<StepId> = ["base", "long", "short", "join", "export"].map(StepId::internal).into();
        let mut model = Model::default();
        let inputs = [vec![], vec![0], vec![0], vec![1, 2], vec![]];
        for (number, inputs) in inputs.iter().enumerate() {
            let inputs = inputs.iter().map(|&n: &usize| ids[n]).collect();
            let name = format!("{number}");
            model.event(Duration::ZERO, &Event::Queued { step: ids[number], name, inputs });
        }
        for (number, start, end) in [(0, 0, 1), (1, 1, 9), (2, 1, 3), (3, 9, 10), (4, 10, 12)] {
            model.event(Duration::from_secs(start), &Event::Started { step: ids[number] });
            let ended = Event::Completed { step: ids[number], outcome: Ended::Done };
            model.event(Duration::from_secs(end), &ended);
        }
        model.finish(Duration::from_secs(12));
        let critical: Vec<bool> = model.steps.iter().map(|step| step.critical).collect();
        assert_eq!(critical, [true, true, false, true, true]);
    }
}
