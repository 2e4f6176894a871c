//! COPY, ADD and WORKDIR on snapshots of the store.

use std::path::Path;
use std::sync::Arc;

use kiln_cache::{Layer, StatTable, Timestamp, View};
use kiln_core::pattern::Ignore;
use kiln_core::{ContentHash, FileEdit, LayerId, Op, Snapshot, StableHash as _, StableHasher};

use crate::context::{ContextTree, LocalContext};
use crate::error::ExecutorError;
use crate::executor::{Inner, Value};
use crate::file::{self, FileError, Inputs, LeftOut, Nothing, Reuse, Spool, Tree};

/// An input, opened.
enum Opened {
    View(Arc<View>),
    Context(Arc<ContextTree>),
}

impl Opened {
    fn new(inner: &Inner, value: &Value) -> Result<Self, ExecutorError> {
        Ok(match value {
            Value::Snapshot(snapshot) => Self::View(inner.services.store.layers().view(snapshot)?),
            Value::Context(tree) => Self::Context(tree.clone()),
        })
    }

    fn tree(&self) -> &dyn Tree {
        match self {
            Self::View(view) => &**view,
            Self::Context(tree) => &**tree,
        }
    }
}

/// The content of what `edit` reads of input `index`.
pub(crate) fn content(
    inner: &Inner,
    edit: &FileEdit,
    index: usize,
    input: &Value,
) -> Result<ContentHash, ExecutorError> {
    let mut hasher = StableHasher::new("kiln edited 1");
    if index == 0 {
        match input {
            // A linked layer does not depend on what is below it.
            Value::Snapshot(snapshot) if !edit.link => {
                inner.services.store.layers().content(snapshot)?.stable_hash(&mut hasher);
            }
            Value::Snapshot(_) => {}
            Value::Context(_) => return Err(ExecutorError::Input(0)),
        }
    }
    if !file::reads(edit, index) {
        // Its files need not even be here.
        file::content(edit, index, &Nothing)?.stable_hash(&mut hasher);
        return Ok(hasher.finish());
    }
    let opened = Opened::new(inner, input)?;
    let copied = file::content(edit, index, opened.tree()).map_err(|error| explain(error, &opened))?;
    copied.stable_hash(&mut hasher);
    Ok(hasher.finish())
}

/// Writes a layer on input 0.
pub(crate) fn run(inner: &Inner, edit: &FileEdit, inputs: &[Value]) -> Result<Snapshot, ExecutorError> {
    let Some(Value::Snapshot(base)) = inputs.first() else { return Err(ExecutorError::Input(0)) };
    let opened = inputs.iter().map(|value| Opened::new(inner, value)).collect::<Result<Vec<_>, _>>()?;
    let trees: Vec<&dyn Tree> = opened.iter().map(Opened::tree).collect();
    let below: &dyn Tree = if edit.link { &Nothing } else { trees[0] };
    let now = edit.created.map_or_else(|| inner.now(), Timestamp::seconds);
    let on = Inputs { base: below, scratch: edit.link || base.layers.is_empty(), trees: &trees, now };
    let place = previous_key(edit);
    let mut reuse = Reuse::default();
    if inner.services.link_files {
        reuse.previous = previous(inner, &place);
        reuse.views = opened
            .iter()
            .map(|opened| match opened {
                Opened::View(view) => Some(view.clone()),
                Opened::Context(_) => None,
            })
            .collect();
    }
    let layer = write(inner, edit, &on, &reuse).map_err(|error| {
        match opened.iter().find(|o| matches!(o, Opened::Context(_))) {
            Some(context) => explain(error, context),
            None => error.into(),
        }
    })?;
    // What cannot be remembered is only copied again.
    let _ = inner.services.store.index().set_fact(NAMESPACE, place.as_bytes(), layer.id.0.as_bytes(), None);
    Ok(base.with(layer.id))
}

const NAMESPACE: &str = "step-layer";

/// What a step is, whatever it reads: the same step of the next build has the same.
fn previous_key(edit: &FileEdit) -> ContentHash {
    let mut hasher = StableHasher::new("kiln step layer 1");
    Op::File(edit.clone()).stable_hash(&mut hasher);
    hasher.finish()
}

/// The layer that the step made the last time, if it is still there.
fn previous(inner: &Inner, place: &ContentHash) -> Option<Layer> {
    let store = &inner.services.store;
    let fact = store.index().fact(NAMESPACE, place.as_bytes()).ok()??;
    let id = LayerId(ContentHash::from_bytes(fact.value.try_into().ok()?));
    store.layers().get(&id).ok()
}

fn write(inner: &Inner, edit: &FileEdit, on: &Inputs<'_>, reuse: &Reuse) -> Result<Layer, FileError> {
    let store = &inner.services.store;
    // Gone with the step, whether it succeeds or not.
    let room = std::cell::OnceCell::new();
    let make_spool = || {
        let scratch = store.scratch_dir().map_err(|cause| FileError::Spool(std::io::Error::other(cause)))?;
        let path = scratch.path().join("members");
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(path);
        let _ = room.set(scratch);
        Ok(Spool::new(file.map_err(FileError::Spool)?))
    };
    let mut spool = None;
    let plan = file::plan(edit, on, &mut spool, &make_spool)?;
    let draft = store.layers().draft()?;
    let manifest = file::write(plan, on.trees, on.base, spool.as_ref(), reuse, draft.writer()?)?;
    Ok(draft.commit(manifest)?)
}

/// A directory of the host as a layer on nothing, all its files with one time: a checkout.
pub(crate) fn directory(inner: &Inner, directory: &Path, time: Timestamp) -> Result<Snapshot, ExecutorError> {
    let context = LocalContext { directory: directory.to_path_buf(), ignore: Arc::new(Ignore::default()) };
    let (tree, _) = context.read(&[], &StatTable::default(), (inner.services.clock)())?;
    let tree = tree.with_time(time);
    let edit =
        FileEdit { actions: vec![kiln_core::FileAction::Copy(everything())], link: false, created: None };
    let trees: [&dyn Tree; 2] = [&Nothing, &tree];
    let on = Inputs { base: &Nothing, scratch: true, trees: &trees, now: time };
    let layer = write(inner, &edit, &on, &Reuse::default())?;
    Ok(Snapshot::scratch().with(layer.id))
}

fn everything() -> kiln_core::Copy {
    let source = kiln_core::CopySource::Path { input: 1, path: "/".to_owned(), required: true };
    kiln_core::Copy {
        sources: vec![source],
        destination: "/".to_owned(),
        chown: None,
        chmod: None,
        parents: false,
        exclude: Vec::new(),
        unpack: kiln_core::Unpack::Never,
    }
}

/// Says which line of the ignore file took a missing source out.
fn explain(error: FileError, opened: &Opened) -> ExecutorError {
    let error = match (error, opened) {
        (FileError::NotFound { path, left_out: None }, Opened::Context(tree)) => {
            let rule = tree.left_out(path.trim_start_matches('/'));
            let left_out = rule.map(|(line, pattern)| LeftOut { line, pattern });
            FileError::NotFound { path, left_out }
        }
        (error, _) => error,
    };
    error.into()
}
