//! `RUN --mount`.

use kiln_core::{Access, CacheMount, Diagnostic, ExecMount, MountKind, SecretEnv, Span, path};

use super::builder::NodeId;
use super::state::State;
use super::{Context, Lowering, Outcome};
use crate::ast::{Mount, MountType, Run};
use crate::options::MAIN_CONTEXT;
use crate::plan::{StageId, Step};

/// The mounts of a step.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) mounts: Vec<ExecMount>,
    /// The vertices they read, numbered after the step's root.
    pub(super) inputs: Vec<NodeId>,
    pub(super) secret_env: Vec<SecretEnv>,
    /// The first SSH socket.
    pub(super) socket: Option<String>,
}

impl Mounts {
    /// The number of `id` among the inputs, the step's root being 0.
    fn input(&mut self, id: NodeId) -> usize {
        let known = self.inputs.iter().position(|input| *input == id);
        let at = known.unwrap_or_else(|| {
            self.inputs.push(id);
            self.inputs.len() - 1
        });
        at + 1
    }
}

impl Lowering<'_> {
    pub(super) fn mounts(
        &mut self,
        run: &Run,
        step: &Step,
        state: &State,
        context: &Context<'_>,
    ) -> Outcome<Mounts> {
        let mut mounts = Mounts::default();
        let mut sockets = 0;
        for (flag, source) in run.mounts.iter().zip(&step.sources) {
            let place = step.place(flag.text.span);
            let expanded = flag.expanded(|word| self.expand(word, step, state))?;
            let mount = expanded.mount().map_err(|error| {
                let diagnostic = Diagnostic::error(error.message, step.place(error.span));
                match error.help {
                    Some(help) => diagnostic.with_help(help),
                    None => diagnostic,
                }
            })?;
            match mount.kind {
                MountType::Bind | MountType::Cache => {
                    let node = self.mount_source(&mount, *source, place, context)?;
                    self.file_mount(&mount, node, place, state, &mut mounts)?;
                }
                MountType::Tmpfs => {
                    let target = target(&mount, state, place)?;
                    mounts.mounts.push(ExecMount { target, kind: MountKind::Tmpfs { size: mount.size } });
                }
                MountType::Secret => secret(&mount, place, &mut mounts)?,
                MountType::Ssh => ssh(&mount, place, &mut sockets, &mut mounts)?,
            }
        }
        Ok(mounts)
    }

    /// The vertex that a mount reads; a cache without `from` begins with nothing.
    fn mount_source(
        &mut self,
        mount: &Mount,
        source: Option<StageId>,
        place: Span,
        context: &Context<'_>,
    ) -> Outcome<Option<NodeId>> {
        match source {
            Some(id) => match self.source_root(id) {
                Some(root) => Ok(Some(root)),
                None => Err(Diagnostic::error(
                    format!(
                        "cannot mount from stage {} to {}, stage needs to be defined before current command",
                        super::go_text::quoted(&mount.from),
                        super::go_text::quoted(&mount.target)
                    ),
                    place,
                )
                .with_help(format!("move it above the stage {}", context.stage.label))),
            },
            None if mount.kind == MountType::Cache => Ok(None),
            None => {
                let main = self.plan.options.context.clone();
                Ok(Some(self.context(MAIN_CONTEXT, &main)))
            }
        }
    }

    fn file_mount(
        &mut self,
        mount: &Mount,
        node: Option<NodeId>,
        place: Span,
        state: &State,
        mounts: &mut Mounts,
    ) -> Outcome<()> {
        let target = target(mount, state, place)?;
        let source = path::join("/", &mount.source);
        let (input, source) = match node {
            Some(node) => {
                let (node, source) = self.mountable(node, &source);
                (Some(mounts.input(node)), source)
            }
            None => (None, source),
        };
        let kind = match (mount.kind, input) {
            (MountType::Bind, Some(input)) => MountKind::Bind { input, source, writable: !mount.read_only },
            _ => {
                let namespace = self.plan.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS");
                let id = if mount.id.is_empty() { path::clean(&mount.target) } else { mount.id.clone() };
                MountKind::Cache(CacheMount {
                    id: match namespace.filter(|namespace| !namespace.is_empty()) {
                        Some(namespace) => format!("{namespace}/{id}"),
                        None => id,
                    },
                    sharing: mount.sharing.unwrap_or_default(),
                    input,
                    source,
                    access: access(mount, 0o755),
                    read_only: mount.read_only,
                })
            }
        };
        mounts.mounts.push(ExecMount { target, kind });
        Ok(())
    }
}

fn access(mount: &Mount, mode: u32) -> Access {
    Access {
        uid: mount.uid.unwrap_or_default(),
        gid: mount.gid.unwrap_or_default(),
        mode: mount.mode.unwrap_or(mode),
    }
}

/// The place of a mount: below the working directory if it is relative, never the root.
fn target(mount: &Mount, state: &State, place: Span) -> Outcome<String> {
    let target = if mount.target.starts_with('/') {
        path::clean(&mount.target)
    } else {
        path::join(state.dir(), &mount.target)
    };
    if target == "/" {
        return Err(Diagnostic::error("invalid mount target \"/\"", place));
    }
    Ok(target)
}

fn secret(mount: &Mount, place: Span, mounts: &mut Mounts) -> Outcome<()> {
    let named = [&mount.source, &mount.id].into_iter().find(|name| !name.is_empty());
    let id = match named {
        Some(id) => id.clone(),
        None if mount.target.is_empty() => {
            return Err(Diagnostic::error("one of source, target required", place));
        }
        None => path::base(&mount.target).to_owned(),
    };
    if let Some(name) = &mount.env {
        mounts.secret_env.push(SecretEnv { name: name.clone(), id: id.clone(), required: mount.required });
        if mount.target.is_empty() {
            return Ok(());
        }
    }
    let target = if mount.target.is_empty() {
        format!("/run/secrets/{}", path::base(&id))
    } else {
        path::join("/", &mount.target)
    };
    let kind = MountKind::Secret { id, required: mount.required, access: access(mount, 0o400) };
    mounts.mounts.push(ExecMount { target, kind });
    Ok(())
}

fn ssh(mount: &Mount, place: Span, sockets: &mut usize, mounts: &mut Mounts) -> Outcome<()> {
    if !mount.source.is_empty() {
        return Err(Diagnostic::error("ssh does not support source", place));
    }
    let target = if mount.target.is_empty() {
        format!("/run/buildkit/ssh_agent.{sockets}")
    } else {
        path::join("/", &mount.target)
    };
    *sockets += 1;
    mounts.socket.get_or_insert_with(|| target.clone());
    let id = if mount.id.is_empty() { "default".to_owned() } else { mount.id.clone() };
    let kind = MountKind::Ssh { id, required: mount.required, access: access(mount, 0o600) };
    mounts.mounts.push(ExecMount { target, kind });
    Ok(())
}
