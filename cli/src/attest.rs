//! What is said of an image beside it: what the build knows of itself, and the packages in the result.

use std::collections::BTreeMap;

use kiln_cache::Store;
use kiln_core::{Graph, ImageLocator, Op, Platform, Reference, Source, redact};
use kiln_exporter::{
    Attestation, AttestationForm, BuiltStep, Image, Material, Predicate, Provenance, attest, package_url,
    sbom,
};
use serde_json::{Value, json};

use crate::build::Built;
use crate::environment::rfc3339;
use crate::error::CommandError;
use crate::local;
use crate::request::{BuildRequest, ContextFrom};
use crate::source::BuildSource;
use crate::stored::StoreTree;

/// What a build knows of itself when its steps are done.
pub(crate) fn facts(
    request: &BuildRequest,
    source: &BuildSource,
    graph: &Graph,
    began: std::time::SystemTime,
    store: &Store,
) -> Provenance {
    let mut arguments = BTreeMap::new();
    let mut tell = |prefix: &str, pairs: &BTreeMap<String, String>| {
        for (name, value) in pairs {
            arguments.insert(format!("{prefix}{name}"), redact(value).into_owned());
        }
    };
    tell("build-arg:", &request.build_args);
    tell("label:", &request.labels);
    tell("context:", &request.contexts);
    arguments.extend(request.target.clone().map(|target| ("target".to_owned(), target)));
    let remote = match &request.context {
        ContextFrom::Remote(url) => redact(url).into_owned(),
        ContextFrom::Directory(_) | ContextFrom::Stdin => String::new(),
    };
    let locals =
        if remote.is_empty() { vec!["context".to_owned(), "dockerfile".to_owned()] } else { Vec::new() };
    let steps: Vec<BuiltStep> = steps(graph);
    let finished = crate::environment::now();
    let nonce = finished.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let last = steps.last().map(|step| step.id.clone()).unwrap_or_default();
    Provenance {
        file: source.dockerfile.name.clone(),
        source: remote,
        arguments,
        secrets: request.secrets.keys().map(|id| (id.clone(), false)).collect(),
        ssh: request.ssh.keys().cloned().collect(),
        locals,
        materials: materials(graph, store),
        platform: Platform::host().to_string(),
        invocation: kiln_core::Digest::of(format!("{last} {nonce} {}", std::process::id()).as_bytes()).hex(),
        started: rfc3339(began),
        finished: rfc3339(finished),
        text: source.dockerfile.text.to_string(),
        steps,
        layers: Value::Null,
        ..Provenance::default()
    }
}

fn steps(graph: &Graph) -> Vec<BuiltStep> {
    let ids = kiln_solver::step_ids(graph);
    let step = |(id, vertex): (kiln_core::VertexId, &kiln_core::Vertex)| {
        let inputs = vertex.inputs.iter().map(|input| ids[input.index()].0.hex()).collect();
        BuiltStep {
            id: ids[id.index()].0.hex(),
            name: vertex.about.name.clone(),
            op: operation(&vertex.op),
            inputs,
        }
    };
    graph.vertices().map(step).collect()
}

/// An op for people who read a provenance: what kind, and of what.
fn operation(op: &Op) -> Value {
    match op {
        Op::Source(Source::Scratch) => json!({ "source": "scratch" }),
        Op::Source(Source::Image(image)) => json!({ "source": format!("docker-image://{}", image.name) }),
        Op::Source(Source::Local(local)) => json!({ "source": format!("local://{}", local.name) }),
        Op::Source(Source::Http(http)) => json!({ "source": redact(&http.url) }),
        Op::Source(Source::Git(git)) => json!({ "source": redact(&git.remote), "ref": git.reference }),
        Op::Exec(exec) => json!({ "exec": { "args": exec.args, "cwd": exec.cwd, "user": exec.user } }),
        Op::File(edit) => json!({ "file": { "actions": edit.actions.len(), "link": edit.link } }),
    }
}

/// What the build stood on that can be named: images by digest, files by checksum. What a branch led to is told where it
/// was pinned.
fn materials(graph: &Graph, store: &Store) -> Vec<Material> {
    let sha256 = |value: String| ("sha256".to_owned(), value);
    let mut all: Vec<Material> = graph
        .vertices()
        .filter_map(|(_, vertex)| match &vertex.op {
            Op::Source(Source::Image(image)) => {
                let name: Reference = image.name.parse().ok()?;
                let digest = match &image.locator {
                    ImageLocator::Registry { manifest, .. } | ImageLocator::Layout { manifest, .. } => {
                        *manifest
                    }
                    ImageLocator::Store { id } => {
                        let record = store.index().image_by_id(id).ok()??;
                        match &record.origin {
                            Some(origin) => origin.manifest,
                            None => local::image_id(store, &record).ok()?,
                        }
                    }
                };
                Some(Material {
                    uri: package_url(&name, &image.platform, None),
                    digest: sha256(digest.hex()),
                })
            }
            Op::Source(Source::Http(http)) => {
                Some(Material { uri: redact(&http.url).into_owned(), digest: sha256(http.checksum?.hex()) })
            }
            Op::Source(Source::Git(git)) => {
                let commit = git.checksum.clone()?;
                Some(Material { uri: redact(&git.remote).into_owned(), digest: ("sha1".to_owned(), commit) })
            }
            Op::Source(Source::Scratch | Source::Local(_)) | Op::Exec(_) | Op::File(_) => None,
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// What is claimed of one platform's result.
///
/// # Errors
/// If its files cannot be read.
pub(crate) fn predicates(
    request: &BuildRequest,
    built: &Built,
    layers: Value,
    store: &Store,
) -> Result<Vec<Predicate>, CommandError> {
    let mut all = Vec::new();
    if let (Some(wanted), Some(facts)) = (&request.attests.provenance, &built.facts) {
        let mut facts = Provenance::clone(facts);
        facts.builder.clone_from(&wanted.builder);
        facts.reproducible = wanted.reproducible;
        facts.layers = layers;
        all.push(facts.predicate(wanted.mode, wanted.version));
    }
    if request.attests.sbom {
        let tree = StoreTree::new(store.layers().view(&built.snapshot)?);
        let name = request.names.first().map_or_else(|| "image".to_owned(), ToString::to_string);
        let time = built.epoch.and_then(crate::build::time_of).unwrap_or_else(crate::environment::now);
        all.push(sbom(&tree, &name, &rfc3339(time))?);
    }
    Ok(all)
}

/// The attestations of `images`, which were made of `built`.
///
/// # Errors
/// If a result cannot be read.
pub(crate) fn attestations(
    request: &BuildRequest,
    built: &[Built],
    images: &[Image],
    names: &[Reference],
    form: AttestationForm,
    store: &Store,
) -> Result<Vec<Attestation>, CommandError> {
    if request.attests.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for (built, image) in built.iter().zip(images) {
        let layers: Vec<Value> = image
            .layers
            .iter()
            .map(|layer| serde_json::to_value(&layer.descriptor))
            .collect::<Result<_, _>>()?;
        let predicates = predicates(request, built, json!({ "result": [layers] }), store)?;
        all.push(attest(image, names, &predicates, form));
    }
    Ok(all)
}
