//! WORKDIR.

use kiln_core::{FileAction, FileEdit, Op, path};

use super::state::{State, absolute};
use super::{Context, Lowering, Outcome};
use crate::ast::Word;
use crate::plan::Step;

impl Lowering<'_> {
    pub(super) fn workdir(
        &mut self,
        wanted: &Word,
        step: &Step,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Outcome<()> {
        let directory = self.expand(wanted, step, state)?;
        let place = step.place(wanted.span);
        self.warnings.extend(state.checks.workdir(&directory, place));
        let directory = absolute(&state.image.config.working_dir, &directory);
        state.image.config.working_dir.clone_from(&directory);
        let makes_layer = directory != "/";
        if makes_layer {
            let action = FileAction::MakeDir {
                path: path::clean(&directory),
                owner: state.image.config.user.clone(),
                mode: 0o755,
            };
            let edit = FileEdit { actions: vec![action], link: false, created: self.plan.epoch };
            let about = self.about(self.step_name(step, state, context), step, context);
            state.root = self.builder.add(Op::File(edit), vec![state.root], about);
        }
        self.commit(state, format!("WORKDIR {directory}"), !makes_layer);
        Ok(())
    }
}
