//! Instructions that change the image's configuration alone.

use kiln_core::{Diagnostic, Empty, Healthcheck};

use super::state::State;
use super::{Context, Lowering, Outcome, go_text, signal};
use crate::ast::{self, CommandLine, Word};
use crate::plan::Step;

impl Lowering<'_> {
    pub(super) fn cmd(&self, command: &CommandLine, state: &mut State, context: &mut Context<'_>) {
        context.cmd_set = true;
        let args = arguments(command, state);
        let text = format!("CMD {}", go_text::quoted_list(&args));
        state.image.config.cmd = Some(args);
        state.image.config.args_escaped = true;
        self.commit(state, text, true);
    }

    pub(super) fn entrypoint(&self, command: &CommandLine, state: &mut State, context: &Context<'_>) {
        let args = arguments(command, state);
        let text = format!("ENTRYPOINT {}", go_text::quoted_list(&args));
        state.image.config.entrypoint = Some(args);
        // The base's CMD was for the base's ENTRYPOINT.
        if !context.cmd_set {
            state.image.config.cmd = None;
        }
        self.commit(state, text, true);
    }

    pub(super) fn healthcheck(&self, check: &ast::Healthcheck, state: &mut State) {
        let nanos = |duration: &std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let check = match check {
            ast::Healthcheck::Disabled => {
                Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() }
            }
            ast::Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries } => {
                Healthcheck {
                    test: match command {
                        CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
                        CommandLine::Exec(words) => {
                            let words = words.iter().map(|word| word.value.clone());
                            std::iter::once("CMD".to_owned()).chain(words).collect()
                        }
                    },
                    interval: nanos(interval),
                    timeout: nanos(timeout),
                    start_period: nanos(start_period),
                    start_interval: nanos(start_interval),
                    retries: i64::from(*retries),
                }
            }
        };
        let text = format!("HEALTHCHECK {}", go_text::healthcheck(&check));
        state.image.config.healthcheck = Some(check);
        self.commit(state, text, true);
    }

    pub(super) fn user(&mut self, user: &Word, step: &Step, state: &mut State) -> Outcome<()> {
        let user = self.expand(user, step, state)?;
        let text = format!("USER {user}");
        state.image.config.user = user;
        self.commit(state, text, true);
        Ok(())
    }

    pub(super) fn volume(&mut self, paths: &[Word], step: &Step, state: &mut State) -> Outcome<()> {
        let mut volumes = Vec::with_capacity(paths.len());
        for word in paths {
            let volume = self.expand(word, step, state)?;
            if volume.is_empty() {
                let message = "VOLUME specified can not be an empty string";
                return Err(Diagnostic::error(message, step.place(word.span)));
            }
            volumes.push(volume);
        }
        let text = format!("VOLUME {}", go_text::list(&volumes));
        state.image.config.volumes.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
        self.commit(state, text, true);
        Ok(())
    }

    pub(super) fn stopsignal(&mut self, word: &Word, step: &Step, state: &mut State) -> Outcome<()> {
        let name = self.expand(word, step, state)?;
        if !signal::is_signal(&name) {
            let message = format!("invalid signal: {name}");
            return Err(Diagnostic::error(message, step.place(word.span))
                .with_help("use a name such as SIGTERM or a number such as 15"));
        }
        let text = format!("STOPSIGNAL {name}");
        state.image.config.stop_signal = name;
        self.commit(state, text, true);
        Ok(())
    }

    pub(super) fn maintainer(&self, name: &Word, state: &mut State) {
        state.image.author.clone_from(&name.value);
        self.commit(state, format!("MAINTAINER {}", name.value), true);
    }

    pub(super) fn shell(&self, words: &[Word], state: &mut State) {
        let shell: Vec<String> = words.iter().map(|word| word.value.clone()).collect();
        let text = format!("SHELL {}", go_text::list(&shell));
        state.image.config.shell = shell;
        self.commit(state, text, true);
    }
}

/// The argument vector of CMD or ENTRYPOINT.
fn arguments(command: &CommandLine, state: &State) -> Vec<String> {
    match command {
        CommandLine::Exec(words) => words.iter().map(|word| word.value.clone()).collect(),
        CommandLine::Shell(text) => state.with_shell(&text.value),
    }
}
