//! From a tree to stages: global arguments, what FROM and `--from` mean, the target, and what it needs.

mod args;
mod environment;
mod epoch;
mod names;
mod needed;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_core::{Diagnostic, Diagnostics, Platform, Severity, SourceFile, Span};

pub(crate) use args::GlobalArgs;
pub(crate) use environment::Environment;
pub use epoch::EpochSource;
pub(crate) use names::Names;
pub(crate) use needed::{check_circles, needed};
pub use stage::ImageName;
pub(crate) use stage::{Base, Stage, StageId, Step};

use crate::ast::{Command, Dockerfile, From, StageText, Word};
use crate::expand::{Expanded, Rules, Variables};
use crate::lint::{
    from_platform_flag_const_disallowed, invalid_default_arg_in_from, redundant_target_platform,
    undefined_arg_in_from,
};
use crate::options::Options;
use crate::spelling;

/// The stages of a Dockerfile with all names resolved, for one platform and one set of build arguments.
#[derive(Debug, Clone)]
pub struct StageGraph {
    pub(crate) file: SourceFile,
    pub(crate) escape: char,
    pub(crate) options: Options,
    pub(crate) args: GlobalArgs,
    pub(crate) names: Names,
    /// The stages of the text first, then what COPY and RUN name.
    pub(crate) stages: Vec<Stage>,
    pub(crate) target: StageId,
    /// Whether the target needs the stage, for each.
    pub(crate) needed: Vec<bool>,
    /// Findings that did not stop the plan.
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) epoch: Option<i64>,
    epoch_source: Option<EpochSource>,
}

impl StageGraph {
    /// The findings that did not stop the plan; [`lower`](crate::lower) repeats them.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// What tells the time of the build, if `SOURCE_DATE_EPOCH` names something: to be found out before lowering, and told to
    /// [`set_epoch`](Self::set_epoch).
    pub fn epoch_source(&self) -> Option<&EpochSource> {
        self.epoch_source.as_ref()
    }

    /// Sets the time of the build, in seconds since 1970. Stages that declare `SOURCE_DATE_EPOCH` see it as a number.
    pub fn set_epoch(&mut self, epoch: Option<i64>) {
        self.epoch = epoch;
        let build_args = &mut self.options.build_args;
        match epoch.map(|seconds| seconds.to_string()) {
            Some(text) => {
                if self.args.values.get(epoch::NAME).is_some() {
                    self.args.values.set(epoch::NAME, &text);
                }
                build_args.entry(epoch::NAME.to_owned()).and_modify(|value| *value = text);
            }
            None => {
                self.args.values.remove(epoch::NAME);
                build_args.remove(epoch::NAME);
            }
        }
    }

    /// The names of the stages that the build performs, in the order of the text; those without a name by their number.
    pub fn needed_stages(&self) -> Vec<String> {
        let stages = self.stages.iter().enumerate().zip(&self.needed);
        let needed = stages.filter(|((_, stage), needed)| **needed && !stage.source_only);
        needed.map(|((id, stage), _)| stage.name.clone().unwrap_or_else(|| id.to_string())).collect()
    }
}

/// Finds out what the stages of `file` stand on and which of them are needed.
///
/// # Errors
/// All problems of FROM lines, `--from` and the target at once.
pub fn plan(file: &Dockerfile, options: &Options) -> Result<StageGraph, Diagnostics> {
    let mut errors = Vec::new();
    let failed = |errors: Vec<Diagnostic>| Diagnostics { file: file.file.clone(), items: errors };
    let texts = file.stages();
    let Some(last) = texts.last() else {
        let message = "dockerfile contains no stages to build";
        return Err(failed(vec![
            Diagnostic::error(message, Span::default()).with_help("begin it with FROM"),
        ]));
    };
    let escape = file.directives.escape;
    let last_name = from_of(last).and_then(|from| from.name.as_ref()).map(|name| name.name.as_str());
    let target_name = options.target.as_deref().or(last_name);
    let predefined = args::predefined(options, target_name);
    let mut warnings = default_bases(file, &texts, &predefined);
    let args = args::evaluate(file.head(), predefined, &options.build_args, escape, &mut errors);
    if !errors.is_empty() {
        return Err(failed(errors));
    }

    let mut names = Names::new(options, escape);
    let (epoch, epoch_source) = match epoch::epoch(options, &args, &names, &texts, escape) {
        Ok(epoch) => epoch,
        Err(error) => return Err(failed(vec![error])),
    };
    let mut stages = Vec::new();
    for text in &texts {
        match stage(text, stages.len(), &names, &args, options, escape, &mut warnings) {
            Ok(stage) => {
                if let Some(name) = &stage.name {
                    names.add_stage(name, stages.len());
                }
                stages.push(stage);
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(failed(errors));
    }
    let target = match &options.target {
        Some(name) => names.target(name, &file.file)?,
        None => stages.len() - 1,
    };
    link(&names, &mut stages, &mut errors);
    if !errors.is_empty() {
        return Err(failed(errors));
    }
    check_circles(&stages).map_err(|error| failed(vec![error]))?;
    // The reference counts what mounts read from as stages, be it nothing.
    let mounts = |step: &Step| match &step.instruction.command {
        Command::Run(run) => !run.mounts.is_empty(),
        _ => false,
    };
    if stages.len() == 1 && !stages[0].steps.iter().any(mounts) {
        stages[0].label.clear();
    }
    let needed = needed(&stages, target, options.all_stages);
    warnings.extend(unused_build_args(file, options));
    let mut plan = StageGraph {
        file: file.file.clone(),
        escape,
        options: options.clone(),
        args,
        names,
        stages,
        target,
        needed,
        warnings,
        epoch: None,
        epoch_source,
    };
    if plan.epoch_source.is_none() {
        plan.set_epoch(epoch);
    }
    Ok(plan)
}

fn from_of<'a>(text: &StageText<'a>) -> Option<&'a From> {
    match &text.from.command {
        Command::From(from) => Some(from),
        _ => None,
    }
}

/// Finds what the steps of all stages take files from.
fn link(names: &Names, stages: &mut Vec<Stage>, errors: &mut Vec<Diagnostic>) {
    for id in 0..stages.len() {
        let mut steps = std::mem::take(&mut stages[id].steps);
        for step in &mut steps {
            if let Err(error) = names.link(step, stages) {
                errors.push(error);
            }
        }
        stages[id].steps = steps;
    }
}

fn stage(
    text: &StageText<'_>,
    number: usize,
    names: &Names,
    args: &GlobalArgs,
    options: &Options,
    escape: char,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Stage, Diagnostic> {
    let Some(from) = from_of(text) else {
        return Err(Diagnostic::error("FROM without an image", text.from.span));
    };
    let place = text.from.span;
    let mut expand = |word: &Word| {
        let expanded = Rules::words(escape)
            .expand(&word.value, &args.values)
            .map_err(|error| Diagnostic::error(error.to_string(), word.span))?;
        undeclared(&expanded, word.span, args, warnings);
        Ok(expanded)
    };
    let image = expand(&from.image)?;
    if image.text.is_empty() {
        let message = format!("base name ({}) should not be blank", from.image.value);
        return Err(suggest_argument(Diagnostic::error(message, from.image.span), &image, args));
    }
    let name = from.name.as_ref().map(|name| name.name.as_str());
    let platform = match &from.platform {
        Some(word) => {
            let expanded = expand(word)?;
            warnings.extend(platform_findings(word, &expanded, name, args));
            Some(platform(word, &expanded, args)?)
        }
        None => None,
    };
    let context = name.and_then(|name| names.context(name, platform.as_ref()));
    let base = match context {
        Some((key, context)) => Base::Context { key, context, whole: true },
        None => match names.base_stage(&image.text) {
            Some(id) => Base::Stage(id),
            None => names.image(&image.text, platform.as_ref()).map_err(|error| {
                let diagnostic = names.not_an_image(&image.text, &error, from.image.span);
                if diagnostic.help.is_some() {
                    diagnostic
                } else {
                    suggest_argument(diagnostic, &image, args)
                }
            })?,
        },
    };
    let steps = text.body.iter().map(|instruction| Step {
        instruction: Arc::new(instruction.clone()),
        trigger: None,
        sources: Vec::new(),
    });
    Ok(Stage {
        name: name.map(str::to_owned),
        label: name.map_or_else(|| format!("stage-{number}"), str::to_owned),
        place,
        base_place: from.image.span,
        base,
        platform,
        steps: steps.collect(),
        source_only: false,
        no_cache: options.no_cache.covers(name.unwrap_or_default()),
    })
}

/// The findings of variables in FROM that no ARG before it declares.
fn undeclared(expanded: &Expanded, span: Span, args: &GlobalArgs, warnings: &mut Vec<Diagnostic>) {
    for name in expanded.unset.iter().filter(|name| !args.declared.contains(*name)) {
        let known = args.values.names().chain(args.declared.iter().map(String::as_str));
        warnings.push(undefined_arg_in_from::finding(name, known, span));
    }
}

fn suggest_argument(error: Diagnostic, expanded: &Expanded, args: &GlobalArgs) -> Diagnostic {
    let nearest = expanded.unset.iter().find_map(|name| spelling::nearest(name, args.values.names()));
    match nearest {
        Some(name) => error.with_help(format!("did you mean {name}?")),
        None => error,
    }
}

fn platform(word: &Word, expanded: &Expanded, args: &GlobalArgs) -> Result<Platform, Diagnostic> {
    if expanded.text.is_empty() {
        let message = format!("empty platform value from expression {}", word.value);
        return Err(suggest_argument(Diagnostic::error(message, word.span), expanded, args));
    }
    expanded.text.parse().map_err(|error| {
        let message = format!("failed to parse platform {}: {error}", word.value);
        suggest_argument(Diagnostic::error(message, word.span), expanded, args)
    })
}

/// The findings of `--platform`: the default spelt out, and a constant.
fn platform_findings(
    word: &Word,
    expanded: &Expanded,
    stage: Option<&str>,
    args: &GlobalArgs,
) -> Option<Diagnostic> {
    if expanded.used.is_empty() && expanded.unset.is_empty() {
        return from_platform_flag_const_disallowed::check(
            &expanded.text,
            stage.unwrap_or_default(),
            word.span,
        );
    }
    let alone = expanded.used == ["TARGETPLATFORM"] && expanded.unset.is_empty();
    let same = args.values.get("TARGETPLATFORM") == Some(expanded.text.as_str());
    (alone && same).then(|| redundant_target_platform::finding(&word.value, word.span))
}

/// The findings of bases that are no image names unless build arguments say so.
fn default_bases(file: &Dockerfile, texts: &[StageText<'_>], predefined: &Environment) -> Vec<Diagnostic> {
    let escape = file.directives.escape;
    let mut errors = Vec::new();
    let args = args::evaluate(file.head(), predefined.clone(), &BTreeMap::new(), escape, &mut errors);
    let mut warnings = Vec::new();
    if !errors.is_empty() {
        return warnings;
    }
    for from in texts.iter().filter_map(from_of) {
        let Ok(expanded) = Rules::words(escape).expand(&from.image.value, &args.values) else { break };
        if expanded.text.parse::<kiln_core::Reference>().is_err() {
            warnings.push(invalid_default_arg_in_from::finding(&from.image.value, from.image.span));
        }
    }
    warnings
}

/// Whether a build argument means something without an ARG.
fn is_predefined(name: &str) -> bool {
    const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
    const PLATFORM: [&str; 5] = ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT"];
    let platform = ["TARGET", "BUILD"].iter().find_map(|prefix| name.strip_prefix(prefix));
    PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
        || platform.is_some_and(|rest| PLATFORM.contains(&rest))
        || ["TARGETSTAGE", "SOURCE_DATE_EPOCH"].contains(&name)
        || name.starts_with("BUILDKIT_")
}

/// A warning for each build argument that no ARG of the text takes.
fn unused_build_args(file: &Dockerfile, options: &Options) -> Vec<Diagnostic> {
    let mut declared = BTreeSet::new();
    for instruction in &file.instructions {
        let instruction = instruction.arguments.trigger.as_deref().unwrap_or(instruction);
        if let Command::Arg(names) = &instruction.command {
            declared.extend(names.iter().map(|arg| arg.name.value.as_str()));
        }
    }
    let unused = options.build_args.keys().map(String::as_str);
    let unused = unused.filter(|name| !is_predefined(name) && !declared.contains(name));
    let finding = |name: &str| Diagnostic {
        severity: Severity::Warning,
        rule: None,
        message: format!("build argument {name} is not used: no ARG declares it"),
        span: Span::default(),
        help: spelling::nearest(name, declared.iter().copied()).map(|near| format!("did you mean {near}?")),
    };
    unused.map(finding).collect()
}
