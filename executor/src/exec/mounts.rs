//! `RUN --mount`: what is shown to a process besides its root, and what it costs to have it.

use std::collections::BTreeSet;
use std::path::Path;

use kiln_cache::{FileLock, Links, OverlayXattrs, ScratchDir};
use kiln_core::{ContentHash, Exec, MountKind, Snapshot, StableHash as _, StableHasher};

use super::cache_mount::{self, Held};
use super::ssh::Forward;
use super::{mounted_content, trees};
use crate::error::ExecutorError;
use crate::executor::{Inner, Value};
use crate::sandbox::{Content, Graft, GraftSource, Tree, Writable};

/// The mounts of a step. Dropping it releases locks and removes what was made for the step alone.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    pub(super) grafts: Vec<Graft>,
    /// Secrets as variables, `NAME=value`, and where the agent's socket is.
    pub(super) env: Vec<String>,
    // Before the directories that their sockets are in.
    agents: Vec<Forward>,
    scratch: Vec<ScratchDir>,
    held: Held,
}

impl Mounted {
    pub(super) fn keep(&mut self, scratch: ScratchDir) {
        self.scratch.push(scratch);
    }

    pub(super) fn hold(&mut self, key: ContentHash, lock: FileLock) {
        self.held.insert(key, lock);
    }

    pub(super) fn holds(&self, key: &ContentHash) -> bool {
        self.held.contains_key(key)
    }
}

/// The content of what `exec` reads of input `index`.
pub(crate) fn content(
    inner: &Inner,
    exec: &Exec,
    index: usize,
    input: &Value,
) -> Result<ContentHash, ExecutorError> {
    let Value::Snapshot(snapshot) = input else { return Err(ExecutorError::Input(index)) };
    let layers = inner.services.store.layers();
    let mut hasher = StableHasher::new("kiln run on 1");
    if index == 0 {
        layers.content(snapshot)?.stable_hash(&mut hasher);
    }
    let view = layers.view(snapshot)?;
    for mount in &exec.mounts {
        match &mount.kind {
            MountKind::Bind { input, source, .. } if *input == index => {
                mounted_content(&view, source)?.stable_hash(&mut hasher);
            }
            MountKind::Cache(cache) if cache.input == Some(index) => {
                mounted_content(&view, &cache.source)?.stable_hash(&mut hasher);
            }
            MountKind::Bind { .. }
            | MountKind::Cache(_)
            | MountKind::Tmpfs { .. }
            | MountKind::Secret { .. }
            | MountKind::Ssh { .. } => {}
        }
    }
    Ok(hasher.finish())
}

/// Prepares all mounts of `exec`, in its order.
pub(super) fn mounts(inner: &Inner, exec: &Exec, inputs: &[Value]) -> Result<Mounted, ExecutorError> {
    let mut mounted = Mounted::default();
    cache_mount::lock_all(inner, exec, inputs, &mut mounted)?;
    let mut agents = BTreeSet::new();
    for mount in &exec.mounts {
        let graft = |source, read_only| Graft { target: mount.target.clone(), source, read_only };
        match &mount.kind {
            MountKind::Bind { input, source, writable } => {
                let snapshot = snapshot(inputs, *input)?;
                mounted_content(&*inner.services.store.layers().view(snapshot)?, source)?;
                let source = if inner.services.store.xattrs() == OverlayXattrs::Plain {
                    copied(inner, snapshot, source, &mut mounted)?
                } else {
                    let tree = overlay(inner, snapshot, *writable, &mut mounted)?;
                    GraftSource::Tree { tree, path: source.clone() }
                };
                mounted.grafts.push(graft(source, !writable));
            }
            MountKind::Cache(cache) => {
                let source = cache_mount::source(inner, cache, inputs, &mut mounted)?;
                mounted.grafts.push(graft(source, cache.read_only));
            }
            MountKind::Tmpfs { size } => {
                let source = GraftSource::Tmpfs { size: *size, mode: 0o1777, no_exec: false, no_suid: false };
                mounted.grafts.push(graft(source, false));
            }
            MountKind::Secret { id, required, access } => match inner.services.secrets.get(id) {
                Some(secret) => {
                    let (uid, gid, mode) = (access.uid, access.gid, access.mode);
                    let content = Content { data: secret.0.clone(), uid, gid, mode };
                    mounted.grafts.push(graft(GraftSource::Content(content), true));
                }
                None if *required => return Err(ExecutorError::Secret(id.clone())),
                None => {}
            },
            MountKind::Ssh { id, required, access } => {
                match inner.services.ssh.get(id) {
                    Some(agent) => {
                        let scratch = inner.services.store.scratch_dir()?;
                        let socket = scratch.path().join("agent.sock");
                        let failed = cache_mount::failed(&socket);
                        mounted.agents.push(Forward::start(agent, &socket, access.mode).map_err(failed)?);
                        inner.services.store.own(&socket, access.uid, access.gid)?;
                        mounted.keep(scratch);
                        mounted.grafts.push(graft(GraftSource::Path(socket), false));
                    }
                    None if *required => return Err(ExecutorError::Ssh(id.clone())),
                    None => {}
                }
                agents.insert(mount.target.clone());
            }
        }
    }
    // The first one, whether an agent is there or not.
    let named = exec.env.iter().any(|(name, _)| name == "SSH_AUTH_SOCK");
    if let (Some(target), false) = (agents.first(), named) {
        mounted.env.push(format!("SSH_AUTH_SOCK={target}"));
    }
    for secret in &exec.secret_env {
        match inner.services.secrets.get(&secret.id) {
            Some(value) => {
                let text = String::from_utf8_lossy(&value.0);
                mounted.env.push(format!("{}={text}", secret.name));
            }
            None if secret.required => return Err(ExecutorError::Secret(secret.id.clone())),
            None => {}
        }
    }
    for file in &exec.files {
        let content = Content { data: file.data.clone(), uid: 0, gid: 0, mode: file.mode };
        let source = GraftSource::Content(content);
        mounted.grafts.push(Graft { target: file.path.clone(), source, read_only: true });
    }
    Ok(mounted)
}

pub(super) fn snapshot(inputs: &[Value], index: usize) -> Result<&Snapshot, ExecutorError> {
    match inputs.get(index) {
        Some(Value::Snapshot(snapshot)) => Ok(snapshot),
        Some(Value::Context(_)) | None => Err(ExecutorError::Input(index)),
    }
}

/// A copy of one path of a snapshot, where layers cannot be stacked; it goes with the step.
pub(super) fn copied(
    inner: &Inner,
    snapshot: &Snapshot,
    path: &str,
    mounted: &mut Mounted,
) -> Result<GraftSource, ExecutorError> {
    let scratch = inner.services.store.scratch_dir()?;
    let tree = scratch.path().join("copy");
    cache_mount::make(&tree)?;
    let path = lay_out(inner, snapshot, path, &tree)?;
    mounted.keep(scratch);
    Ok(GraftSource::Tree { tree: Tree::Directory(tree), path })
}

/// Copies one path of a snapshot into `into`, and gives the path that it has there.
pub(super) fn lay_out(
    inner: &Inner,
    snapshot: &Snapshot,
    path: &str,
    into: &Path,
) -> Result<String, ExecutorError> {
    let layers = inner.services.store.layers();
    let view = layers.view(snapshot)?;
    let missing = || ExecutorError::MountSource(path.to_owned());
    let resolved = view.resolve(Path::new(path), Links::Followed).map_err(|_| missing())?;
    let found = resolved.found.ok_or_else(missing)?;
    layers.lay_out(&view, &resolved.path, into)?;
    let name = resolved.path.file_name().filter(|_| !found.entry().is_dir());
    Ok(format!("/{}", name.unwrap_or_default().to_string_lossy()))
}

/// A snapshot as a tree to mount; what is written to it goes with the step.
fn overlay(
    inner: &Inner,
    snapshot: &Snapshot,
    writable: bool,
    mounted: &mut Mounted,
) -> Result<Tree, ExecutorError> {
    let lowers = trees(inner, snapshot)?;
    if !writable && !lowers.is_empty() {
        return Ok(Tree::Overlay { lowers, upper: None });
    }
    let scratch = inner.services.store.scratch_dir()?;
    let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
    for directory in [&upper, &work] {
        cache_mount::make(directory)?;
    }
    mounted.keep(scratch);
    Ok(Tree::Overlay { lowers, upper: Some(Writable { upper, work }) })
}
