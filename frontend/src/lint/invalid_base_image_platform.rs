//! `InvalidBaseImagePlatform`: a base image is of another platform than asked for.

use super::Rule;
use crate::syntax::go;
use kiln_core::{Diagnostic, Platform, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    description: "Base image platform does not match expected target platform",
    url: "",
    experimental: false,
};

/// A finding if `actual` has another operating system or architecture than `expected`.
pub(crate) fn check(image: &str, actual: &Platform, expected: &Platform, span: Span) -> Option<Diagnostic> {
    let differs = actual.os != expected.os || actual.architecture != expected.architecture;
    differs.then(|| {
        let message = format!(
            "Base image {image} was pulled with platform {}, expected {} for current build",
            go::quote(&actual.to_string()),
            go::quote(&expected.to_string())
        );
        RULE.finding(message, span)
    })
}
