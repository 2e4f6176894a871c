//! `MultipleInstructionsDisallowed`: an instruction that a later one undoes.

use super::Rule;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    description: "Multiple instructions of the same type should not be used in the same stage",
    url: "https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/",
    experimental: false,
};

/// The finding for `keyword` at `earlier`, as a later one in the same stage is what counts.
pub(crate) fn finding(keyword: &str, earlier: Span) -> Diagnostic {
    let message = format!(
        "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
    );
    RULE.finding(message, earlier).with_help("remove this one")
}
