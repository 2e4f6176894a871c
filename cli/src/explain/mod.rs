//! `--explain`: why each step ran or did not.
//!
//! The store keeps one record for each thing that is built (a context, a Dockerfile, a target, a platform): what every
//! step consisted of, what it read and what it made. The next build of the same pairs its steps with those and tells in
//! what they differ. An unchanged build reads the record's first 32 bytes and writes nothing.
//!
//! ```text
//! fact `explain`/<identity>    the root's definition, 32 bytes · zstd of the record as JSON
//! ```

mod compare;
mod pair;
mod reason;
mod record;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use kiln_cache::Store;
use kiln_core::{ContentHash, Graph, LayerId, Platform, StableHash as _, StableHasher, VertexId};
use kiln_solver::How;

pub(crate) use self::reason::Explained;
pub(crate) use self::text::text;
use crate::request::{BuildRequest, ContextFrom};
use crate::source::BuildSource;

/// What the solver decided of a step.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) how: How,
    pub(crate) definition: ContentHash,
    pub(crate) lock: Option<ContentHash>,
    pub(crate) key: Option<ContentHash>,
    pub(crate) contents: Vec<ContentHash>,
    /// The layers that it added, if it was looked at and has an output.
    pub(crate) added: Option<Vec<LayerId>>,
}

/// The decisions of one build, by step.
pub(crate) type Decisions = BTreeMap<VertexId, Decision>;

/// What is built, whatever it contains: the same build of tomorrow has the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity(ContentHash);

impl Identity {
    /// Of a build for one platform.
    pub(crate) fn new(request: &BuildRequest, source: &BuildSource, platform: &Platform) -> Self {
        let mut hasher = StableHasher::new("kiln explain 1");
        match &request.context {
            ContextFrom::Directory(_) => source.directory.stable_hash(&mut hasher),
            ContextFrom::Stdin => "-".stable_hash(&mut hasher),
            ContextFrom::Remote(url) => url.stable_hash(&mut hasher),
        }
        source.dockerfile.name.stable_hash(&mut hasher);
        request.target.clone().unwrap_or_default().stable_hash(&mut hasher);
        platform.to_string().stable_hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Hears of the builds of one command, a platform each.
#[derive(Debug, Default)]
pub(crate) struct Explanations {
    /// Whether somebody asked: unchanged builds are explained too.
    wanted: bool,
    all: Mutex<Vec<Explained>>,
}

/// A build whose solving ended, well or not.
pub(crate) struct Solved<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) root: VertexId,
    pub(crate) decisions: &'a Decisions,
    pub(crate) identity: Identity,
    pub(crate) platform: &'a Platform,
    pub(crate) request: &'a BuildRequest,
}

const NAMESPACE: &str = "explain";

/// The keys of the steps of a build that was recorded, by their definitions: this build may not have looked at them.
pub(crate) fn keys(store: &Store, identity: Identity) -> HashMap<ContentHash, ContentHash> {
    let known = store.index().fact(NAMESPACE, identity.0.as_bytes()).ok().flatten();
    let record = known.and_then(|fact| record::decode(&fact.value));
    let steps = record.into_iter().flat_map(|record| record.steps);
    steps.filter_map(|step| Some((step.definition, step.key?))).collect()
}

impl Explanations {
    /// None yet.
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, all: Mutex::default() }
    }

    /// Compares a build with the one before and takes its place. What cannot be read or written costs the explanation,
    /// never the build.
    pub(crate) fn add(&self, store: &Store, solved: &Solved<'_>) {
        let root = solved.decisions.get(&solved.root);
        let unchanged = root.filter(|root| root.how == How::Asked).map(|root| root.definition);
        let known = store.index().fact(NAMESPACE, solved.identity.0.as_bytes()).ok().flatten();
        let known = known.map(|fact| fact.value).unwrap_or_default();
        let recorded = unchanged.is_some_and(|definition| known.starts_with(definition.as_bytes()));
        if recorded && !self.wanted {
            return;
        }
        let before = record::decode(&known);
        let paired = pair::pair(solved, before.as_ref());
        let explained = compare::compare(store, solved, before.is_some(), &paired);
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(explained);
        if !recorded {
            let value = record::encode(solved, &paired);
            let _ = store.index().set_fact(NAMESPACE, solved.identity.0.as_bytes(), &value, None);
        }
    }

    /// What was found so far.
    pub(crate) fn take(&self) -> Vec<Explained> {
        std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
