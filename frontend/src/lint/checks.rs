//! Which findings someone wants to hear: `# check=skip=…;error=…;experimental=…`.

use std::collections::BTreeSet;

use kiln_core::{Diagnostic, Span};

use crate::ast::{Dockerfile, Instruction};
use crate::syntax::{directives, go, suggest};

/// Some rules, or all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Chosen {
    all: bool,
    names: BTreeSet<String>,
}

impl Chosen {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Self { all: true, names: BTreeSet::new() },
            list => Self { all: false, names: list.split(',').map(|name| name.trim().to_owned()).collect() },
        }
    }

    fn has(&self, rule: &str) -> bool {
        self.all || self.names.contains(rule)
    }
}

/// What is checked and how severely.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    skip: Chosen,
    experimental: Chosen,
    error: bool,
}

/// A `# check=` that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksError {
    /// Not `skip=`, `error=` or `experimental=`.
    #[error("failed to parse check options: invalid check option {}", go::quote(.0))]
    Option(String),
    /// `error=` is neither true nor false.
    #[error(
        "failed to parse check options: failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax",
        go::quote(option),
        go::quote(value)
    )]
    Bool {
        /// The whole option.
        option: String,
        /// Its value.
        value: String,
    },
}

impl Checks {
    /// Understands `skip=A,B;error=true;experimental=all`.
    ///
    /// # Errors
    /// On other options and values.
    pub fn parse(text: &str) -> Result<Self, ChecksError> {
        let mut checks = Self::default();
        if text.trim().is_empty() {
            return Ok(checks);
        }
        for part in text.trim().splitn(3, ';') {
            let (name, value) = part.split_once('=').ok_or_else(|| ChecksError::Option(part.to_owned()))?;
            match name.trim() {
                "skip" => checks.skip = Chosen::parse(value),
                "experimental" => checks.experimental = Chosen::parse(value),
                "error" => {
                    checks.error = go::parse_bool(value.trim()).ok_or_else(|| ChecksError::Bool {
                        option: part.to_owned(),
                        value: value.trim().to_owned(),
                    })?;
                }
                other => return Err(ChecksError::Option(other.to_owned())),
            }
        }
        Ok(checks)
    }

    /// What `file` directs, or `given` (the build argument `BUILDKIT_DOCKERFILE_CHECK`) in its place.
    ///
    /// # Errors
    /// One finding, if that makes no sense.
    pub fn of(file: &Dockerfile, given: Option<&str>) -> Result<Self, Diagnostic> {
        let (text, span) = match (given, &file.directives.check) {
            (Some(given), _) => (given, Span::default()),
            // What follows a blank is a remark.
            (None, Some(word)) => (word.value.split(' ').next().unwrap_or_default(), word.span),
            (None, None) => return Ok(Self::default()),
        };
        Self::parse(text).map_err(|error| {
            let help = match &error {
                ChecksError::Option(name) => suggest::help(name, &["skip", "error", "experimental"]),
                ChecksError::Bool { .. } => None,
            };
            Diagnostic { help, ..Diagnostic::error(error.to_string(), span) }
        })
    }

    /// Whether findings are errors.
    pub fn is_strict(&self) -> bool {
        self.error
    }

    /// Those of `findings` that someone wants to hear. Findings that are of no rule stay.
    #[must_use]
    pub fn keep(&self, file: &Dockerfile, findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let wanted = |finding: &Diagnostic| {
            let Some(rule) = finding.rule.and_then(super::rule) else { return true };
            let here = instruction_at(file, finding.span.start).and_then(own);
            let chosen = |pick: fn(&Checks) -> &Chosen| {
                pick(self).has(rule.name) || here.as_ref().is_some_and(|here| pick(here).has(rule.name))
            };
            if rule.experimental { chosen(|c| &c.experimental) } else { !chosen(|c| &c.skip) }
        };
        findings.into_iter().filter(wanted).collect()
    }

    /// The error that `error=true` makes of `findings`, which are filtered already.
    pub fn verdict(&self, findings: &[Diagnostic]) -> Option<String> {
        let rules: BTreeSet<&str> = findings.iter().filter_map(|finding| finding.rule).collect();
        if !self.error || rules.is_empty() {
            return None;
        }
        let names: Vec<&str> = rules.into_iter().collect();
        Some(format!("lint violation found for rules: {}", names.join(", ")))
    }
}

/// What the first `# check=` above `instruction` says, if it makes sense.
fn own(instruction: &Instruction) -> Option<Checks> {
    let mut found = instruction.comments.iter().filter_map(|comment| directives::in_comment(&comment.value));
    let (_, value) = found.find(|(name, _)| name == "check")?;
    Checks::parse(value.split(' ').next().unwrap_or_default()).ok()
}

/// The instruction whose text has the byte `offset`.
pub(super) fn instruction_at(file: &Dockerfile, offset: usize) -> Option<&Instruction> {
    let after = file.instructions.partition_point(|instruction| instruction.span.start <= offset);
    let instruction = &file.instructions[after.checked_sub(1)?];
    (offset <= instruction.span.end).then_some(instruction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parted_by_semicolons() {
        let checks = Checks::parse(" skip=A, B ; error=true; experimental=all ").unwrap();
        assert!(checks.skip.has("A") && checks.skip.has("B") && !checks.skip.has("C"));
        assert!(checks.experimental.has("C") && checks.is_strict());
        assert_eq!(Checks::parse("").unwrap(), Checks::default());
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let message = |text: &str| Checks::parse(text).unwrap_err().to_string();
        assert_eq!(message("x"), "failed to parse check options: invalid check option \"x\"");
        assert_eq!(message("skp=all"), "failed to parse check options: invalid check option \"skp\"");
        assert!(message("error=maybe").ends_with("parsing \"maybe\": invalid syntax"));
    }
}
