//! Checks: what works but will surprise someone. One file a rule; messages are BuildKit's, to the letter.
//!
//! A rule is a function of what it needs and knows nothing of `# check=`: [`Checks::keep`] drops what the file, or a comment above
//! an instruction, does not want to hear. [`file()`] has the rules that look at the text alone; `stage` those that hold for the
//! stages a build performs, with what the stage has learnt so far.

pub(crate) mod consistent_instruction_casing;
pub(crate) mod copy_ignored_file;
pub(crate) mod duplicate_stage_name;
pub(crate) mod expose_invalid_format;
pub(crate) mod expose_proto_casing;
pub(crate) mod from_as_casing;
pub(crate) mod from_platform_flag_const_disallowed;
pub(crate) mod invalid_base_image_platform;
pub(crate) mod invalid_default_arg_in_from;
pub(crate) mod invalid_definition_description;
pub(crate) mod json_args_recommended;
pub(crate) mod legacy_key_value_format;
pub(crate) mod maintainer_deprecated;
pub(crate) mod multiple_instructions_disallowed;
pub(crate) mod no_empty_continuation;
pub(crate) mod redundant_target_platform;
pub(crate) mod reserved_stage_name;
pub(crate) mod secrets_used_in_arg_or_env;
pub(crate) mod stage_name_casing;
pub(crate) mod undefined_arg_in_from;
pub(crate) mod undefined_var;
pub(crate) mod workdir_relative_path;

mod checks;
pub(crate) mod stage;
#[cfg(test)]
mod tests;

use kiln_core::{Diagnostic, Span};

pub use checks::{Checks, ChecksError};
pub(crate) use stage::StageChecks;

use crate::ast::Dockerfile;

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// BuildKit's name of it.
    pub name: &'static str,
    /// What it demands, in general.
    pub description: &'static str,
    /// Where it is explained; empty if nowhere.
    pub url: &'static str,
    /// Whether it must be asked for.
    pub experimental: bool,
}

impl Rule {
    fn finding(&self, message: String, span: Span) -> Diagnostic {
        Diagnostic::warning(self.name, message, span)
    }
}

/// All rules.
pub const RULES: [Rule; 22] = [
    stage_name_casing::RULE,
    from_as_casing::RULE,
    no_empty_continuation::RULE,
    consistent_instruction_casing::RULE,
    duplicate_stage_name::RULE,
    reserved_stage_name::RULE,
    json_args_recommended::RULE,
    maintainer_deprecated::RULE,
    undefined_arg_in_from::RULE,
    workdir_relative_path::RULE,
    undefined_var::RULE,
    multiple_instructions_disallowed::RULE,
    legacy_key_value_format::RULE,
    invalid_base_image_platform::RULE,
    redundant_target_platform::RULE,
    secrets_used_in_arg_or_env::RULE,
    invalid_default_arg_in_from::RULE,
    from_platform_flag_const_disallowed::RULE,
    copy_ignored_file::RULE,
    invalid_definition_description::RULE,
    expose_proto_casing::RULE,
    expose_invalid_format::RULE,
];

/// The rule called `name`.
pub fn rule(name: &str) -> Option<&'static Rule> {
    const ALL: &[Rule] = &RULES;
    ALL.iter().find(|rule| rule.name == name)
}

/// The findings of the rules that look at the whole text, whatever is built from it; not yet filtered.
pub fn file(file: &Dockerfile) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for instruction in &file.instructions {
        findings.extend(no_empty_continuation::check(instruction));
        findings.extend(stage_name_casing::check(instruction));
        findings.extend(from_as_casing::check(instruction));
        findings.extend(reserved_stage_name::check(instruction));
        findings.extend(maintainer_deprecated::check(instruction));
        findings.extend(invalid_definition_description::check(instruction));
    }
    findings.extend(duplicate_stage_name::check(file));
    findings.extend(consistent_instruction_casing::check(file));
    findings.sort_by_key(|finding| finding.span.start);
    findings
}

/// The first and the last line that BuildKit gives for a finding: those of the instruction, whatever part of it is meant.
pub fn lines(file: &Dockerfile, finding: &Diagnostic) -> (usize, usize) {
    let Some(instruction) = checks::instruction_at(file, finding.span.start) else {
        return (file.file.position(finding.span.start).0, file.file.position(finding.span.end).0);
    };
    if finding.rule == Some(no_empty_continuation::RULE.name) {
        let last = file.file.position(instruction.original.span.end).0;
        return (last, last);
    }
    instruction.lines
}
