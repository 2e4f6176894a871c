//! Events as lines of JSON, compressed, and back. A step is a number from the line that announces it on.
//!
//! ```text
//! ["q", µs, step, digest, name, [inputs]]    announced      ["s", µs, step]                started
//! ["c", µs, step, outcome, error]            ended          ["p", µs, step, id, n, total]  a part is done
//! ["l", µs, step, stream, text]              output         ["b", …, base64]               output that is no text
//! ["w", µs, text]                            a warning      ["e", explanation]             why the steps ran
//! ```

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_core::{ContentHash, Diagnostic, Event, Outcome, Severity, Span, StepId, Stream};
use serde_json::{Value, json};

use super::Told;

/// Lines are compressed when they are this many bytes.
const CHUNK: usize = 1 << 20;

/// As much output of one step is kept, in bytes.
const LIMIT: usize = 32 << 20;

/// As much is kept of a build, compressed.
const TOTAL: usize = 64 << 20;

/// Takes events and makes lines of them.
#[derive(Default)]
pub(super) struct Encoder {
    compressed: Vec<u8>,
    lines: Vec<u8>,
    steps: HashMap<StepId, usize>,
    output: HashMap<usize, usize>,
}

impl Encoder {
    pub(super) fn event(&mut self, at: Duration, event: &Event) {
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let line = match event {
            Event::Queued { step, name, inputs } => {
                let inputs: Vec<usize> = inputs.iter().map(|input| self.number(*input)).collect();
                let number = self.number(*step);
                json!(["q", at, number, step.0.hex(), name, inputs])
            }
            Event::Started { step } => json!(["s", at, self.number(*step)]),
            Event::Completed { step, outcome } => {
                let (word, error) = match outcome {
                    Outcome::Done => ("done", None),
                    Outcome::Cached => ("cached", None),
                    Outcome::Failed(error) => ("failed", Some(error)),
                    Outcome::Canceled => ("canceled", None),
                };
                json!(["c", at, self.number(*step), word, error])
            }
            Event::Status { step, id, current, total, done: true } => {
                json!(["p", at, self.number(*step), id, current, total])
            }
            Event::Status { .. } => return,
            Event::Log { step, stream, data } => {
                let number = self.number(*step);
                let stream = if *stream == Stream::Stdout { 1 } else { 2 };
                let kept = self.output.entry(number).or_default();
                if *kept > LIMIT || self.compressed.len() > TOTAL {
                    return;
                }
                *kept += data.len();
                if *kept > LIMIT {
                    json!(["l", at, number, stream, "\n[the rest of the output was not kept]\n"])
                } else {
                    match std::str::from_utf8(data) {
                        Ok(text) => json!(["l", at, number, stream, text]),
                        Err(_) => json!(["b", at, number, stream, STANDARD.encode(data)]),
                    }
                }
            }
            Event::Warning { diagnostic, file } => {
                let rule = diagnostic.rule.map_or(String::new(), |rule| format!("{rule}: "));
                let place = file.as_ref().map_or(String::new(), |file| {
                    format!(" ({} line {})", file.name, file.position(diagnostic.span.start).0)
                });
                json!(["w", at, format!("{rule}{}{place}", diagnostic.message)])
            }
        };
        self.line(&line);
    }

    pub(super) fn explained(&mut self, explained: &Value) {
        self.line(&json!(["e", explained]));
    }

    /// All lines, compressed.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.compress();
        std::mem::take(&mut self.compressed)
    }

    fn number(&mut self, step: StepId) -> usize {
        let next = self.steps.len();
        *self.steps.entry(step).or_insert(next)
    }

    fn line(&mut self, line: &Value) {
        // A vector takes every write.
        let _ = serde_json::to_writer(&mut self.lines, line);
        self.lines.push(b'\n');
        if self.lines.len() > CHUNK {
            self.compress();
        }
    }

    /// One frame: frames one after the other are one stream.
    fn compress(&mut self) {
        if let Ok(frame) = zstd::bulk::compress(&self.lines, 1) {
            self.compressed.extend(frame);
        }
        self.lines.clear();
    }
}

/// What was told. What cannot be read is passed over.
pub(super) fn decode(compressed: &[u8]) -> Told {
    let mut told = Told::default();
    let lines = zstd::decode_all(compressed).unwrap_or_default();
    let mut steps: HashMap<u64, StepId> = HashMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(Value::Array(line)) = serde_json::from_slice::<Value>(line) else { continue };
        match line.as_slice() {
            [kind, explained] if kind == "e" => told.explained.push(explained.clone()),
            [kind, at, rest @ ..] => {
                let event = kind.as_str().and_then(|kind| event(kind, rest, &mut steps));
                if let (Some(at), Some(event)) = (at.as_u64(), event) {
                    told.events.push((Duration::from_micros(at), event));
                }
            }
            _ => {}
        }
    }
    told
}

fn event(kind: &str, line: &[Value], steps: &mut HashMap<u64, StepId>) -> Option<Event> {
    if kind == "w" {
        let message = line.first()?.as_str()?.to_owned();
        let diagnostic =
            Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message, Span::default()) };
        return Some(Event::Warning { diagnostic, file: None });
    }
    let number = line.first()?.as_u64()?;
    if kind == "q" {
        let step = StepId(line.get(1)?.as_str()?.parse::<ContentHash>().ok()?);
        steps.insert(number, step);
        let inputs = line.get(3)?.as_array()?.iter();
        let inputs = inputs.filter_map(|input| steps.get(&input.as_u64()?).copied()).collect();
        return Some(Event::Queued { step, name: line.get(2)?.as_str()?.to_owned(), inputs });
    }
    let step = *steps.get(&number)?;
    let text = |at: usize| line.get(at).and_then(Value::as_str);
    let count = |at: usize| line.get(at).and_then(Value::as_u64).unwrap_or(0);
    Some(match kind {
        "s" => Event::Started { step },
        "c" => {
            let outcome = match text(1)? {
                "done" => Outcome::Done,
                "cached" => Outcome::Cached,
                "failed" => Outcome::Failed(text(2).unwrap_or_default().to_owned()),
                _ => Outcome::Canceled,
            };
            Event::Completed { step, outcome }
        }
        "p" => {
            Event::Status { step, id: text(1)?.to_owned(), current: count(2), total: count(3), done: true }
        }
        "l" | "b" => {
            let data = match kind {
                "l" => text(2)?.as_bytes().to_vec(),
                _ => STANDARD.decode(text(2)?).ok()?,
            };
            let stream = if count(1) == 1 { Stream::Stdout } else { Stream::Stderr };
            Event::Log { step, stream, data }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_they_were() {
        let (a, b) = (StepId::internal("a"), StepId::internal("b"));
        let log = |data: &[u8]| Event::Log { step: b, stream: Stream::Stderr, data: data.to_vec() };
        let events = [
            Event::Queued { step: a, name: "A".into(), inputs: vec![] },
            Event::Queued { step: b, name: "B".into(), inputs: vec![a] },
            Event::Started { step: b },
            log(b"text\n"),
            log(b"\xff\n"),
            Event::Status { step: b, id: "part".into(), current: 1, total: 2, done: true },
            Event::Completed { step: a, outcome: Outcome::Cached },
            Event::Completed { step: b, outcome: Outcome::Failed("no".into()) },
        ];
        let mut encoder = Encoder::default();
        for (at, event) in (0..).zip(&events) {
            encoder.event(Duration::from_millis(at), event);
        }
        encoder.explained(&json!({ "why": 1 }));
        let told = decode(&encoder.finish());
        let texts: Vec<String> = told.events.iter().map(|(_, event)| format!("{event:?}")).collect();
        assert_eq!(texts, events.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>());
        assert_eq!(told.events[7].0, Duration::from_millis(7));
        assert_eq!(told.explained, [json!({ "why": 1 })]);
    }
}
