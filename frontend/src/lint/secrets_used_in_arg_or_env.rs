//! `SecretsUsedInArgOrEnv`: the name of a variable says that it holds a secret.

use super::Rule;
use crate::syntax::go;
use kiln_core::{Diagnostic, Span};

/// The rule.
pub(crate) const RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    description: "Sensitive data should not be used in the ARG or ENV commands",
    url: "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/",
    experimental: false,
};

const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// A finding if one of the words of `name`, parted by `_`, tells of a secret and none says otherwise. `instruction` is `ARG` or
/// `ENV`.
pub(crate) fn check(instruction: &str, name: &str, span: Span) -> Option<Diagnostic> {
    let lower = name.to_lowercase();
    let has = |list: &[&str]| lower.split('_').any(|word| list.contains(&word));
    (has(&SECRET) && !has(&HARMLESS)).then(|| {
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} {})",
            go::quote(name)
        );
        RULE.finding(message, span).with_help("use RUN --mount=type=secret")
    })
}
