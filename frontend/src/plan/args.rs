//! The global scope: predefined platform arguments and the ARGs before the first FROM.

use std::collections::{BTreeMap, BTreeSet};

use kiln_core::{Diagnostic, Platform};

use super::Environment;
use crate::ast::{Command, Instruction};
use crate::expand::Rules;
use crate::options::Options;

/// The arguments that FROM lines see, and that stages may declare again.
#[derive(Debug, Clone, Default)]
pub(crate) struct GlobalArgs {
    /// Values of those that have one.
    pub(crate) values: Environment,
    /// All names, also of those without a value.
    pub(crate) declared: BTreeSet<String>,
}

/// The predefined arguments (reference.md#automatic-platform-args-in-the-global-scope); build arguments override them.
pub(crate) fn predefined(options: &Options, target: Option<&str>) -> Environment {
    let mut values = Environment::default();
    let platform_args = |prefix: &str, platform: &Platform| {
        [
            (format!("{prefix}PLATFORM"), platform.to_string()),
            (format!("{prefix}OS"), platform.os.clone()),
            (format!("{prefix}OSVERSION"), String::new()),
            (format!("{prefix}ARCH"), platform.architecture.clone()),
            (format!("{prefix}VARIANT"), platform.variant.clone()),
        ]
    };
    let stage = [("TARGETSTAGE".to_owned(), target.unwrap_or("default").to_owned())];
    let all = platform_args("BUILD", &options.build_platform)
        .into_iter()
        .chain(platform_args("TARGET", &options.platform))
        .chain(stage);
    for (name, value) in all {
        values.set(&name, options.build_args.get(&name).unwrap_or(&value));
    }
    values
}

/// Evaluates the ARGs before the first FROM on top of `predefined`.
pub(crate) fn evaluate(
    head: &[Instruction],
    predefined: Environment,
    build_args: &BTreeMap<String, String>,
    escape: char,
    errors: &mut Vec<Diagnostic>,
) -> GlobalArgs {
    let mut args = GlobalArgs { values: predefined, declared: BTreeSet::new() };
    for instruction in head {
        let Command::Arg(names) = &instruction.command else { continue };
        for arg in names {
            let name = &arg.name.value;
            args.declared.insert(name.clone());
            if let Some(given) = build_args.get(name) {
                args.values.set(name, given);
            } else if let Some(default) = &arg.default {
                match Rules::words(escape).expand(&default.value, &args.values) {
                    Ok(expanded) => args.values.set(name, &expanded.text),
                    Err(error) => errors.push(Diagnostic::error(error.to_string(), default.span)),
                }
            }
        }
    }
    args
}
