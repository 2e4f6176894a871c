//! `RedundantTargetPlatform`: `--platform` says what is the case anyway.

use super::Rule;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    description: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    url: "https://docs.docker.com/go/dockerfile/rule/redundant-target-platform/",
    experimental: false,
};

/// The finding for `--platform=written` at `span`, which is the target platform's variable alone.
pub(crate) fn finding(written: &str, span: Span) -> Diagnostic {
    let message = format!(
        "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
    );
    RULE.finding(message, span).with_help("remove the flag")
}
