//! `--progress rawjson`: BuildKit's status lines, gathered.

use std::collections::BTreeMap;

use serde_json::Value;

/// A step of a build and what it wrote.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// `[stage-0 2/3] RUN make`.
    pub name: String,
    /// Whether its result was known.
    pub cached: bool,
    /// Whether it was started.
    pub started: bool,
    /// Whether it has ended.
    pub completed: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A warning about the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Line in the Dockerfile, from 1.
    pub line: Option<u64>,
    /// `StageNameCasing`; none for a warning that is not a lint rule's.
    pub rule: Option<String>,
    /// The text.
    pub message: String,
}

/// All that a build told.
#[derive(Debug, Default)]
pub struct Progress {
    /// Steps in the order in which they were first named.
    pub steps: Vec<Step>,
    /// Warnings, sorted by line.
    pub warnings: Vec<Warning>,
}

impl Progress {
    /// Reads the status lines out of what kiln wrote to standard error; lines that are not JSON are passed over.
    pub fn read(stderr: &str) -> Self {
        let mut progress = Self::default();
        let mut by_digest: BTreeMap<String, usize> = BTreeMap::new();
        let lines = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for line in lines {
            let list = |name: &str| line[name].as_array().cloned().unwrap_or_default();
            for vertex in list("vertexes") {
                let index = *by_digest.entry(string(&vertex["digest"])).or_insert_with(|| {
                    progress.steps.push(Step::default());
                    progress.steps.len() - 1
                });
                let step = &mut progress.steps[index];
                step.name = string(&vertex["name"]);
                step.cached = vertex["cached"] == true;
                step.started |= vertex["started"].is_string();
                step.completed |= vertex["completed"].is_string();
                if let Some(error) = vertex["error"].as_str().filter(|error| !error.is_empty()) {
                    step.error = Some(error.to_owned());
                }
            }
            for log in list("logs") {
                let Some(step) = by_digest.get(&string(&log["vertex"])) else { continue };
                let step = &mut progress.steps[*step];
                let into = if log["stream"] == 2 { &mut step.stderr } else { &mut step.stdout };
                into.push_str(&String::from_utf8_lossy(&base64(&string(&log["data"]))));
            }
            progress.warnings.extend(list("warnings").iter().map(warning));
        }
        progress.warnings.sort();
        progress
    }

    /// The names of the steps that were performed, not answered from the cache.
    pub fn ran(&self) -> Vec<&str> {
        let ran = self.steps.iter().filter(|step| step.started && !step.cached);
        ran.map(|step| step.name.as_str()).filter(|name| !name.starts_with("[internal]")).collect()
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `short` is `Rule: message (line 3)`.
fn warning(value: &Value) -> Warning {
    let short = String::from_utf8_lossy(&base64(&string(&value["short"]))).into_owned();
    let line = value["range"][0]["start"]["line"].as_u64();
    let message = match line.and_then(|line| short.strip_suffix(&format!(" (line {line})"))) {
        Some(message) => message.to_owned(),
        None => short,
    };
    let rule = message
        .split_once(": ")
        .filter(|(rule, _)| rule.chars().all(char::is_alphanumeric) && rule.starts_with(char::is_uppercase));
    match rule {
        Some((rule, message)) => Warning { line, rule: Some(rule.to_owned()), message: message.to_owned() },
        None => Warning { line, rule: None, message },
    }
}

/// Decodes the form in which Go writes bytes into JSON.
fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}
