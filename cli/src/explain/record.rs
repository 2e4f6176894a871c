//! What a build leaves for the next one to compare itself with.

use kiln_core::{ContentHash, LayerId};
use kiln_solver::How;
use serde::{Deserialize, Serialize};

use super::Solved;
use super::pair::Paired;

/// A build as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) steps: Vec<StepRecord>,
}

/// A step as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StepRecord {
    pub(super) name: String,
    pub(super) stage: String,
    pub(super) sort: String,
    /// The hash of the op.
    pub(super) op: ContentHash,
    pub(super) parts: Vec<(String, String)>,
    pub(super) definition: ContentHash,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) lock: Option<ContentHash>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) key: Option<ContentHash>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) contents: Vec<ContentHash>,
    /// The layers that it added.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) added: Option<Vec<LayerId>>,
    /// Whether it came to an end.
    pub(super) finished: bool,
}

/// The record in a fact's value.
pub(super) fn decode(value: &[u8]) -> Option<Record> {
    let text = zstd::decode_all(value.get(32..)?).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The record of a build, as a fact's value. A step that was not reached, or failed, stays as the last build had it.
pub(super) fn encode(solved: &Solved<'_>, paired: &Paired<'_>) -> Vec<u8> {
    let mut steps = Vec::new();
    for (id, now) in &paired.now {
        let before = paired.before(*id);
        let decision = solved.decisions.get(id);
        let unfinished = decision.is_none_or(|decision| decision.how == How::Runs);
        if unfinished {
            match (before, decision) {
                (Some(before), _) => steps.push(before.clone()),
                (None, Some(_)) => steps.push(now.clone()),
                (None, None) => {}
            }
            continue;
        }
        let mut step = now.clone();
        step.finished = true;
        // What was not looked at is as it was.
        if let Some(before) = before.filter(|b| step.key.is_none() && b.definition == step.definition) {
            (step.key, step.contents) = (before.key, before.contents.clone());
            step.added.clone_from(&before.added);
        }
        steps.push(step);
    }
    let root = solved.decisions.get(&solved.root).filter(|root| root.how != How::Runs);
    let mut value = root.map_or([0; 32], |root| *root.definition.as_bytes()).to_vec();
    let text = serde_json::to_vec(&Record { steps }).expect("strings, numbers and hashes");
    value.extend(zstd::encode_all(&*text, 1).expect("memory takes every write"));
    value
}
