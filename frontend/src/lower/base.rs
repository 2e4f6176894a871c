//! What a stage stands on, as a vertex and a configuration.

use kiln_core::{
    About, Chmod, Copy, CopySource, Diagnostic, FileAction, FileEdit, GitSource, HttpSource, ImageConfig,
    ImageSource, Op, Platform, Source, Unpack,
};

use super::Lowering;
use super::builder::NodeId;
use super::state::{DEFAULT_PATH, Numbering, State};
use crate::lint::{StageChecks, invalid_base_image_platform};
use crate::options::{MAIN_CONTEXT, NamedContext};
use crate::plan::{Base, Stage};
use crate::resolve::image_name;

impl Lowering<'_> {
    /// The state that the stage begins with; `None` if what it stands on is in error.
    pub(super) fn base(&mut self, stage: &Stage, numbering: &mut Numbering) -> Option<State> {
        let target = &self.plan.options.platform;
        let platform = stage.platform.clone().unwrap_or_else(|| target.clone());
        match &stage.base {
            Base::Scratch => {
                let image = empty_image(target);
                Some(State::new(self.builder.scratch(), target.clone(), image))
            }
            Base::Stage(id) => {
                let mut state = self.state_of(*id)?;
                // Whoever begins with a state sets its variables anew.
                if !self.spend(state.env.bytes()) {
                    return None;
                }
                state.root = self.mountable(state.root, "/").0;
                // Triggers are for whoever stands on the stage, not for the one after.
                state.image.config.on_build.clear();
                state.checks = StageChecks::on_stage(&state.checks);
                Some(state)
            }
            Base::Image { .. } => self.image(stage, &platform, numbering, None),
            Base::Context { key, context, whole } => match context {
                NamedContext::Image(_) | NamedContext::Layout(_) => {
                    let mut state = self.image(stage, &platform, numbering, Some(key))?;
                    if *whole {
                        state.platform = state.image.platform();
                    }
                    Some(state)
                }
                other => {
                    let root = self.context(key, other);
                    // Files may be copied from a context as it is; to stand on, it has to be a snapshot.
                    let only_read = stage.source_only || *whole;
                    let root = if only_read { root } else { self.mountable(root, "/").0 };
                    Some(State::new(root, platform.clone(), empty_image(&platform)))
                }
            },
        }
    }

    fn image(
        &mut self,
        stage: &Stage,
        platform: &Platform,
        numbering: &mut Numbering,
        context: Option<&str>,
    ) -> Option<State> {
        let name = image_name(stage)?;
        let Some((index, image)) = self.bases.image(&name, platform) else {
            let message = format!("{name}: the image was not resolved");
            self.errors.push(Diagnostic::error(message, stage.base_place));
            return None;
        };
        let prefix = self.plan.options.several_platforms.then(|| platform.to_string());
        let text = format!("FROM {}", image.name);
        let about = About {
            name: match context {
                Some(key) => format!("[context {key}] {}", image.name),
                None => numbering.next(&text, prefix.as_deref()),
            },
            place: Some((self.plan.file.clone(), stage.place)),
            stage: stage.label.clone(),
            no_cache: false,
        };
        let root = self.builder.image(index, || {
            let source = ImageSource {
                name: image.name.clone(),
                locator: image.locator.clone(),
                platform: platform.clone(),
            };
            (Op::Source(Source::Image(source)), about)
        });
        let offered = image.config.platform();
        if let Base::Image { written, .. } = &stage.base {
            self.warnings.extend(invalid_base_image_platform::check(
                written,
                &offered,
                platform,
                stage.place,
            ));
        }
        let mut config = image.config.clone();
        config.created = None;
        config.rootfs = kiln_core::RootFs::default();
        // What the base wants done at its children has been put before their instructions.
        config.config.on_build.clear();
        Some(State::new(root, platform.clone(), config))
    }

    /// The vertex of a context that is no image.
    pub(super) fn context(&mut self, key: &str, context: &NamedContext) -> NodeId {
        if let Some(id) = self.contexts.get(key) {
            return *id;
        }
        let id = self.new_context(key, context);
        self.contexts.insert(key.to_owned(), id);
        id
    }

    fn new_context(&mut self, key: &str, context: &NamedContext) -> NodeId {
        let name = |what: &str| About {
            name: if key == MAIN_CONTEXT {
                "[internal] load build context".to_owned()
            } else {
                format!("[context {key}] {what}")
            },
            ..About::default()
        };
        match context {
            NamedContext::Directory(local) => self.builder.local(local, || name("load from client")),
            NamedContext::Git(git) => {
                let about = name(&git.remote);
                self.builder.add(Op::Source(Source::Git(GitSource::clone(git))), Vec::new(), about)
            }
            NamedContext::Http(http) => {
                let about = name(&http.url);
                self.builder.add(Op::Source(Source::Http(HttpSource::clone(http))), Vec::new(), about)
            }
            // Images are resolved, and no context of this kind.
            NamedContext::Scratch | NamedContext::Image(_) | NamedContext::Layout(_) => {
                self.builder.scratch()
            }
        }
    }

    /// A vertex that can be mounted from, with `path` in it where it was: a local context is copied from, never mounted.
    pub(super) fn mountable(&mut self, root: NodeId, path: &str) -> (NodeId, String) {
        if !self.builder.is_local(root) {
            return (root, path.to_owned());
        }
        let key = (root, path.to_owned());
        if let Some(id) = self.mounted.get(&key) {
            return (*id, path.to_owned());
        }
        let copy = Copy {
            sources: vec![CopySource::Path { input: 1, path: literal(path), required: true }],
            destination: path.to_owned(),
            chown: None,
            chmod: None::<Chmod>,
            parents: false,
            exclude: Vec::new(),
            unpack: Unpack::Never,
        };
        let edit = FileEdit { actions: vec![FileAction::Copy(copy)], link: false, created: None };
        let scratch = self.builder.scratch();
        let about = About { name: format!("[internal] take {path} from the context"), ..About::default() };
        let id = self.builder.add(Op::File(edit), vec![scratch, root], about);
        self.mounted.insert(key, id);
        (id, path.to_owned())
    }
}

/// A path whose wildcards mean themselves.
pub(super) fn literal(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '*' | '?' | '[' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// The configuration of `FROM scratch`.
fn empty_image(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig::for_platform(platform);
    image.config.working_dir = "/".to_owned();
    if platform.os != "windows" {
        image.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    }
    image
}
