//! A build from the Dockerfile's text to its outputs, in the order in which it happens.

mod before;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_core::{
    ContentHash, Diagnostic, Diagnostics, Event, Graph, ImageConfig, Outcome, Platform, Progress, Snapshot,
    StepId, VertexId,
};
use kiln_executor::isolation::Rung;
use kiln_executor::sandbox::{Bundle, Io, Running, Sandbox, SandboxError};
use kiln_executor::source::GitOptions;
use kiln_executor::{Executor, Look, SecretValue, Value};
use kiln_exporter::Provenance;
use kiln_frontend as frontend;
use kiln_frontend::ast::Dockerfile;
use kiln_solver::SolveError;

use crate::attest;
use crate::container::network::networks;
use crate::contexts::Contexts;
use crate::environment::now;
use crate::error::CommandError;
use crate::explain::{Decisions, Explanations, Identity, Solved};
use crate::output::OutputKind;
use crate::pack::Ahead;
use crate::remote;
use crate::remote_cache::{CacheError, Exportable, INLINE_KEY, Imported, SharedImports};
use crate::request::BuildRequest;
use crate::resolver::Resolver;
use crate::source::BuildSource;
use crate::stamp::stamp;
use crate::wiring::Services;
use crate::worker::{BuildWorker, WorkError};

pub(crate) use before::look_before;

/// What a build made for one platform: an image whose layers are in the store.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// The configuration, without the digests of its layers.
    pub(crate) config: ImageConfig,
    /// The layers.
    pub(crate) snapshot: Snapshot,
    /// How many of the layers are the base image's.
    pub(crate) base_layers: usize,
    /// For what.
    pub(crate) platform: Platform,
    /// SOURCE_DATE_EPOCH, in seconds since 1970.
    pub(crate) epoch: Option<i64>,
    /// How it was built, if that is to be stated.
    pub(crate) facts: Option<Arc<Provenance>>,
    /// What goes into caches, if there are any.
    pub(crate) exportable: Exportable,
    /// What packs its layers since they were made.
    pub(crate) ahead: Option<Ahead>,
}

/// Builds for every platform that was asked for, all at the same time.
///
/// # Errors
/// What is wrong with the Dockerfile, or the first step that failed.
pub(crate) async fn build(
    request: &BuildRequest,
    source: &BuildSource,
    with: &Services,
    progress: &Arc<dyn Progress>,
    explanations: &Explanations,
    on_failure: Option<&Arc<dyn Look>>,
) -> Result<Vec<Built>, CommandError> {
    note_isolation(with, progress);
    let dockerfile = parse(source, request, progress)?;
    let contexts = Contexts::open(source, &request.contexts)?;
    let platforms =
        if request.platforms.is_empty() { vec![Platform::host()] } else { request.platforms.clone() };
    let (imports, problems) = Imported::load(&request.cache_from, with).await;
    for (name, error) in problems {
        warn(progress, &name, &error);
    }
    let imports = imports.map(Arc::new);
    let common = Common {
        request,
        source,
        contexts: &contexts,
        dockerfile: &dockerfile,
        with,
        progress,
        explanations,
        on_failure,
        imports,
    };
    futures_util::future::try_join_all(platforms.into_iter().map(|platform| common.build(platform))).await
}

/// What the builds of all platforms have in common.
struct Common<'a> {
    request: &'a BuildRequest,
    source: &'a BuildSource,
    contexts: &'a Contexts,
    dockerfile: &'a Dockerfile,
    with: &'a Services,
    progress: &'a Arc<dyn Progress>,
    explanations: &'a Explanations,
    on_failure: Option<&'a Arc<dyn Look>>,
    imports: SharedImports,
}

impl Common<'_> {
    /// One platform, from the tree to the layers.
    async fn build(&self, platform: Platform) -> Result<Built, CommandError> {
        let Self { request, source, with, .. } = *self;
        let began = now();
        let lowered =
            lower(request, source, self.contexts, self.dockerfile, &platform, with, self.progress).await?;
        let graph = Arc::new(lowered.graph);
        let identity = Identity::new(request, source, &platform);
        let ahead = Ahead::begin(&with.store, request, &graph, lowered.root);
        let (solved, decisions, imports) = self.solve(&graph, lowered.root, ahead.as_ref()).await?;
        let (root, decided) = (lowered.root, &decisions);
        let told = Solved { graph: &graph, root, decisions: decided, identity, platform: &platform, request };
        self.explanations.add(&with.store, &told);
        let output = solved.map_err(|error| step_error(&graph, error))?;
        let Value::Snapshot(snapshot) = output else {
            unreachable!("a stage ends in a file system: contexts are only copied from")
        };
        let exportable = if request.cache_to.is_empty() {
            Exportable::default()
        } else {
            let keys = crate::explain::keys(&with.store, identity);
            Exportable::new(&with.store, &graph, root, &decisions, &keys)
        };
        let base_layers =
            lowered.config.history[..lowered.base_history].iter().filter(|e| !e.empty_layer).count();
        let epoch = lowered.epoch.or(request.epoch);
        let mut config = lowered.config;
        // The base image's cache is not this image's.
        config.other.remove(INLINE_KEY);
        let times: Vec<SystemTime> = if imports.is_some_and(|imports| imports.is_elsewhere(&snapshot)) {
            // Nobody asked for the layers' files: the image goes nowhere.
            vec![now(); snapshot.layers.len()]
        } else {
            snapshot
                .layers
                .iter()
                .map(|layer| with.store.layers().created(layer))
                .collect::<Result<_, _>>()?
        };
        stamp(&mut config, &times, epoch.and_then(time_of), now());
        let facts = request
            .attests
            .provenance
            .as_ref()
            .map(|_| Arc::new(attest::facts(request, source, &graph, began, &with.store)));
        Ok(Built { config, snapshot, base_layers, platform, epoch, facts, exportable, ahead })
    }

    /// Performs the steps. What a cache promised and does not have is performed here, without caches: gives those that the result
    /// may still depend on.
    async fn solve(
        &self,
        graph: &Arc<Graph>,
        root: VertexId,
        ahead: Option<&Ahead>,
    ) -> Result<Performed, CommandError> {
        let with = self.with;
        let executor = executor(self.request, self.contexts, with, self.progress, self.on_failure.cloned())?;
        let mut imports = self.imports.clone();
        loop {
            let worker = Arc::new(BuildWorker::new(
                with.store.clone(),
                executor.clone(),
                imports.clone(),
                ahead.cloned(),
            ));
            let (asked, shown) = (Arc::clone(&worker), Arc::clone(self.progress));
            let solved = kiln_solver::solve(Arc::clone(graph), root, asked, shown).await;
            let gone = match (&solved, &imports) {
                (Err(SolveError::Step { cause: WorkError::Cache(error), .. }), Some(_)) => Arc::clone(error),
                (Ok(Value::Snapshot(snapshot)), Some(found)) if needs_files(self.request) => {
                    match found.localise(snapshot).await {
                        Ok(local) => {
                            found.remember().await;
                            return Ok((Ok(Value::Snapshot(local)), worker.decisions(), imports));
                        }
                        Err(error) => Arc::new(error),
                    }
                }
                _ => return Ok((solved, worker.decisions(), imports)),
            };
            warn(self.progress, "cache", &gone);
            imports = None;
        }
    }
}

/// The result, what was decided on the way, and the caches that it may still depend on.
type Performed = (Result<Value, SolveError<WorkError>>, Decisions, SharedImports);

/// Whether an output reads the image's layers.
fn needs_files(request: &BuildRequest) -> bool {
    request.outputs.iter().any(|output| !matches!(output.kind, OutputKind::CacheOnly))
}

/// A cache that cannot be used is no reason to fail.
pub(crate) fn warn(progress: &Arc<dyn Progress>, name: &str, error: &CacheError) {
    let message = format!("{name}: {}", crate::report::chain(error));
    let diagnostic = Diagnostic {
        severity: kiln_core::Severity::Warning,
        ..Diagnostic::error(message, kiln_core::Span::default())
    };
    progress.emit(Event::Warning { diagnostic, file: None });
}

/// From the tree to the graph of one platform.
async fn lower(
    request: &BuildRequest,
    source: &BuildSource,
    contexts: &Contexts,
    dockerfile: &Dockerfile,
    platform: &Platform,
    with: &Services,
    progress: &Arc<dyn Progress>,
) -> Result<frontend::Lowered, CommandError> {
    let options = frontend_options(request, contexts, platform.clone());
    let mut stages = frontend::plan(dockerfile, &options)?;
    if let Some(epoch) = stages.epoch_source().cloned() {
        let remote = with.remote(request.ssh.get("default").cloned());
        stages.set_epoch(remote::time(&epoch, source.modified, &remote).await?);
    }
    let bases = frontend::resolve(&stages, &Resolver::new(with, request.pull, Arc::clone(progress))).await?;
    let mut lowered = frontend::lower(&stages, &bases)?;
    report_findings(dockerfile, std::mem::take(&mut lowered.warnings), request, progress)?;
    Ok(lowered)
}

/// Where in the Dockerfile the solver failed.
fn step_error(graph: &Graph, error: SolveError<WorkError>) -> CommandError {
    let place = graph.vertex(error.vertex()).about.place.clone();
    match error {
        SolveError::Step { name, cause, .. } => CommandError::Step { name, place, cause: Box::new(cause) },
        SolveError::Panic { ref name, .. } => {
            CommandError::Step { name: name.clone(), place, cause: Box::new(error) }
        }
    }
}

pub(crate) fn time_of(epoch: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(epoch).ok()?))
}

/// The Dockerfile as a tree; its problems stop the build, all of them at once.
fn parse(
    source: &BuildSource,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
) -> Result<Dockerfile, CommandError> {
    let file = &source.dockerfile;
    let name = format!("[internal] load build definition from {}", file.name);
    internal(progress, &name, "transferring dockerfile:", file.text.len() as u64);
    let parsed = frontend::parse(file);
    if let Some(ignore) = &source.ignore {
        internal(
            progress,
            "[internal] load .dockerignore",
            "transferring context:",
            ignore.text.len() as u64,
        );
    }
    // What is found in the text alone is told even if the build goes no further.
    report_findings(&parsed.dockerfile, frontend::lint::file(&parsed.dockerfile), request, progress)?;
    if !parsed.is_sound() {
        return Err(Diagnostics { file: file.clone(), items: parsed.diagnostics }.into());
    }
    Ok(parsed.dockerfile)
}

/// Tells the findings of the checks; they stop the build where the Dockerfile asks for it (`# check=error=true`).
fn report_findings(
    dockerfile: &Dockerfile,
    findings: Vec<Diagnostic>,
    request: &BuildRequest,
    progress: &Arc<dyn Progress>,
) -> Result<(), CommandError> {
    let argument = request.build_args.get("BUILDKIT_DOCKERFILE_CHECK").map(String::as_str);
    let failed = |item| Diagnostics { file: dockerfile.file.clone(), items: vec![item] };
    let checks = frontend::lint::Checks::of(dockerfile, argument).map_err(failed)?;
    let kept = checks.keep(dockerfile, findings);
    for diagnostic in &kept {
        progress.emit(Event::Warning { diagnostic: diagnostic.clone(), file: Some(dockerfile.file.clone()) });
    }
    match checks.verdict(&kept) {
        None => Ok(()),
        Some(message) => Err(failed(Diagnostic::error(message, kiln_core::Span::default())).into()),
    }
}

/// What the frontend is asked for.
pub(crate) fn frontend_options(
    request: &BuildRequest,
    contexts: &Contexts,
    platform: Platform,
) -> frontend::Options {
    let mut options = frontend::Options::for_platform(platform);
    options.target.clone_from(&request.target);
    options.build_args.clone_from(&request.build_args);
    options.labels.clone_from(&request.labels);
    options.contexts.clone_from(&contexts.named);
    options.platform_given = !request.platforms.is_empty();
    options.build_platform = Platform::host();
    options.several_platforms = request.platforms.len() > 1;
    options.network = request.network;
    options.surroundings = request.surroundings.clone();
    options.no_cache = match (request.no_cache, request.no_cache_stages.is_empty()) {
        (true, _) => frontend::NoCache::All,
        (false, true) => frontend::NoCache::None,
        (false, false) => frontend::NoCache::Stages(request.no_cache_stages.clone()),
    };
    options.epoch = request.epoch;
    options.allow_insecure = request.allow_insecure;
    options.devices.clone_from(&request.every_device);
    options.ignores = contexts.ignores();
    options
}

/// Who performs the steps.
fn executor(
    request: &BuildRequest,
    contexts: &Contexts,
    with: &Services,
    progress: &Arc<dyn Progress>,
    on_failure: Option<Arc<dyn Look>>,
) -> Result<Executor, CommandError> {
    let argument = |name: &str| request.build_args.get(name).cloned().unwrap_or_default();
    let sandbox: Arc<dyn Sandbox> = match with.sandbox(request.runtime.as_deref()) {
        Ok(sandbox) => sandbox,
        Err(error) if request.runtime.is_some() => return Err(error),
        Err(error) => Arc::new(NoSandbox(error.to_string())),
    };
    let mut secrets = BTreeMap::new();
    for (id, from) in &request.secrets {
        secrets.insert(id.clone(), SecretValue(from.read(id, &with.environment)?));
    }
    let authorization = git_authorization(&secrets);
    Ok(Executor::new(kiln_executor::Services {
        store: with.store.clone(),
        client: with.client().clone(),
        sandbox,
        progress: Arc::clone(progress),
        contexts: contexts.directories.clone(),
        secrets,
        ssh: request.ssh.clone(),
        network: request.network,
        networks: networks(with).ok(),
        cache_namespace: argument("BUILDKIT_CACHE_MOUNT_NS"),
        git: GitOptions {
            ssh_agent: request.ssh.get("default").cloned(),
            authorization,
            ..GitOptions::default()
        },
        resolv_conf: std::fs::read("/etc/resolv.conf").unwrap_or_default(),
        memory: request.memory,
        limits: request.limits.clone(),
        devices: request.devices.clone(),
        on_failure,
        link_files: true,
        clock: now,
    }))
}

/// The secrets for git repositories: `GIT_AUTH_HEADER[.host]` as they are, `GIT_AUTH_TOKEN[.host]` as a password
/// (BuildKit, reference.md#add).
fn git_authorization(secrets: &BTreeMap<String, SecretValue>) -> Vec<(String, String)> {
    let text = |value: &SecretValue| String::from_utf8_lossy(&value.0).trim().to_owned();
    let host = |rest: &str| match rest.strip_prefix('.') {
        Some(host) => Some(host.to_owned()),
        None => rest.is_empty().then(String::new),
    };
    let basic = |token: &str| format!("basic {}", STANDARD.encode(format!("x-access-token:{token}")));
    secrets
        .iter()
        .filter_map(|(id, value)| {
            match (id.strip_prefix("GIT_AUTH_HEADER"), id.strip_prefix("GIT_AUTH_TOKEN")) {
                (Some(rest), _) => Some((host(rest)?, text(value))),
                (None, Some(rest)) => Some((host(rest)?, basic(&text(value)))),
                (None, None) => None,
            }
        })
        .collect()
}

/// Where nothing can be shut in, steps that run nothing still work.
struct NoSandbox(String);

impl Sandbox for NoSandbox {
    fn start(&self, _bundle: &Bundle, _io: Io) -> Result<Running, SandboxError> {
        Err(SandboxError::Spec(self.0.clone()))
    }
}

/// Says where steps are shut in less than people may think.
fn note_isolation(with: &Services, progress: &Arc<dyn Progress>) {
    if matches!(&with.isolation, Ok(isolation) if isolation.rung == Rung::Chroot) {
        let name =
            "[internal] isolation chroot: steps share this container's processes, network and host name";
        let step = StepId(ContentHash::of(name.as_bytes()));
        progress.emit(Event::Queued { step, name: name.to_owned(), inputs: Vec::new() });
        progress.emit(Event::Started { step });
        progress.emit(Event::Completed { step, outcome: Outcome::Done });
    }
}

/// Shows an internal step that took no time.
fn internal(progress: &Arc<dyn Progress>, name: &str, part: &str, bytes: u64) {
    let step = StepId(ContentHash::of(name.as_bytes()));
    progress.emit(Event::Queued { step, name: name.to_owned(), inputs: Vec::new() });
    progress.emit(Event::Started { step });
    progress.emit(Event::Status { step, id: part.to_owned(), current: bytes, total: bytes, done: true });
    progress.emit(Event::Completed { step, outcome: Outcome::Done });
}
