//! `--call=targets`: the stages one can build.

use serde::Serialize;

use super::place::{Place, Sources};
use super::table::table;
use crate::ast::{Command, Dockerfile};

/// The stages of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// In the order of the text.
    pub targets: Vec<Target>,
    /// The text.
    pub sources: Sources,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is built if no target is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What the comment above says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it stands on, as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// `--platform`, as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Its FROM.
    pub location: Place,
}

/// The stages of `file`.
pub fn targets(file: &Dockerfile) -> Targets {
    let stages = file.stages();
    let count = stages.len();
    let mut targets = Vec::with_capacity(count);
    for (number, stage) in stages.iter().enumerate() {
        let Command::From(from) = &stage.from.command else { continue };
        targets.push(Target {
            name: from.name.as_ref().map(|name| name.name.clone()).unwrap_or_default(),
            default: number + 1 == count,
            description: from.doc.clone().unwrap_or_default(),
            base: from.image.value.clone(),
            platform: from.platform.as_ref().map(|word| word.value.clone()).unwrap_or_default(),
            location: Place::new(stage.from.lines),
        });
    }
    Targets { targets, sources: Sources::of(&file.file) }
}

impl Targets {
    /// As a table for people.
    pub fn text(&self) -> String {
        let named = |target: &Target| match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        let names: Vec<String> = self.targets.iter().map(named).collect();
        let mut rows = vec![["TARGET", "DESCRIPTION"]];
        rows.extend(names.iter().zip(&self.targets).map(|(name, t)| [name.as_str(), t.description.as_str()]));
        table(&rows, 3)
    }

    /// As BuildKit's `result.json`.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers are always JSON")
    }
}
