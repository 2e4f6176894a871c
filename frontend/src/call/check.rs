//! `--call=check`: the findings of all checks.

use kiln_core::{Diagnostic, Severity};
use serde::Serialize;

use super::excerpt::excerpt;
use super::place::{Place, encode};
use crate::ast::Dockerfile;
use crate::lint;

/// What the checks found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckResult {
    /// The findings, by line.
    pub warnings: Vec<CheckWarning>,
    /// The text.
    sources: Vec<Source>,
    /// Why the Dockerfile cannot be built at all.
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    pub error: Option<CheckError>,
    #[serde(skip)]
    file: kiln_core::SourceFile,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckWarning {
    /// The rule.
    pub rule_name: String,
    /// What the rule demands.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where it is explained.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// What was found.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The instruction.
    pub location: Place,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckError {
    /// What is wrong.
    pub message: String,
    /// The instruction.
    pub location: Place,
}

#[derive(Debug, Clone, Serialize)]
struct Source {
    filename: String,
    data: String,
    language: &'static str,
}

/// Puts `findings` about `file`, filtered already, in BuildKit's shape. The first error among them is the build error.
pub fn check(file: &Dockerfile, findings: &[Diagnostic]) -> CheckResult {
    let place = |finding: &Diagnostic| Place::new(lint::lines(file, finding));
    let mut warnings: Vec<CheckWarning> = findings
        .iter()
        .filter_map(|finding| {
            let rule = lint::rule(finding.rule?)?;
            Some(CheckWarning {
                rule_name: rule.name.to_owned(),
                description: rule.description.to_owned(),
                url: rule.url.to_owned(),
                detail: finding.message.clone(),
                location: place(finding),
            })
        })
        .collect();
    warnings.sort_by_key(|warning| warning.location.line());
    let error = findings.iter().find(|finding| finding.severity == Severity::Error && finding.rule.is_none());
    CheckResult {
        warnings,
        sources: vec![Source {
            filename: file.file.name.clone(),
            data: encode(&file.file),
            language: "Dockerfile",
        }],
        error: error.map(|e| CheckError { message: e.message.clone(), location: place(e) }),
        file: file.file.clone(),
    }
}

impl CheckResult {
    /// Whether there is nothing to say: what the exit code tells.
    pub fn is_clean(&self) -> bool {
        self.warnings.is_empty() && self.error.is_none()
    }

    /// As buildx prints it, excerpts of the source included.
    pub fn text(&self) -> String {
        let mut text = match (self.warnings.len(), &self.error) {
            (0, None) => "Check complete, no warnings found.\n".to_owned(),
            (0, Some(_)) => String::new(),
            (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
            (count, _) => format!("Check complete, {count} warnings have been found!\n"),
        };
        for warning in &self.warnings {
            text.push_str(&format!("\nWARNING: {}", warning.rule_name));
            if !warning.url.is_empty() {
                text.push_str(&format!(" - {}", warning.url));
            }
            text.push_str(&format!("\n{}\n{}", warning.detail, self.excerpt(&warning.location)));
        }
        if let Some(error) = &self.error {
            text.push_str(&format!("{}\n{}", error.message, self.excerpt(&error.location)));
        }
        text
    }

    fn excerpt(&self, place: &Place) -> String {
        let lines = place.ranges.first().map_or((0, 0), |range| (range.start.line, range.end.line));
        excerpt(&self.file, lines)
    }

    /// As BuildKit's `result.json`.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers are always JSON")
    }
}
