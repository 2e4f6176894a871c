//! `ExposeProtoCasing`: the protocol in EXPOSE has capitals.

use super::Rule;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    description: "Protocol in EXPOSE instruction should be lowercase",
    url: "https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/",
    experimental: false,
};

/// A finding if `port`, expanded, has a protocol with capitals.
pub(crate) fn check(port: &str, span: Span) -> Option<Diagnostic> {
    let (_, protocol) = port.split_once('/')?;
    (protocol != protocol.to_lowercase()).then(|| {
        let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        RULE.finding(message, span).with_help(format!("write {}", port.to_lowercase()))
    })
}
