//! COPY, ADD and WORKDIR: files written on a snapshot without mounting it.
//!
//! First a plan is made from the trees alone ([`plan`]), then the layer is written from it, its files in parallel ([`write`]). What
//! is hashed is what was written; a file that is not what the plan saw stops the step.

mod archive;
mod content;
mod copy;
mod error;
mod mode;
mod owner;
mod plan;
mod select;
#[cfg(test)]
mod tests;
mod tree;
mod write;

use std::path::Path;

use kiln_cache::Timestamp;
use kiln_core::{Chmod, Copy, CopySource, FileAction, FileEdit, InlineFile, Unpack};

use copy::{Destination, ModeChange};
use owner::{Accounts, Owner};
use plan::{Bytes, Plan};
use select::Selection;
use tree::{Node, SingleFile, resolve};

pub(crate) use archive::Spool;
pub(crate) use content::{content, reads};
pub use error::{FileError, LeftOut};
pub use mode::ModeError;
pub use tree::LinkLoop;
pub(crate) use tree::{Nothing, Tree};
pub(crate) use write::{Reuse, write};

/// What an edit reads.
pub(crate) struct Inputs<'a> {
    /// What is written on: input 0.
    pub(crate) base: &'a dyn Tree,
    /// Whether the base has no layers at all: names of users cannot be looked up.
    pub(crate) scratch: bool,
    /// All inputs by number; the base is among them.
    pub(crate) trees: &'a [&'a dyn Tree],
    /// The time of what has no time of its own.
    pub(crate) now: Timestamp,
}

/// Works out what `edit` writes.
///
/// # Errors
/// If a source is missing or something is in the way.
pub(crate) fn plan<'a>(
    edit: &FileEdit,
    inputs: &Inputs<'a>,
    spool: &mut Option<Spool>,
    make_spool: &dyn Fn() -> Result<Spool, FileError>,
) -> Result<Plan<'a>, FileError> {
    let mut plan = Plan::new(inputs.base, inputs.now);
    for action in &edit.actions {
        match action {
            FileAction::MakeDir { path, owner, mode } => {
                let owner = match owner.as_str() {
                    "" => Owner { uid: 0, gid: 0 },
                    owner => accounts(inputs)?.resolve(owner)?,
                };
                let path = kiln_core::path::clean(&format!("/{path}"));
                plan.make_directories(Path::new(path.trim_start_matches('/')), *mode, owner)?;
            }
            FileAction::Copy(copy) => copy_all(&mut plan, copy, inputs, spool, make_spool)?,
        }
    }
    Ok(plan)
}

fn copy_all(
    plan: &mut Plan<'_>,
    copy: &Copy,
    inputs: &Inputs<'_>,
    spool: &mut Option<Spool>,
    make_spool: &dyn Fn() -> Result<Spool, FileError>,
) -> Result<(), FileError> {
    let owner = match copy.chown.as_deref() {
        None | Some("") => None,
        Some(owner) => Some(accounts(inputs)?.resolve(owner)?),
    };
    let chmod = match &copy.chmod {
        None => None,
        Some(Chmod::Octal(bits)) => Some(ModeChange::Octal(*bits)),
        Some(Chmod::Symbolic(text)) => Some(ModeChange::Symbolic(mode::SymbolicMode::parse(text)?)),
    };
    let to = Destination { path: &copy.destination, owner, chmod: chmod.as_ref() };
    for source in &copy.sources {
        match source {
            CopySource::Inline(file) => inline(plan, file, inputs.now, &to)?,
            CopySource::Path { input, path, required } => {
                let tree = *inputs.trees.get(*input).ok_or(FileError::NoInput(*input))?;
                let selection = Selection::new(tree, copy, path, *required)?;
                for root in &selection.roots {
                    if copy.unpack == Unpack::IfArchive && !copy.parents {
                        let followed = resolve(tree, root)?;
                        if let Some(file) = archive_at(tree, &followed)? {
                            if spool.is_none() {
                                *spool = Some(make_spool()?);
                            }
                            let spool = spool.as_mut().ok_or(FileError::NoInput(*input))?;
                            archive::unpack(plan, file, root, &to, spool)?;
                            continue;
                        }
                    }
                    copy::copy_root(plan, (*input, tree), root, &selection, &to)?;
                }
            }
        }
    }
    Ok(())
}

/// Copies a heredoc.
fn inline(
    plan: &mut Plan<'_>,
    file: &InlineFile,
    now: Timestamp,
    to: &Destination<'_>,
) -> Result<(), FileError> {
    let name = Path::new(file.path.trim_start_matches('/'));
    let content = kiln_cache::FileContent {
        size: file.data.len() as u64,
        hash: kiln_core::ContentHash::of(&file.data),
    };
    let attributes = kiln_cache::Attributes { mtime: now, ..kiln_cache::Attributes::root(file.mode) };
    let node = Node { kind: kiln_cache::Kind::File(content), attributes, same_as: None };
    let tree = SingleFile { name, node };
    let selection = Selection { roots: vec![name.to_path_buf()], include: None, exclude: None };
    let written = copy::copy_root(plan, (usize::MAX, &tree), name, &selection, to)?;
    plan.give_bytes(&written, Bytes::Inline(file.data.as_slice().into()));
    Ok(())
}

/// Opens the file at `path` if it is an archive.
fn archive_at(tree: &dyn Tree, path: &Path) -> Result<Option<std::fs::File>, FileError> {
    let Some(Node { kind: kiln_cache::Kind::File(_), .. }) = tree.node(path) else { return Ok(None) };
    let open = || tree.open(path).map_err(|cause| FileError::Read { path: path.to_path_buf(), cause });
    Ok(if archive::is_archive(open()?) { Some(open()?) } else { None })
}

/// The account files of the base.
fn accounts(inputs: &Inputs<'_>) -> Result<Accounts, FileError> {
    let read = |path: &str| -> Result<Option<Vec<u8>>, FileError> {
        let path = resolve(inputs.base, Path::new(path))?;
        let Some(Node { kind: kiln_cache::Kind::File(_), .. }) = inputs.base.node(&path) else {
            return Ok(None);
        };
        let failed = |cause| FileError::Read { path: path.clone(), cause };
        let file = inputs.base.open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        // Nobody's account file is larger: a hostile one must not fill the memory.
        std::io::Read::read_to_end(&mut std::io::Read::take(file, 16 << 20), &mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    };
    if inputs.scratch {
        return Ok(Accounts::Scratch);
    }
    Ok(Accounts::Files {
        passwd: read("etc/passwd")?.unwrap_or_default(),
        group: read("etc/group")?.unwrap_or_default(),
    })
}
