//! ARG and ENV.

use super::state::State;
use super::{Lowering, Outcome};
use crate::ast::{ArgName, Pair};
use crate::expand::Variables;
use crate::plan::Step;

/// Arguments that steer attestations and are no variables.
pub(super) const SBOM_ARGS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Lowering<'_> {
    /// ARG: the build argument, else the default, else what the global scope has. Whichever of ARG and ENV comes later wins.
    pub(super) fn arg(&mut self, names: &[ArgName], step: &Step, state: &mut State) -> Outcome<()> {
        let mut texts = Vec::with_capacity(names.len());
        for arg in names {
            let name = &arg.name.value;
            let value = match (self.plan.options.build_args.get(name), &arg.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(default, step, state)?),
                (None, None) => self.plan.args.values.get(name).map(str::to_owned),
            };
            if let Some(value) = &value
                && !SBOM_ARGS.contains(&name.as_str())
            {
                state.env.set(name, value);
            }
            texts.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            state.declare(name, value);
        }
        self.commit(state, format!("ARG {}", texts.join(" ")), true);
        Ok(())
    }

    pub(super) fn env(&mut self, pairs: &[Pair], step: &Step, state: &mut State) -> Outcome<()> {
        // All words are expanded with what was set before the instruction.
        let pairs = self.pairs(pairs, step, state)?;
        let mut text = String::from("ENV");
        for (name, value) in pairs {
            text.push_str(&format!(" {name}={value}"));
            state.set_variable(&name, &value);
        }
        self.commit(state, text, true);
        Ok(())
    }

    pub(super) fn label(&mut self, pairs: &[Pair], step: &Step, state: &mut State) -> Outcome<()> {
        let pairs = self.pairs(pairs, step, state)?;
        let mut text = String::from("LABEL");
        for (name, value) in pairs {
            text.push_str(&format!(" {name}={value}"));
            state.image.config.labels.insert(name, value);
        }
        self.commit(state, text, true);
        Ok(())
    }

    fn pairs(&mut self, pairs: &[Pair], step: &Step, state: &State) -> Outcome<Vec<(String, String)>> {
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let name = self.expand(&pair.name, step, state)?;
            expanded.push((name, self.expand(&pair.value, step, state)?));
        }
        Ok(expanded)
    }
}
