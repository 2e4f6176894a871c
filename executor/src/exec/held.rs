//! A RUN step that is looked at: before its process, or after it has failed, while root, mounts and network are there.

use std::sync::Arc;

use kiln_cache::ScratchDir;
use kiln_core::{Event, StepId, Stream};

use super::Cancel;
use crate::error::ExecutorError;
use crate::executor::Inner;
use crate::sandbox::{Bundle, Graft, GraftSource, Io, Running, SandboxError, Tree};
use crate::spec::{ProcessRequest, specification};

/// The shell of an image.
const SHELL: &str = "/bin/sh";

/// Looks at steps.
pub trait Look: Send + Sync {
    /// Called on a thread that may be blocked. The step is held until it returns, and goes on to fail then.
    fn look(&self, step: &HeldStep<'_>);
}

/// A step as it is before its process, or as that has left everything.
pub struct HeldStep<'a> {
    pub(super) inner: &'a Inner,
    pub(super) step: StepId,
    pub(super) command: &'a str,
    pub(super) request: &'a ProcessRequest,
    pub(super) root: Tree,
    pub(super) grafts: &'a [Graft],
    pub(super) cancel: &'a Cancel,
}

/// A shell in place of the step's process.
#[derive(Debug)]
pub struct StepShell {
    /// Its process.
    pub running: Running,
    /// Go after it.
    _work: Vec<ScratchDir>,
}

impl HeldStep<'_> {
    /// The step's arguments, joined by blanks.
    pub fn command(&self) -> &str {
        self.command
    }

    /// Whether nobody waits for the step any more.
    pub fn is_given_up(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Says something in the output of the step.
    pub fn note(&self, text: &str) {
        let data = format!("{text}\n").into_bytes();
        self.inner.services.progress.emit(Event::Log { step: self.step, stream: Stream::Stderr, data });
    }

    /// Starts the image's shell with all that the step had, on a terminal of `rows` and `columns`. `term` is its kind, where
    /// the step's environment names none.
    ///
    /// # Errors
    /// The sandbox cannot be made again. That there is no shell is told by [`Running::wait`].
    pub fn shell(&self, (rows, columns): (u16, u16), term: &str) -> Result<StepShell, ExecutorError> {
        let mut request = self.request.clone();
        request.args = vec![SHELL.to_owned()];
        request.terminal = true;
        if !request.env.iter().any(|variable| variable.starts_with("TERM=")) {
            request.env.push(format!("TERM={term}"));
        }
        let (spec, mut grafts, profile) = specification(&request)?;
        grafts.extend(self.grafts.iter().cloned());
        let mut work = Vec::new();
        let mut root = self.root.clone();
        self.renew(&mut root, &mut work)?;
        for graft in &mut grafts {
            if let GraftSource::Tree { tree, .. } = &mut graft.source {
                self.renew(tree, &mut work)?;
            }
        }
        let failed =
            |cause: SandboxError| ExecutorError::Start { command: SHELL.to_owned(), cause: Arc::new(cause) };
        let bundle = Bundle { spec, root, grafts, profile };
        let io = Io::Terminal { rows, columns };
        let running = self.inner.services.sandbox.start(&bundle, io).map_err(failed)?;
        self.cancel.running(running.handle());
        Ok(StepShell { running, _work: work })
    }

    /// The mark that `volatile` leaves in a work directory forbids a second mount with it (kernel documentation,
    /// filesystems/overlayfs.rst).
    fn renew(&self, tree: &mut Tree, made: &mut Vec<ScratchDir>) -> Result<(), ExecutorError> {
        if let Tree::Overlay { upper: Some(upper), .. } = tree {
            let scratch = self.inner.services.store.scratch_dir()?;
            upper.work = scratch.path().to_path_buf();
            made.push(scratch);
        }
        Ok(())
    }
}
