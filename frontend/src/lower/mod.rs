//! From stages and bases to a graph and an image's configuration, purely.
//!
//! Stage by stage in the order of the text, instruction by instruction: each either changes what the stage has come to
//! ([`State`]) or adds a vertex to the graph, or both, and says so in the history with BuildKit's words.

mod args;
mod base;
mod builder;
mod chmod;
mod config;
mod copy;
mod expose;
mod go_text;
mod mounts;
mod names;
mod run;
mod signal;
mod state;
mod workdir;

use std::collections::HashMap;

use kiln_core::{About, Diagnostic, Diagnostics, Graph, ImageConfig, Span, VertexId};

use crate::ast::{Command, Word};
use crate::expand::{ExpandError, Expanded, Rules};
use crate::lint::undefined_var;
use crate::plan::{Base, Stage, StageGraph, StageId, Step, needed};
use crate::resolve::Bases;
use builder::{Builder, NodeId};
use state::{Numbering, State};

/// A build, ready to be solved.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// What is to be done.
    pub graph: Graph,
    /// The vertex that is the image's root.
    pub root: VertexId,
    /// The image's configuration, without layers. The history entries that are not of empty layers are as many as the layers.
    pub config: ImageConfig,
    /// How many entries of the history are the base image's.
    pub base_history: usize,
    /// Findings that did not stop it, those of the plan among them.
    pub warnings: Vec<Diagnostic>,
    /// `SOURCE_DATE_EPOCH`, wherever it was said.
    pub epoch: Option<i64>,
}

/// Lowers the stages that the target needs.
///
/// # Errors
/// All problems of their instructions at once.
pub fn lower(stages: &StageGraph, bases: &Bases) -> Result<Lowered, Diagnostics> {
    let mut lowering = Lowering::new(stages, bases);
    let failed = |items: Vec<Diagnostic>| Diagnostics { file: stages.file.clone(), items };
    // What COPY and RUN take files from stands after the stages, and needs none of them.
    let sources = stages.stages.iter().enumerate().filter(|(_, stage)| stage.source_only);
    let revealed = bases.sources.iter().enumerate().map(|(n, stage)| (stages.stages.len() + n, stage));
    let real = stages.stages.iter().enumerate().filter(|(_, stage)| !stage.source_only);
    let all = sources.chain(revealed).chain(real);
    for (id, stage) in all.filter(|(id, _)| lowering.needed[*id]).collect::<Vec<_>>() {
        lowering.stage(id, stage);
    }
    if !lowering.errors.is_empty() {
        return Err(failed(lowering.errors));
    }
    let Some(state) = lowering.states[stages.target].take() else {
        return Err(failed(vec![Diagnostic::error("the target stage was not built", Span::default())]));
    };
    let base_history = lowering.base_history[stages.target];
    let root = lowering.mountable(state.root, "/").0;
    let config = finished(state.image, stages);
    let (graph, root) = lowering.builder.finish(root);
    let mut warnings = stages.warnings.clone();
    warnings.extend(lowering.warnings);
    Ok(Lowered { graph, root, config, base_history, warnings, epoch: stages.epoch })
}

/// The configuration of the target with what the user asked for on top.
fn finished(mut image: ImageConfig, stages: &StageGraph) -> ImageConfig {
    let options = &stages.options;
    for (name, value) in &options.labels {
        image.config.labels.insert(name.clone(), value.clone());
    }
    if options.platform_given {
        let same = image.os == options.platform.os && image.architecture == options.platform.architecture;
        image.os.clone_from(&options.platform.os);
        image.architecture.clone_from(&options.platform.architecture);
        if !options.platform.variant.is_empty() || !same {
            image.variant.clone_from(&options.platform.variant);
        }
        if !same {
            image.os_version.clear();
        }
    }
    if !image.architecture.is_empty() {
        let platform = image.platform();
        (image.os, image.architecture, image.variant) =
            (platform.os, platform.architecture, platform.variant);
    }
    image
}

/// What lowering has come to.
struct Lowering<'a> {
    plan: &'a StageGraph,
    bases: &'a Bases,
    needed: Vec<bool>,
    builder: Builder,
    /// The vertices of contexts, by the name of the context.
    contexts: HashMap<String, NodeId>,
    /// Copies of parts of local contexts that can be mounted.
    mounted: HashMap<(NodeId, String), NodeId>,
    /// The states of the stages that are finished and that others stand on, or that are the target.
    states: Vec<Option<State>>,
    /// How many stages that are still to come stand on each.
    users: Vec<usize>,
    /// The roots of the stages that are finished.
    roots: Vec<Option<NodeId>>,
    /// What may still be copied, in bytes, before the build is refused.
    budget: usize,
    /// How many history entries of each stage are the image's that it stands on in the end.
    base_history: Vec<usize>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// The time of history entries, if it is given.
    created: Option<String>,
}

/// What one stage's instructions need besides its state.
struct Context<'a> {
    stage: &'a Stage,
    numbering: Numbering,
    /// Whether the stage itself has a CMD so far.
    cmd_set: bool,
}

/// The most bytes of variables and history that may be copied from step to step and from stage to stage: beyond it a
/// Dockerfile is an attack, or a generator gone wild.
const MAX_BYTES: usize = 128 << 20;

/// How many variables are looked through for the one that was meant.
const MAX_NAMES: usize = 1000;

/// How many of the needed stages stand on each; the target is wanted once more at the end.
fn users(stages: &[Stage], needed: &[bool], target: StageId) -> Vec<usize> {
    let mut users = vec![0; stages.len()];
    users[target] = 1;
    for (stage, _) in stages.iter().zip(needed).filter(|(_, needed)| **needed) {
        if let Base::Stage(id) = stage.base {
            users[id] += 1;
        }
    }
    users
}

type Outcome<T> = Result<T, Diagnostic>;

impl<'a> Lowering<'a> {
    fn new(plan: &'a StageGraph, bases: &'a Bases) -> Self {
        let mut stages = plan.stages.clone();
        for (id, steps) in &bases.triggers {
            stages[*id].steps.extend(steps.iter().cloned());
        }
        stages.extend(bases.sources.iter().cloned());
        let needed = needed(&stages, plan.target, plan.options.all_stages);
        Self {
            plan,
            bases,
            builder: Builder::default(),
            contexts: HashMap::new(),
            mounted: HashMap::new(),
            states: vec![None; needed.len()],
            users: users(&stages, &needed, plan.target),
            roots: vec![None; needed.len()],
            budget: MAX_BYTES,
            base_history: vec![0; needed.len()],
            needed,
            errors: Vec::new(),
            warnings: Vec::new(),
            created: plan.epoch.map(go_text::time),
        }
    }

    fn stage(&mut self, id: StageId, stage: &'a Stage) {
        let triggers = self.bases.triggers.get(&id).map(Vec::as_slice).unwrap_or_default();
        let mut context = Context { stage, numbering: self.numbering(stage, triggers.len()), cmd_set: false };
        let Some(mut state) = self.base(stage, &mut context.numbering) else { return };
        self.base_history[id] = match stage.base {
            Base::Stage(base) => self.base_history[base],
            _ => state.image.history.len(),
        };
        if !stage.source_only && !stage.is_replaced() {
            state.begin();
            for step in triggers.iter().chain(&stage.steps) {
                if let Err(error) = self.step(step, &mut state, &mut context) {
                    self.errors.push(error);
                }
                if self.budget == 0 {
                    return;
                }
            }
        }
        self.roots[id] = Some(state.root);
        if self.users[id] > 0 {
            self.states[id] = Some(state);
        }
    }

    /// The state of stage `id`, for one that stands on it: the last of these takes it, the others copy it.
    fn state_of(&mut self, id: StageId) -> Option<State> {
        self.users[id] = self.users[id].saturating_sub(1);
        if self.users[id] == 0 {
            return self.states[id].take();
        }
        let bytes = self.states[id].as_ref()?.bytes();
        self.spend(bytes).then(|| self.states[id].clone())?
    }

    /// Takes `bytes` off the budget; notes the error when it is used up.
    fn spend(&mut self, bytes: usize) -> bool {
        if self.budget == 0 {
            return false;
        }
        self.budget = self.budget.saturating_sub(bytes);
        if self.budget == 0 {
            let message =
                format!("the variables and histories of the steps take more than {MAX_BYTES} bytes");
            self.errors.push(Diagnostic::error(message, Span::default()));
        }
        self.budget > 0
    }

    /// How many steps the stage counts in progress: its base if it is brought in, what makes layers, and each trigger.
    fn numbering(&self, stage: &Stage, triggers: usize) -> Numbering {
        let counts = |step: &&Step| {
            matches!(
                step.instruction.command,
                Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_)
            )
        };
        let base = usize::from(!matches!(stage.base, Base::Scratch | Base::Stage(_)));
        let total =
            if stage.source_only { 0 } else { base + stage.steps.iter().filter(counts).count() + triggers };
        Numbering { label: stage.label.clone(), total, done: 0 }
    }

    fn step(&mut self, step: &Step, state: &mut State, context: &mut Context<'_>) -> Outcome<()> {
        let findings = state.checks.instruction(&step.instruction);
        self.warnings.extend(findings.into_iter().map(|f| Diagnostic { span: step.place(f.span), ..f }));
        self.spend(state.carried());
        match &step.instruction.command {
            Command::Run(run) => self.run(run, step, state, context)?,
            Command::Copy(copy) => self.copy(copy, step, state, context)?,
            Command::Add(add) => self.add(add, step, state, context)?,
            Command::Workdir(path) => self.workdir(path, step, state, context)?,
            Command::Arg(names) => self.arg(names, step, state)?,
            Command::Env(pairs) => self.env(pairs, step, state)?,
            Command::Label(pairs) => self.label(pairs, step, state)?,
            Command::Expose(ports) => self.expose(ports, step, state)?,
            Command::User(user) => self.user(user, step, state)?,
            Command::Volume(paths) => self.volume(paths, step, state)?,
            Command::Stopsignal(signal) => self.stopsignal(signal, step, state)?,
            Command::Cmd(command) => self.cmd(command, state, context),
            Command::Entrypoint(command) => self.entrypoint(command, state, context),
            Command::Healthcheck(check) => self.healthcheck(check, state),
            Command::Shell(words) => self.shell(words, state),
            Command::Maintainer(name) => self.maintainer(name, state),
            Command::Onbuild(onbuild) => state.image.config.on_build.push(onbuild.expression.clone()),
            Command::From(_) | Command::Invalid => {
                let message = format!("{} cannot be built", step.instruction.keyword.value);
                return Err(Diagnostic::error(message, step.place(step.instruction.span)));
            }
        }
        Ok(())
    }

    fn commit(&self, state: &mut State, created_by: String, empty_layer: bool) {
        state.commit(kiln_core::redacted(created_by), empty_layer, self.created.clone());
    }

    /// Expands a word of an instruction, and tells of variables that nothing has set.
    fn expand(&mut self, word: &Word, step: &Step, state: &State) -> Outcome<String> {
        let rules = Rules::words(self.plan.escape);
        self.expand_by(rules, word, step, state).map(|expanded| expanded.text)
    }

    fn expand_by(&mut self, rules: Rules, word: &Word, step: &Step, state: &State) -> Outcome<Expanded> {
        let expanded = rules
            .expand(&word.value, &state.env)
            .map_err(|error| cannot_expand(&error, step.place(word.span)))?;
        self.spend(expanded.text.len());
        self.report_unset(&expanded.unset, word, step, state);
        Ok(expanded)
    }

    fn report_unset(&mut self, unset: &[String], word: &Word, step: &Step, state: &State) {
        for name in unset.iter().filter(|name| !state.declares(name)) {
            if args::SBOM_ARGS.contains(&name.as_str()) {
                continue;
            }
            let span = step.trigger.unwrap_or_else(|| self.place_of_variable(name, word.span));
            self.warnings.push(undefined_var::finding(name, state.env.names().take(MAX_NAMES), span));
        }
    }

    /// The bytes of `$name` within `span`, or all of it if they cannot be found.
    fn place_of_variable(&self, name: &str, span: Span) -> Span {
        let text = self.plan.file.text.get(span.range()).unwrap_or_default();
        let found = [format!("${{{name}"), format!("${name}")].into_iter().find_map(|written| {
            let at = text.find(&written)?;
            Some(Span::new(span.start + at, span.start + at + written.len()))
        });
        found.unwrap_or(span)
    }

    /// What people are told of the vertex of a step.
    fn about(&self, name: String, step: &Step, context: &Context<'_>) -> About {
        About {
            name: kiln_core::redacted(name),
            place: Some((self.plan.file.clone(), step.place(step.instruction.span))),
            stage: context.stage.label.clone(),
            no_cache: context.stage.no_cache,
        }
    }

    /// The state of a stage that files are taken from.
    fn source_root(&self, id: StageId) -> Option<NodeId> {
        self.roots.get(id).copied().flatten()
    }
}

fn cannot_expand(error: &ExpandError, span: Span) -> Diagnostic {
    Diagnostic::error(error.to_string(), span)
}
