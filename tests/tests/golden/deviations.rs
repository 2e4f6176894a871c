//! Where kiln differs from BuildKit on purpose, each with the reason that a user would accept.

/// A case, the aspect in which it differs, and why.
pub(crate) const DEVIATIONS: &[(&str, &str, &str)] = &[];

/// The reason why a case may differ in an aspect, if it may.
pub(crate) fn reason(id: &str, aspect: &str) -> Option<&'static str> {
    DEVIATIONS.iter().find(|(case, part, _)| *case == id && *part == aspect).map(|(_, _, why)| *why)
}
