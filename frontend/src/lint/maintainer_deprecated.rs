//! `MaintainerDeprecated`: MAINTAINER is used.

use super::Rule;
use crate::ast::Instruction;
use kiln_core::Diagnostic;

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    description: "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    url: "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/",
    experimental: false,
};

/// A finding if `instruction` is MAINTAINER.
pub(crate) fn check(instruction: &Instruction) -> Option<Diagnostic> {
    instruction.keyword.value.eq_ignore_ascii_case("maintainer").then(|| {
        RULE.finding(
            "Maintainer instruction is deprecated in favor of using label".into(),
            instruction.keyword.span,
        )
        .with_help("write LABEL org.opencontainers.image.authors=\"…\"")
    })
}
