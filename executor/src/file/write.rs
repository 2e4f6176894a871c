//! A plan written into a draft: directories first, then all files in parallel, then what refers to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_cache::{FileContent, Kind, Layer, LayerError, Manifest, Node as Special, TreeWriter, View};
use rayon::prelude::*;

use super::FileError;
use super::archive::Spool;
use super::plan::{Bytes, Plan, Planned};
use super::tree::Tree;

/// Layers whose files may be linked instead of copied, where content, attributes and path are the same.
#[derive(Default)]
pub(crate) struct Reuse {
    /// What the step made the last time.
    pub(crate) previous: Option<Layer>,
    /// Of the inputs that are snapshots, by number.
    pub(crate) views: Vec<Option<Arc<View>>>,
}

impl Reuse {
    fn candidates(&self, bytes: &Bytes) -> impl Iterator<Item = Layer> + use<'_> {
        let source = match bytes {
            Bytes::Tree { tree, path } => self.views.get(*tree).and_then(Option::as_ref).and_then(|view| {
                let found = view.lookup(path)?;
                found.layer().cloned()
            }),
            Bytes::Base(_) | Bytes::Inline(_) | Bytes::Spool(_) => None,
        };
        self.previous.iter().cloned().chain(source)
    }
}

/// Writes `plan` with `writer` and describes the layer.
///
/// # Errors
/// If the layer cannot be written, or a source is not what the plan saw.
pub(crate) fn write(
    plan: Plan<'_>,
    trees: &[&dyn Tree],
    base: &dyn Tree,
    spool: Option<&Spool>,
    reuse: &Reuse,
    writer: TreeWriter,
) -> Result<Manifest, FileError> {
    let (entries, whiteouts) = plan.finish();
    let mut files = Vec::new();
    let mut links = Vec::new();
    for (path, planned) in &entries {
        let attributes = &planned.attributes;
        match &planned.kind {
            Kind::Dir => writer.dir(path, attributes)?,
            Kind::File(content) => files.push((path, planned, *content)),
            Kind::HardLink { to } => links.push((path, to)),
            Kind::Symlink { target } => writer.symlink(path, target, attributes)?,
            Kind::Char(device) => writer.node(path, Special::Char(*device), attributes)?,
            Kind::Block(device) => writer.node(path, Special::Block(*device), attributes)?,
            Kind::Fifo => writer.node(path, Special::Fifo, attributes)?,
            Kind::Whiteout => {}
        }
    }
    let sources = Sources { trees, base, spool, reuse, writer: &writer };
    files.par_iter().try_for_each(|(path, planned, content)| sources.file(path, planned, *content))?;
    for (path, to) in links {
        writer.hard_link(path, to)?;
    }
    for path in whiteouts {
        writer.whiteout(&path)?;
    }
    Ok(writer.finish()?)
}

/// Where bytes come from and go to.
struct Sources<'a> {
    trees: &'a [&'a dyn Tree],
    base: &'a dyn Tree,
    spool: Option<&'a Spool>,
    reuse: &'a Reuse,
    writer: &'a TreeWriter,
}

impl Sources<'_> {
    fn file(&self, path: &Path, planned: &Planned, content: FileContent) -> Result<(), FileError> {
        let Some(bytes) = &planned.bytes else { return Err(FileError::Changed { path: path.to_path_buf() }) };
        for layer in self.reuse.candidates(bytes) {
            let same = layer.manifest.get(path).is_some_and(|entry| entry.kind == Kind::File(content));
            if same && self.writer.link_from_layer(path, &planned.attributes, &layer)?.is_some() {
                return Ok(());
            }
        }
        let written = self.copy(path, planned, bytes, content)?;
        if written == content { Ok(()) } else { Err(FileError::Changed { path: from(bytes, path) }) }
    }

    fn copy(
        &self,
        path: &Path,
        planned: &Planned,
        bytes: &Bytes,
        content: FileContent,
    ) -> Result<FileContent, FileError> {
        let attributes = &planned.attributes;
        let read = |path: &Path| {
            let path = path.to_path_buf();
            move |cause| FileError::Read { path, cause }
        };
        let written: Result<FileContent, LayerError> = match bytes {
            Bytes::Tree { tree, path: source } => {
                let tree = self.trees.get(*tree).ok_or(FileError::NoInput(*tree))?;
                // A socket is copied as an empty file: it cannot be opened.
                if content.size == 0 {
                    self.writer.file(path, attributes, &mut std::io::empty())
                } else {
                    self.writer.copy_file(path, attributes, &tree.open(source).map_err(read(source))?)
                }
            }
            Bytes::Base(source) => {
                self.writer.copy_file(path, attributes, &self.base.open(source).map_err(read(source))?)
            }
            Bytes::Inline(data) => self.writer.file(path, attributes, &mut &data[..]),
            Bytes::Spool(start) => {
                let spool = self.spool.ok_or_else(|| FileError::Changed { path: path.to_path_buf() })?;
                let mut data = spool.read(*start, content.size);
                self.writer.file(path, attributes, &mut data)
            }
        };
        Ok(written?)
    }
}

fn from(bytes: &Bytes, path: &Path) -> PathBuf {
    match bytes {
        Bytes::Tree { path, .. } | Bytes::Base(path) => path.clone(),
        Bytes::Inline(_) | Bytes::Spool(_) => path.to_path_buf(),
    }
}
