//! Base images: all that are needed are asked for at once. Only ONBUILD, which a base's configuration may hold, can reveal
//! further ones; that loop is here and nowhere else.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use kiln_core::{Diagnostic, Diagnostics, ImageConfig, ImageLocator, Platform, SourceFile, Span};

use crate::ast::Command;
use crate::options::NamedContext;
use crate::plan::{Base, ImageName, Stage, StageGraph, StageId, Step, needed};
use crate::spelling;

/// Whoever can find images: the local store, registries, layouts.
pub trait ImageResolver {
    /// Finds each of `wanted`, in order, together.
    fn resolve(
        &self,
        wanted: Vec<ImageWanted>,
    ) -> impl Future<Output = Vec<Result<ResolvedImage, ResolveError>>> + Send;
}

/// An image that a build needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageWanted {
    /// What it is called.
    pub name: ImageName,
    /// The platform it is wanted for.
    pub platform: Platform,
    /// Where it is named.
    pub span: Span,
}

/// An image that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// Where its layers are.
    pub locator: ImageLocator,
    /// As people call it, in full: `docker.io/library/busybox:latest@sha256:…`.
    pub name: String,
    /// Its configuration.
    pub config: ImageConfig,
}

/// Why an image was not found, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// What went wrong, causes included.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// What the stages stand on: the images, and the triggers that they set off.
#[derive(Debug, Clone, Default)]
pub struct Bases {
    pub(crate) images: Vec<ResolvedImage>,
    by_name: HashMap<(ImageName, Platform), usize>,
    /// The instructions that ONBUILD of a stage's base puts before its own.
    pub(crate) triggers: BTreeMap<StageId, Vec<Step>>,
    /// What triggers take files from, numbered after the stages of the plan.
    pub(crate) sources: Vec<Stage>,
}

impl Bases {
    /// The image of that name for that platform.
    pub(crate) fn image(&self, name: &ImageName, platform: &Platform) -> Option<(usize, &ResolvedImage)> {
        let index = *self.by_name.get(&(name.clone(), platform.clone()))?;
        Some((index, &self.images[index]))
    }
}

/// Names that are often meant.
const COMMON_IMAGES: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

/// The image that `stage` stands on, if it stands on one directly.
pub(crate) fn image_name(stage: &Stage) -> Option<ImageName> {
    match &stage.base {
        Base::Image { reference, .. } => Some(ImageName::Reference(reference.clone())),
        Base::Context { context: NamedContext::Image(reference), .. } => {
            Some(ImageName::Reference(reference.clone()))
        }
        Base::Context { context: NamedContext::Layout(layout), .. } => {
            Some(ImageName::Layout(layout.clone()))
        }
        Base::Scratch | Base::Stage(_) | Base::Context { .. } => None,
    }
}

/// Finds the images that the needed stages of `plan` stand on, and the triggers these set off.
///
/// # Errors
/// All images that were not found, and triggers that make no sense.
pub async fn resolve(plan: &StageGraph, resolver: &impl ImageResolver) -> Result<Bases, Diagnostics> {
    let mut bases = Bases::default();
    let mut stages = plan.stages.clone();
    let mut initialized = vec![false; stages.len()];
    loop {
        let needed = needed(&stages, plan.target, plan.options.all_stages);
        find_images(plan, &stages, &needed, resolver, &mut bases).await?;
        let mut revealed = false;
        for id in 0..plan.stages.len() {
            if needed[id] && !std::mem::replace(&mut initialized[id], true) && !stages[id].is_replaced() {
                revealed |= add_triggers(plan, id, &mut stages, &mut bases)?;
            }
        }
        if !revealed {
            break;
        }
    }
    crate::plan::check_circles(&stages)
        .map_err(|error| Diagnostics { file: plan.file.clone(), items: vec![error] })?;
    bases.sources = stages.split_off(plan.stages.len());
    Ok(bases)
}

async fn find_images(
    plan: &StageGraph,
    stages: &[Stage],
    needed: &[bool],
    resolver: &impl ImageResolver,
    bases: &mut Bases,
) -> Result<(), Diagnostics> {
    let mut wanted: Vec<ImageWanted> = Vec::new();
    let mut asked: HashMap<(ImageName, Platform), usize> = HashMap::new();
    for (stage, _) in stages.iter().zip(needed).filter(|(_, needed)| **needed) {
        let Some(name) = image_name(stage) else { continue };
        let platform = stage.platform.clone().unwrap_or_else(|| plan.options.platform.clone());
        let key = (name.clone(), platform.clone());
        if !bases.by_name.contains_key(&key) && !asked.contains_key(&key) {
            asked.insert(key, wanted.len());
            wanted.push(ImageWanted { name, platform, span: stage.base_place });
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let found = resolver.resolve(wanted.clone()).await;
    let mut errors = Vec::new();
    for (wanted, found) in wanted.into_iter().zip(found) {
        match found {
            Ok(image) => {
                bases.by_name.insert((wanted.name, wanted.platform), bases.images.len());
                bases.images.push(image);
            }
            Err(error) => errors.push(not_found(plan, &wanted, error)),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Diagnostics { file: plan.file.clone(), items: errors }) }
}

fn not_found(plan: &StageGraph, wanted: &ImageWanted, error: ResolveError) -> Diagnostic {
    let name = match &wanted.name {
        ImageName::Reference(reference) => reference.familiar(),
        layout @ ImageName::Layout(_) => layout.to_string(),
    };
    let diagnostic = Diagnostic::error(format!("{name}: {}", error.message), wanted.span);
    let nearest = || {
        let stage = plan.names.suggestion(&name);
        stage.or_else(|| spelling::nearest(&name, COMMON_IMAGES).map(str::to_owned))
    };
    match error.help.or_else(|| nearest().map(|name| format!("did you mean {name}?"))) {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

/// Puts the triggers of the base of stage `id` before its own steps; whether they take files from somewhere.
fn add_triggers(
    plan: &StageGraph,
    id: StageId,
    stages: &mut Vec<Stage>,
    bases: &mut Bases,
) -> Result<bool, Diagnostics> {
    let stage = &stages[id];
    let texts: Vec<String> = match &stage.base {
        Base::Stage(base) => plan.stages[*base]
            .steps
            .iter()
            .filter_map(|step| match &step.instruction.command {
                Command::Onbuild(onbuild) => Some(onbuild.expression.clone()),
                _ => None,
            })
            .collect(),
        _ => base_config(plan, stage, bases).map(|config| config.config.on_build.clone()).unwrap_or_default(),
    };
    let from = stage.place;
    let mut steps = Vec::with_capacity(texts.len());
    let mut revealed = false;
    for text in texts {
        let mut step = parse_trigger(&text, from)
            .map_err(|error| Diagnostics { file: plan.file.clone(), items: vec![error] })?;
        plan.names
            .link(&mut step, stages)
            .map_err(|error| Diagnostics { file: plan.file.clone(), items: vec![error] })?;
        revealed |= step.sources.iter().any(Option::is_some);
        steps.push(step);
    }
    if !steps.is_empty() {
        bases.triggers.insert(id, steps.clone());
        stages[id].steps.splice(0..0, steps);
    }
    Ok(revealed)
}

fn base_config<'a>(plan: &StageGraph, stage: &Stage, bases: &'a Bases) -> Option<&'a ImageConfig> {
    let name = image_name(stage)?;
    let platform = stage.platform.as_ref().unwrap_or(&plan.options.platform);
    bases.image(&name, platform).map(|(_, image)| &image.config)
}

fn parse_trigger(text: &str, from: Span) -> Result<Step, Diagnostic> {
    let file = SourceFile::new("ONBUILD", text);
    let parsed = crate::syntax::parse_trigger(&file);
    if let Some(error) = parsed.diagnostics.iter().find(|d| d.severity == kiln_core::Severity::Error) {
        return Err(Diagnostic::error(format!("ONBUILD trigger `{text}`: {}", error.message), from));
    }
    let mut instructions = parsed.dockerfile.instructions.into_iter();
    match (instructions.next(), instructions.next()) {
        (Some(instruction), None) => {
            Ok(Step { instruction: Arc::new(instruction), trigger: Some(from), sources: Vec::new() })
        }
        _ => Err(Diagnostic::error("onbuild trigger should be a single expression", from)),
    }
}
