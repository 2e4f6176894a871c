//! The names of steps in progress, as BuildKit words them.

use kiln_core::Platform;

use super::state::State;
use super::{Context, Lowering};
use crate::expand::{Rules, Variables};
use crate::plan::{Environment, Step};

impl Lowering<'_> {
    /// `[build 2/5] COPY . /src`: the instruction as written, its variables replaced.
    pub(super) fn step_name(&self, step: &Step, state: &State, context: &mut Context<'_>) -> String {
        let written = step.instruction.original.value.trim();
        let shown = Rules::words(self.plan.escape).expand(written, &state.env);
        let shown = shown.map_or_else(|_| written.to_owned(), |expanded| expanded.text);
        self.numbered(&shown, step, state, context)
    }

    /// The same for RUN, where quotes and unset variables stay, and a heredoc is summed up in `more`.
    pub(super) fn run_name(
        &self,
        step: &Step,
        more: &str,
        masked: &[String],
        state: &State,
        context: &mut Context<'_>,
    ) -> String {
        let written = format!("{}{more}", step.instruction.original.value.trim());
        let env = Masked { names: masked, env: &state.env };
        let shown = Rules::display(self.plan.escape).expand(&written, &env);
        let shown = shown.map_or(written, |expanded| expanded.text);
        self.numbered(&shown, step, state, context)
    }

    fn numbered(&self, text: &str, step: &Step, state: &State, context: &mut Context<'_>) -> String {
        let (keyword, rest) = match text.split_once(' ') {
            Some((keyword, rest)) => (keyword.to_uppercase(), format!(" {rest}")),
            None => (text.to_uppercase(), String::new()),
        };
        let trigger = if step.trigger.is_some() { "ONBUILD " } else { "" };
        let platform = self.plan.options.several_platforms.then(|| platform_prefix(state));
        context.numbering.next(&format!("{trigger}{keyword}{rest}"), platform.as_deref())
    }
}

/// The variables that show a command, those of secrets masked.
struct Masked<'a> {
    names: &'a [String],
    env: &'a Environment,
}

impl Variables for Masked<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        if self.names.iter().any(|masked| masked == name) { Some("****") } else { self.env.get(name) }
    }
}

/// `linux/amd64`, or `linux/amd64->arm64` for a stage that runs on one platform and knows that it builds for another.
fn platform_prefix(state: &State) -> String {
    let platform = &state.platform;
    let target: Option<Platform> = state.env.get("TARGETPLATFORM").and_then(|text| text.parse().ok());
    match target {
        Some(target) if target.os != platform.os => format!("{platform}->{target}"),
        Some(target) if target.architecture != platform.architecture => {
            let full = target.to_string();
            let short = full.split_once('/').map_or(full.as_str(), |(_, rest)| rest);
            format!("{platform}->{short}")
        }
        _ => platform.to_string(),
    }
}

/// The first line of a heredoc, and whether there are more.
pub(super) fn summary(heredoc: &str) -> String {
    let text = heredoc.trim().replace("\r\n", "\n");
    match text.split_once('\n') {
        Some((first, _)) => format!("{first}..."),
        None => text,
    }
}
