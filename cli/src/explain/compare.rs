//! In what each step differs from what it was.

use std::collections::HashMap;

use kiln_cache::Store;
use kiln_core::{LayerId, Op, Source, VertexId};
use kiln_solver::{How, step_ids};

use super::pair::Paired;
use super::reason::{Explained, File, Reason, Step, Verdict};
use super::record::StepRecord;
use super::{Decision, Solved};
use crate::pulling::PullPolicy;

/// How many files are named.
const FILES: usize = 10;

/// Explains every step of a build.
pub(super) fn compare(store: &Store, solved: &Solved<'_>, compared: bool, paired: &Paired<'_>) -> Explained {
    let ids = step_ids(solved.graph);
    let context = Context { store, solved, compared, paired };
    let mut explained = Explained {
        platform: solved.platform.to_string(),
        compared,
        first: None,
        steps: Vec::with_capacity(paired.now.len()),
    };
    let mut named: HashMap<VertexId, bool> = HashMap::new();
    for (id, now) in &paired.now {
        let decision = solved.decisions.get(id);
        let verdict = verdict(decision);
        let reasons = decision.map(|decision| context.reasons(*id, now, decision, &named));
        let reasons = reasons.unwrap_or_default();
        named.insert(
            *id,
            reasons.iter().any(|r| matches!(r, Reason::Files { files, .. } if !files.is_empty())),
        );
        let own = |reason: &Reason| !matches!(reason, Reason::Follows { .. });
        let is_context = matches!(solved.graph.vertex(*id).op, Op::Source(Source::Local(_)));
        if explained.first.is_none()
            && !is_context
            && matches!(verdict, Verdict::Run | Verdict::Failed)
            && reasons.iter().any(own)
        {
            explained.first = Some(now.name.clone());
        }
        let digest = format!("sha256:{}", ids[id.index()].0.hex());
        explained.steps.push(Step { name: now.name.clone(), digest, decision: verdict, reasons });
    }
    explained
}

fn verdict(decision: Option<&Decision>) -> Verdict {
    match decision.map(|decision| decision.how) {
        None => Verdict::NotReached,
        Some(How::Asked) => Verdict::Cached,
        Some(How::Beyond) => Verdict::NotNeeded,
        Some(How::Made) => Verdict::SameContent,
        Some(How::Runs) => Verdict::Failed,
        Some(How::Ran) => Verdict::Run,
    }
}

struct Context<'a> {
    store: &'a Store,
    solved: &'a Solved<'a>,
    compared: bool,
    paired: &'a Paired<'a>,
}

impl Context<'_> {
    /// `named`: the steps whose changed files are told with them.
    fn reasons(
        &self,
        id: VertexId,
        now: &StepRecord,
        decision: &Decision,
        named: &HashMap<VertexId, bool>,
    ) -> Vec<Reason> {
        let vertex = self.solved.graph.vertex(id);
        let runs = matches!(decision.how, How::Runs | How::Ran);
        let mut reasons = Vec::new();
        if runs && vertex.about.no_cache {
            let flag = match self.solved.request.no_cache {
                true => "--no-cache".to_owned(),
                false => format!("--no-cache-filter={}", vertex.about.stage),
            };
            reasons.push(Reason::Flag { flag });
        }
        let Some(before) = self.paired.before(id) else {
            if runs && reasons.is_empty() {
                reasons.push(if self.compared { Reason::NewStep } else { Reason::NeverBuilt });
            }
            return reasons;
        };
        self.parts(before, now, &mut reasons);
        if let (Some(old), Some(new)) = (before.lock, now.lock)
            && old != new
        {
            match &vertex.op {
                // Which files those are, the copies tell.
                Op::Source(Source::Local(local)) => {
                    let from = format!("context `{}`", local.name);
                    reasons.push(Reason::Files { from, files: Vec::new(), count: 0 });
                }
                _ => reasons.push(Reason::Source { old: old.to_string(), new: new.to_string() }),
            }
        }
        for (index, input) in vertex.inputs.iter().enumerate() {
            if self.differs(before, now, index, *input) {
                reasons.push(self.input(before, now, *input, &vertex.op, named));
            }
        }
        if runs && reasons.is_empty() && !matches!(vertex.op, Op::Source(Source::Local(_))) {
            reasons.push(if before.finished { Reason::Collected } else { Reason::Unfinished });
        }
        reasons
    }

    fn parts(&self, before: &StepRecord, now: &StepRecord, reasons: &mut Vec<Reason>) {
        if before.op == now.op {
            return;
        }
        let were: HashMap<&str, &str> = before.parts.iter().map(|(k, v)| (&**k, &**v)).collect();
        let are: HashMap<&str, &str> = now.parts.iter().map(|(k, v)| (&**k, &**v)).collect();
        let new = now.parts.iter().filter(|(name, value)| were.get(&**name) != Some(&&**value));
        let gone = before.parts.iter().filter(|(name, _)| !are.contains_key(&**name));
        let mut pulled = false;
        for (name, _) in new.chain(gone) {
            pulled |= name == "image digest";
            let part = match name.strip_prefix("variable ") {
                Some(variable) if self.solved.request.build_args.contains_key(variable) => {
                    format!("build argument {variable}")
                }
                _ => name.clone(),
            };
            let text = |value: Option<&&str>| value.map(|value| (*value).to_owned());
            reasons.push(Reason::Changed { part, old: text(were.get(&**name)), new: text(are.get(&**name)) });
        }
        if pulled && matches!(self.solved.request.pull, PullPolicy::Always | PullPolicy::Newer) {
            reasons.push(Reason::Flag { flag: "--pull".to_owned() });
        }
    }

    /// Whether what the step reads of an input is not what it was. Where that was not looked at, what was asked counts.
    fn differs(&self, before: &StepRecord, now: &StepRecord, index: usize, input: VertexId) -> bool {
        match (before.contents.get(index), now.contents.get(index)) {
            (Some(old), Some(new)) => old != new,
            (None, Some(_)) if before.key.is_none() => {
                let old = self.paired.before(input).map(|step| step.definition);
                let new = self.solved.decisions.get(&input).map(|decision| decision.definition);
                old.is_some() && new.is_some() && old != new
            }
            _ => false,
        }
    }

    fn input(
        &self,
        before: &StepRecord,
        now: &StepRecord,
        input: VertexId,
        op: &Op,
        named: &HashMap<VertexId, bool>,
    ) -> Reason {
        let source = &self.solved.graph.vertex(input).op;
        let step = &self.paired.now[&input];
        let first = |added: &Option<Vec<LayerId>>| added.as_ref().and_then(|added| added.last().copied());
        let changes = |op: &Op, old: Option<LayerId>, new: Option<LayerId>| {
            let found = kiln_executor::changes(self.store, op, &old?, &new?, FILES).ok()?;
            Some((found.0.into_iter().map(File::from).collect::<Vec<_>>(), found.1))
        };
        if let Op::Source(Source::Local(local)) = source {
            let (files, count) = changes(op, first(&before.added), first(&now.added)).unwrap_or_default();
            return Reason::Files { from: format!("context `{}`", local.name), files, count };
        }
        let (files, count) = if named.get(&input).copied().unwrap_or_default() {
            Default::default()
        } else if matches!(op, Op::File(_)) && self.solved.graph.vertex(input).op.sort() != "image" {
            changes(op, first(&before.added), first(&now.added)).unwrap_or_default()
        } else {
            let was = self.paired.before(input).and_then(|was| first(&was.added));
            match source {
                Op::Source(_) => Default::default(),
                made => changes(made, was, first(&step.added)).unwrap_or_default(),
            }
        };
        Reason::Follows { step: step.name.clone(), files, count }
    }
}
