//! The graph under construction: what is known of a local context only at the end is filled in when it is finished.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_core::{About, CopySource, FileAction, Graph, LocalSource, Op, Source, VertexId, path};

/// The number of a vertex before the graph is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

struct Node {
    op: Op,
    inputs: Vec<NodeId>,
    about: About,
}

/// Collects vertices.
#[derive(Default)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    locals: HashMap<String, NodeId>,
    images: HashMap<usize, NodeId>,
    scratch: Option<NodeId>,
}

impl Builder {
    pub(super) fn add(&mut self, op: Op, inputs: Vec<NodeId>, about: About) -> NodeId {
        self.nodes.push(Node { op, inputs, about });
        NodeId(self.nodes.len() - 1)
    }

    /// The one vertex of nothing.
    pub(super) fn scratch(&mut self) -> NodeId {
        if let Some(id) = self.scratch {
            return id;
        }
        let about = About { name: "scratch".to_owned(), ..About::default() };
        let id = self.add(Op::Source(Source::Scratch), Vec::new(), about);
        self.scratch = Some(id);
        id
    }

    /// The one vertex of a local context.
    pub(super) fn local(&mut self, name: &str, about: impl FnOnce() -> About) -> NodeId {
        if let Some(id) = self.locals.get(name) {
            return *id;
        }
        let source = LocalSource { name: name.to_owned(), wanted: Vec::new() };
        let id = self.add(Op::Source(Source::Local(source)), Vec::new(), about());
        self.locals.insert(name.to_owned(), id);
        id
    }

    /// The one vertex of the image that was resolved as number `index`.
    pub(super) fn image(&mut self, index: usize, make: impl FnOnce() -> (Op, About)) -> NodeId {
        if let Some(id) = self.images.get(&index) {
            return *id;
        }
        let (op, about) = make();
        let id = self.add(op, Vec::new(), about);
        self.images.insert(index, id);
        id
    }

    pub(super) fn is_local(&self, id: NodeId) -> bool {
        matches!(self.nodes[id.0].op, Op::Source(Source::Local(_)))
    }

    /// The graph of what `root` needs.
    pub(super) fn finish(mut self, root: NodeId) -> (Graph, VertexId) {
        let mut needed = vec![false; self.nodes.len()];
        needed[root.0] = true;
        // An input is added before its user, so one walk downwards meets every user before its inputs.
        for at in (0..=root.0).rev() {
            if needed[at] {
                for input in &self.nodes[at].inputs {
                    needed[input.0] = true;
                }
            }
        }
        self.fill_in_wanted(&needed);
        let mut graph = Graph::new();
        let mut places: Vec<Option<VertexId>> = vec![None; self.nodes.len()];
        for (at, node) in self.nodes.into_iter().enumerate().filter(|(at, _)| needed[*at]) {
            let inputs =
                node.inputs.iter().map(|id| places[id.0].expect("an input is added before its user"));
            places[at] = Some(graph.add(node.op, inputs.collect(), node.about));
        }
        (graph, places[root.0].expect("the root is needed"))
    }

    /// Tells each local source what is read of it.
    fn fill_in_wanted(&mut self, needed: &[bool]) {
        let mut wanted: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for node in self.nodes.iter().zip(needed).filter(|(_, needed)| **needed).map(|(node, _)| node) {
            let Op::File(edit) = &node.op else { continue };
            let copies = edit.actions.iter().filter_map(|action| match action {
                FileAction::Copy(copy) => Some(copy),
                FileAction::MakeDir { .. } => None,
            });
            for source in copies.flat_map(|copy| &copy.sources) {
                let CopySource::Path { input, path: written, .. } = source else { continue };
                let id = node.inputs[*input];
                if self.is_local(id) {
                    // The pivot of `--parents` is `/./`.
                    wanted.entry(id.0).or_default().insert(path::clean(written));
                }
            }
        }
        for (at, paths) in wanted {
            if let Op::Source(Source::Local(local)) = &mut self.nodes[at].op
                && !paths.contains("/")
            {
                local.wanted = paths.into_iter().collect();
            }
        }
    }
}
