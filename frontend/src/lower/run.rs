//! RUN.

use std::collections::BTreeMap;

use kiln_core::{Diagnostic, Exec, InlineFile, NetworkMode, Op, SecurityMode};

use super::mounts::Mounts;
use super::names::summary;
use super::state::State;
use super::{Context, Lowering, Outcome};
use crate::ast::{CommandLine, Instruction, Run};
use crate::expand::{NoVariables, Rules, Variables};
use crate::plan::Step;

/// Where the script of a heredoc with a shebang stands while it runs.
const PIPES: &str = "/dev/pipes/";

/// A command as it is run.
struct Script {
    args: Vec<String>,
    files: Vec<InlineFile>,
    /// What the progress name says of a heredoc.
    summary: String,
}

impl Lowering<'_> {
    pub(super) fn run(
        &mut self,
        run: &Run,
        step: &Step,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Outcome<()> {
        let script = self.script(run, step, state)?;
        let Mounts { mounts, inputs, secret_env, socket } = self.mounts(run, step, state, context)?;
        let security = run.security.as_ref().map_or(SecurityMode::Sandbox, |mode| mode.value);
        if security == SecurityMode::Insecure && !self.plan.options.allow_insecure {
            let place = run.security.as_ref().map_or(step.instruction.span, |mode| mode.span);
            return Err(Diagnostic::error("security.insecure is not allowed", step.place(place))
                .with_help("allow it with `--allow security.insecure`"));
        }
        let masked: Vec<String> = secret_env.iter().map(|secret| secret.name.clone()).collect();
        let name = self.run_name(step, &script.summary, &masked, state, context);
        self.spend(state.env.bytes());
        let mut env: Vec<(String, String)> = state.env.entries().cloned().collect();
        if let Some(socket) = socket
            && state.env.get("SSH_AUTH_SOCK").is_none()
        {
            env.push(("SSH_AUTH_SOCK".to_owned(), socket));
        }
        let options = &self.plan.options;
        let own = run.devices.iter().map(|device| (device.name.value.clone(), device.required));
        let network = match run.network.as_ref().map(|mode| mode.value) {
            None | Some(NetworkMode::Default) => options.network,
            Some(mode) => mode,
        };
        let history = format!("RUN {} # buildkit", state.run_text(&script.args));
        let exec = Exec {
            args: script.args,
            env,
            proxy_env: proxies(&options.build_args),
            cwd: state.dir().to_owned(),
            user: state.image.config.user.clone(),
            mounts,
            secret_env,
            files: script.files,
            network,
            security,
            surroundings: options.surroundings.clone(),
            devices: options.devices.iter().cloned().chain(own).collect(),
            platform: state.platform.clone(),
        };
        let inputs = std::iter::once(state.root).chain(inputs).collect();
        let about = self.about(name, step, context);
        state.root = self.builder.add(Op::Exec(exec), inputs, about);
        self.commit(state, history, false);
        Ok(())
    }

    fn script(&self, run: &Run, step: &Step, state: &State) -> Outcome<Script> {
        let text = match &run.command {
            CommandLine::Exec(words) if words.is_empty() => {
                return Err(Diagnostic::error("RUN needs a command", step.place(step.instruction.span)));
            }
            CommandLine::Exec(words) => {
                let args = words.iter().map(|word| word.value.clone()).collect();
                return Ok(Script { args, files: Vec::new(), summary: String::new() });
            }
            CommandLine::Shell(text) => &text.value,
        };
        let instruction = &step.instruction;
        let Some(first) = instruction.heredocs.first() else {
            return Ok(Script { args: state.with_shell(text), files: Vec::new(), summary: String::new() });
        };
        if !is_heredoc_alone(text) {
            return Ok(Script {
                args: state.with_shell(&reassembled(text, instruction)),
                files: Vec::new(),
                summary: String::new(),
            });
        }
        let data = first.text();
        let summary = format!(" ({})", summary(&first.content.value));
        if data.starts_with("#!") && state.image.os != "windows" {
            let path = format!("{PIPES}{}", first.name.value);
            let args = state.with_shell(&path);
            let files = vec![InlineFile { path, data: data.into_bytes(), mode: 0o755 }];
            return Ok(Script { args, files, summary });
        }
        Ok(Script { args: state.with_shell(&data), files: Vec::new(), summary })
    }
}

/// Whether a command is one heredoc and nothing else: then its text is the script, for any shell.
fn is_heredoc_alone(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = rest.strip_prefix("<<") else { return false };
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let split = Rules::display('\\').split(rest, &NoVariables);
    !rest.contains('<') && split.is_ok_and(|(_, words)| words.len() == 1)
}

/// The command with its heredocs, for a shell that understands them.
fn reassembled(text: &str, instruction: &Instruction) -> String {
    let mut script = text.to_owned();
    for heredoc in &instruction.heredocs {
        script.push('\n');
        script.push_str(&heredoc.content.value);
        script.push_str(&heredoc.name.value);
    }
    script
}

/// The predefined proxy variables among the build arguments, each in capitals and small; of both spellings the small one
/// counts.
fn proxies(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for name in ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"] {
        let given = build_args.iter().rfind(|(given, _)| given.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) {
            variables.push((name.to_uppercase(), value.clone()));
            variables.push((name.to_owned(), value.clone()));
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lone_heredoc_is_a_script() {
        for (text, alone) in [
            ("<<EOF", true),
            ("<<-\"EOF\"", true),
            ("3<<EOF", true),
            ("<<EOF python3", false),
            ("cat <<EOF", false),
            ("<<A <<B", false),
        ] {
            assert_eq!(is_heredoc_alone(text), alone, "{text}");
        }
    }

    #[test]
    fn the_small_spelling_of_a_proxy_counts() {
        let given: BTreeMap<String, String> = [
            ("ALL_PROXY", "all-upper"),
            ("all_proxy", "all-lower"),
            ("HTTP_PROXY", "http-upper"),
            ("NO_PROXY", "no-proxy"),
            ("OTHER", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let set = proxies(&given);
        let small: Vec<_> = set.iter().filter(|(name, _)| name.chars().all(|c| !c.is_uppercase())).collect();
        assert_eq!(
            small,
            [
                &("http_proxy".to_owned(), "http-upper".to_owned()),
                &("no_proxy".to_owned(), "no-proxy".to_owned()),
                &("all_proxy".to_owned(), "all-lower".to_owned()),
            ]
        );
    }
}
