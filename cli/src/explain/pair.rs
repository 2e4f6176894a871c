//! Which step of a build is which step of the build before: instructions may have come, gone and moved.

use std::collections::{BTreeMap, HashMap};

use kiln_core::{ContentHash, StableHash as _, StableHasher, VertexId};

use super::Solved;
use super::record::{Record, StepRecord};

/// The steps of a build beside those of the build before.
pub(super) struct Paired<'a> {
    /// What each step is now, inputs first.
    pub(super) now: BTreeMap<VertexId, StepRecord>,
    before: HashMap<VertexId, &'a StepRecord>,
}

impl Paired<'_> {
    /// What the step was.
    pub(super) fn before(&self, id: VertexId) -> Option<&StepRecord> {
        self.before.get(&id).copied()
    }
}

/// Pairs steps with the same op in order, stage by stage, and those left between them with others of their sort.
pub(super) fn pair<'a>(solved: &Solved<'_>, before: Option<&'a Record>) -> Paired<'a> {
    let now: BTreeMap<VertexId, StepRecord> =
        solved.graph.needed(solved.root).into_iter().map(|id| (id, record(solved, id))).collect();
    let mut pairs = HashMap::new();
    if let Some(before) = before {
        let mut old: BTreeMap<&str, Vec<&'a StepRecord>> = BTreeMap::new();
        for step in &before.steps {
            old.entry(&step.stage).or_default().push(step);
        }
        let mut new: BTreeMap<&str, Vec<(VertexId, &StepRecord)>> = BTreeMap::new();
        for (id, step) in &now {
            new.entry(&step.stage).or_default().push((*id, step));
        }
        // A stage that was renamed is the one that has no other.
        let lost: Vec<&str> = old.keys().filter(|stage| !new.contains_key(*stage)).copied().collect();
        let mut lost = lost.into_iter();
        for (stage, steps) in new {
            let name = if old.contains_key(stage) { Some(stage) } else { lost.next() };
            let Some(were) = name.and_then(|name| old.get(name)) else { continue };
            align(&steps, were, &mut pairs);
        }
    }
    Paired { now, before: pairs }
}

fn record(solved: &Solved<'_>, id: VertexId) -> StepRecord {
    let vertex = solved.graph.vertex(id);
    let decision = solved.decisions.get(&id);
    let mut hasher = StableHasher::new("kiln explained op");
    vertex.op.stable_hash(&mut hasher);
    StepRecord {
        name: vertex.about.name.clone(),
        stage: vertex.about.stage.clone(),
        sort: vertex.op.sort().to_owned(),
        op: hasher.finish(),
        parts: vertex.op.parts().into_iter().map(|part| (part.name, part.value)).collect(),
        definition: decision.map_or_else(|| ContentHash::of(b""), |decision| decision.definition),
        lock: decision.and_then(|decision| decision.lock),
        key: decision.and_then(|decision| decision.key),
        contents: decision.map(|decision| decision.contents.clone()).unwrap_or_default(),
        added: decision.and_then(|decision| decision.added.clone()),
        finished: false,
    }
}

type New<'a> = (VertexId, &'a StepRecord);

/// Ends that are equal are taken off; what is left is the part that was edited, and small.
fn align<'a>(new: &[New<'_>], old: &[&'a StepRecord], pairs: &mut HashMap<VertexId, &'a StepRecord>) {
    let same = |(new, old): &(&New<'_>, &&StepRecord)| new.1.op == old.op;
    let head = new.iter().zip(old).take_while(same).count();
    let (new_rest, old_rest) = (&new[head..], &old[head..]);
    let tail = new_rest.iter().rev().zip(old_rest.iter().rev()).take_while(same).count();
    for (step, was) in new[..head].iter().zip(old) {
        pairs.insert(step.0, was);
    }
    for (step, was) in new.iter().rev().zip(old.iter().rev()).take(tail) {
        pairs.insert(step.0, was);
    }
    let new = &new_rest[..new_rest.len() - tail];
    let old = &old_rest[..old_rest.len() - tail];
    middle(new, old, pairs);
}

/// The longest common sequence of ops, and between its members like with like.
fn middle<'a>(new: &[New<'_>], old: &[&'a StepRecord], pairs: &mut HashMap<VertexId, &'a StepRecord>) {
    /// Beyond this product the table would cost more than the answer is worth.
    const LARGEST: usize = 1 << 22;
    let (n, m) = (new.len(), old.len());
    let (mut i, mut j) = (0, 0);
    if n.saturating_mul(m) <= LARGEST {
        let mut longest = vec![0_u32; (n + 1) * (m + 1)];
        let at = |i: usize, j: usize| i * (m + 1) + j;
        for i in (0..n).rev() {
            for j in (0..m).rev() {
                longest[at(i, j)] = if new[i].1.op == old[j].op {
                    longest[at(i + 1, j + 1)] + 1
                } else {
                    longest[at(i + 1, j)].max(longest[at(i, j + 1)])
                };
            }
        }
        let (mut gap_i, mut gap_j) = (0, 0);
        while i < n && j < m {
            if new[i].1.op == old[j].op {
                gap(&new[gap_i..i], &old[gap_j..j], pairs);
                pairs.insert(new[i].0, old[j]);
                (i, j) = (i + 1, j + 1);
                (gap_i, gap_j) = (i, j);
            } else if longest[at(i + 1, j)] >= longest[at(i, j + 1)] {
                i += 1;
            } else {
                j += 1;
            }
        }
        gap(&new[gap_i..], &old[gap_j..], pairs);
    } else {
        gap(new, old, pairs);
    }
}

fn gap<'a>(new: &[New<'_>], old: &[&'a StepRecord], pairs: &mut HashMap<VertexId, &'a StepRecord>) {
    let mut from = 0;
    for (id, step) in new {
        if let Some(found) = old[from..].iter().position(|was| was.sort == step.sort) {
            pairs.insert(*id, old[from + found]);
            from += found + 1;
        }
    }
}
