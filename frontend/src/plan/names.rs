//! What names mean: stages, images, named contexts.

use std::collections::{BTreeMap, HashMap};

use kiln_core::{Diagnostic, Diagnostics, Platform, Reference, ReferenceError, SourceFile, Span};

use super::stage::{Base, Stage, StageId, Step};
use crate::ast::{Command, MountFlag, MountType, Word};
use crate::expand::{NoVariables, Rules};
use crate::options::{NamedContext, Options};
use crate::spelling;

/// The stages by name and number, and the contexts that stand in for images.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// In lower case; of stages with the same name the last.
    stages: HashMap<String, StageId>,
    contexts: BTreeMap<String, NamedContext>,
    default_platform: Platform,
    escape: char,
}

/// An image name's key among the named contexts: without `docker.io/library/` and `:latest`.
fn context_key(reference: &Reference) -> String {
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").map_or(familiar.clone(), str::to_owned)
}

impl Names {
    pub(crate) fn new(options: &Options, escape: char) -> Self {
        let contexts = options.contexts.iter().map(|(name, context)| {
            let (name, platform) = match name.split_once("::") {
                Some((name, platform)) => (name, Some(platform)),
                None => (name.as_str(), None),
            };
            let key = name.parse::<Reference>().map_or_else(|_| name.to_owned(), |r| context_key(&r));
            let platform =
                platform.map(|p| p.parse::<Platform>().map_or_else(|_| p.to_owned(), |p| p.to_string()));
            (platform.map_or(key.clone(), |p| format!("{key}::{p}")), context.clone())
        });
        Self {
            stages: HashMap::new(),
            contexts: contexts.collect(),
            default_platform: options.platform.clone(),
            escape,
        }
    }

    pub(crate) fn add_stage(&mut self, name: &str, id: StageId) {
        self.stages.insert(name.to_owned(), id);
    }

    /// The stage that FROM means: names are known in lower case, and FROM takes them as they are.
    pub(crate) fn base_stage(&self, name: &str) -> Option<StageId> {
        self.stages.get(name).copied()
    }

    /// The stage of that name in any case.
    pub(crate) fn stage(&self, name: &str) -> Option<StageId> {
        self.stages.get(&name.to_lowercase()).copied()
    }

    /// The named context that stands in for `name`, the platform's own first, and its key.
    pub(crate) fn context(&self, name: &str, platform: Option<&Platform>) -> Option<(String, NamedContext)> {
        if self.contexts.is_empty() || ["scratch", "context"].iter().any(|n| name.eq_ignore_ascii_case(n)) {
            return None;
        }
        let key = context_key(&name.parse().ok()?);
        let with_platform = format!("{key}::{}", platform.unwrap_or(&self.default_platform));
        [with_platform, key].into_iter().find_map(|key| {
            let context = self.contexts.get(&key)?.clone();
            Some((key, context))
        })
    }

    /// The base called `name` if it is no stage: scratch, a context in an image's place, an image.
    pub(crate) fn image(&self, name: &str, platform: Option<&Platform>) -> Result<Base, ReferenceError> {
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        let reference: Reference = name.parse()?;
        Ok(match self.context(name, platform) {
            Some((key, context)) => Base::Context { key, context, whole: false },
            None => Base::Image { written: name.to_owned(), reference },
        })
    }

    /// Finds what `step` takes files from; images and contexts are added to `stages`.
    pub(crate) fn link(&self, step: &mut Step, stages: &mut Vec<Stage>) -> Result<(), Diagnostic> {
        let sources = match &step.instruction.command {
            Command::Copy(copy) => match &copy.from {
                Some(from) => vec![Some(self.copy_source(from, step, stages)?)],
                None => Vec::new(),
            },
            Command::Run(run) => {
                let mut sources = Vec::with_capacity(run.mounts.len());
                for flag in &run.mounts {
                    sources.push(match mount_from(flag) {
                        Some(from) => Some(match self.stage(&from.value) {
                            Some(id) => id,
                            None => self.add_source(from, step, stages)?,
                        }),
                        None => None,
                    });
                }
                sources
            }
            _ => Vec::new(),
        };
        step.sources = sources;
        Ok(())
    }

    fn copy_source(&self, from: &Word, step: &Step, stages: &mut Vec<Stage>) -> Result<StageId, Diagnostic> {
        let place = step.place(from.span);
        let expanded = Rules::words(self.escape)
            .expand(&from.value, &NoVariables)
            .map_err(|error| Diagnostic::error(error.to_string(), place))?;
        if expanded.text != from.value {
            return Err(Diagnostic::error(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
                place,
            )
            .with_help("write `FROM $IMAGE AS name` above and use `--from=name`"));
        }
        if let Ok(number) = from.value.parse::<i64>() {
            return usize::try_from(number)
                .ok()
                .filter(|&id| id < stages.len())
                .ok_or_else(|| Diagnostic::error(format!("invalid stage index {number}"), place));
        }
        match self.stage(&from.value) {
            Some(id) => Ok(id),
            None => self.add_source(from, step, stages),
        }
    }

    fn add_source(&self, name: &Word, step: &Step, stages: &mut Vec<Stage>) -> Result<StageId, Diagnostic> {
        let place = step.place(name.span);
        let base =
            self.image(&name.value, None).map_err(|error| self.not_an_image(&name.value, &error, place))?;
        stages.push(Stage {
            name: None,
            label: String::new(),
            place,
            base_place: place,
            base,
            platform: None,
            steps: Vec::new(),
            source_only: true,
            no_cache: false,
        });
        Ok(stages.len() - 1)
    }

    /// The error of a name that is neither a stage nor an image can have it.
    pub(crate) fn not_an_image(&self, name: &str, error: &ReferenceError, place: Span) -> Diagnostic {
        let reason = match error {
            ReferenceError::Uppercase(_) => {
                let host = name.split('/').next().is_some_and(|first| first.contains(['.', ':']));
                let path = if host { name.split_once('/').map_or(name, |(_, rest)| rest) } else { name };
                let path = path.split(['@', ':']).next().unwrap_or(path);
                let library = if host || path.contains('/') { "" } else { "library/" };
                format!("invalid reference format: repository name ({library}{path}) must be lowercase")
            }
            ReferenceError::Format(_) => "invalid reference format".to_owned(),
            other => other.to_string(),
        };
        let message = format!("failed to parse stage name {}: {reason}", crate::syntax::go::quote(name));
        let diagnostic = Diagnostic::error(message, place);
        match self.suggestion(name) {
            Some(stage) => diagnostic.with_help(format!("did you mean {stage}?")),
            None => diagnostic,
        }
    }

    /// The stage whose name is nearest to `name`; that of the same name in another case first.
    pub(crate) fn suggestion(&self, name: &str) -> Option<String> {
        if self.stages.contains_key(&name.to_lowercase()) {
            return Some(name.to_lowercase());
        }
        let mut names: Vec<&str> = self.stages.keys().map(String::as_str).collect();
        names.sort_unstable();
        spelling::nearest_in_any_case(name, names).map(str::to_owned)
    }

    pub(crate) fn target(&self, name: &str, file: &SourceFile) -> Result<StageId, Diagnostics> {
        self.stage(name).ok_or_else(|| {
            let message = format!("target stage {} could not be found", crate::syntax::go::quote(name));
            let error = Diagnostic::error(message, Span::default());
            let item = match self.suggestion(name) {
                Some(stage) => error.with_help(format!("did you mean {stage}?")),
                None => error,
            };
            Diagnostics { file: file.clone(), items: vec![item] }
        })
    }
}

/// What `from=` of a mount names, if it is of a type that reads from somewhere. Other fields may have variables and are
/// understood when lowered.
fn mount_from(flag: &MountFlag) -> Option<&Word> {
    let field = |key: &str| flag.fields.iter().rev().find(|f| f.key == key).and_then(|f| f.value.as_ref());
    let kind = field("type").map_or("bind", |word| word.value.as_str());
    let reads =
        [MountType::Bind, MountType::Cache].iter().any(|known| known.name().eq_ignore_ascii_case(kind));
    field("from").filter(|word| reads && !word.value.is_empty())
}
