//! Scenarios of the corpus, read in place.

use std::fs;
use std::path::PathBuf;

use kiln_tests::shared;
use serde_json::Value;

/// Where the scenarios are.
pub(crate) fn folder() -> Option<PathBuf> {
    Some(shared()?.join("corpus/buildkit/integration"))
}

/// One upstream test function, step by step.
pub(crate) struct Scenario(Value);

impl Scenario {
    /// Reads `group/testName`; none, with a line that says so, if the corpus is absent.
    pub(crate) fn read(id: &str) -> Option<Self> {
        let path = folder()?.join(format!("{id}.json"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Some(Self(serde_json::from_slice(&bytes).expect("the corpus is JSON")))
    }

    fn steps(&self, op: &str) -> impl Iterator<Item = &Value> {
        self.0["steps"].as_array().expect("steps").iter().filter(move |step| step["op"] == op)
    }

    /// Every Dockerfile that it writes, in order.
    pub(crate) fn dockerfiles(&self) -> Vec<&str> {
        let name = |step: &Value| step["path"]["$go"].as_str().or(step["path"].as_str()).map(str::to_owned);
        let files = self.steps("file").filter(|step| name(step).is_some_and(|n| n.contains("Dockerfile")));
        files.filter_map(|step| step["content"].as_str()).collect()
    }

    /// Its only Dockerfile, or the first.
    pub(crate) fn dockerfile(&self) -> &str {
        self.dockerfiles().first().expect("a Dockerfile")
    }

    /// A text that is written by no literal file step.
    pub(crate) fn text(&self, name: &str) -> &str {
        let step = self.steps("text").find(|step| step["name"] == name).expect("the text");
        step["value"].as_str().expect("a text")
    }

    /// The rows of a table.
    pub(crate) fn rows(&self, name: &str) -> &[Value] {
        let step = self.steps("table").find(|step| step["name"] == name).expect("the table");
        step["value"].as_array().expect("rows")
    }
}

/// Puts values in the place of `«expression»`; each must be given.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('«') {
        let (expression, after) = after.split_once('»').expect("a closing quote");
        let value = values.iter().find(|(name, _)| *name == expression).map(|(_, value)| *value);
        filled += before;
        filled += value.unwrap_or_else(|| panic!("a value for «{expression}»"));
        rest = after;
    }
    filled + rest
}
