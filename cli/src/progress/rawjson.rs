//! Progress as BuildKit's status messages (client/graph.go, SolveStatus), one JSON document a line on standard error.

use std::io::Write;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_core::{Event, Outcome, StepId, Stream};
use serde_json::{Value, json};

use super::steps::{Change, Part, Step, Steps};
use super::{Display, wall};
use crate::environment::rfc3339;

/// Writes a line an event.
pub(super) struct RawJson {
    steps: Steps,
    started: SystemTime,
    out: Box<dyn Write + Send>,
}

impl RawJson {
    pub(super) fn new(started: SystemTime) -> Self {
        Self::to(Box::new(std::io::stderr()), started)
    }

    pub(super) fn to(out: Box<dyn Write + Send>, started: SystemTime) -> Self {
        Self { steps: Steps::default(), started, out }
    }

    fn time(&self, at: Duration) -> Value {
        rfc3339(wall(self.started, at)).into()
    }

    fn vertex(&self, step: &Step) -> Value {
        let mut vertex = json!({
            "digest": digest(step.id),
            "name": step.name,
        });
        if !step.inputs.is_empty() {
            vertex["inputs"] = step.inputs.iter().map(|input| digest(*input)).collect();
        }
        let end = step.completed.as_ref();
        if let Some(started) = step.started.or(end.map(|(at, _)| *at)) {
            vertex["started"] = self.time(started);
        }
        if let Some((at, outcome)) = end {
            vertex["completed"] = self.time(*at);
            match outcome {
                Outcome::Done => {}
                Outcome::Cached => vertex["cached"] = true.into(),
                Outcome::Failed(error) => vertex["error"] = error.clone().into(),
                Outcome::Canceled => vertex["error"] = "context canceled".into(),
            }
        }
        vertex
    }

    fn status(&self, step: &Step, part: &Part, at: Duration) -> Value {
        let mut status = json!({
            "id": part.id,
            "vertex": digest(step.id),
            "total": part.total,
            "current": part.current,
            "timestamp": self.time(at),
            "started": self.time(part.started),
        });
        if let Some(completed) = part.completed {
            status["completed"] = self.time(completed);
        }
        status
    }
}

/// A step's identity in the form that readers of BuildKit's messages expect.
fn digest(id: StepId) -> String {
    format!("sha256:{}", id.0.hex())
}

impl Display for RawJson {
    fn event(&mut self, at: Duration, event: &Event) {
        let change = self.steps.apply(at, event);
        let message = match (event, change) {
            (Event::Queued { step, name, inputs }, _) => {
                let inputs: Vec<String> = inputs.iter().map(|input| digest(*input)).collect();
                json!({ "vertexes": [{ "digest": digest(*step), "name": name, "inputs": inputs }] })
            }
            (_, Change::Started(index) | Change::Completed(index, _)) => {
                json!({ "vertexes": [self.vertex(&self.steps.steps[index])] })
            }
            (_, Change::Part(index, part)) => {
                let step = &self.steps.steps[index];
                json!({ "statuses": [self.status(step, &step.parts[part], at)] })
            }
            (Event::Log { step, stream, data }, _) => {
                let stream = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                json!({ "logs": [{
                    "vertex": digest(*step),
                    "stream": stream,
                    "data": STANDARD.encode(data),
                    "timestamp": self.time(at),
                }] })
            }
            (Event::Warning { diagnostic, file }, _) => {
                let rule = diagnostic.rule.map_or(String::new(), |rule| format!("{rule}: "));
                let mut warning = json!({
                    "vertex": digest(StepId::internal("load build definition")),
                    "level": 1,
                    "short": STANDARD.encode(format!("{rule}{}", diagnostic.message)),
                });
                if let Some(file) = file {
                    let (start, end) =
                        (file.position(diagnostic.span.start), file.position(diagnostic.span.end));
                    warning["sourceInfo"] =
                        json!({ "filename": file.name, "data": STANDARD.encode(&*file.text) });
                    warning["range"] = json!([{
                        "start": { "line": start.0, "character": start.1 - 1 },
                        "end": { "line": end.0, "character": end.1 - 1 },
                    }]);
                }
                json!({ "warnings": [warning] })
            }
            _ => return,
        };
        // Nobody reads: the build goes on.
        let _ = writeln!(self.out, "{message}");
    }
}
