//! `ExposeInvalidFormat`: EXPOSE with an address or a port of the host.

use super::Rule;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    description: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    url: "https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/",
    experimental: false,
};

/// A finding if `port`, expanded, has more than the container's port.
pub(crate) fn check(port: &str, span: Span) -> Option<Diagnostic> {
    let (before, own) = port.rsplit_once(':')?;
    // `:80` alone has neither address nor port of the host.
    (!before.is_empty()).then(|| {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        RULE.finding(message, span).with_help(format!("write EXPOSE {own}"))
    })
}
