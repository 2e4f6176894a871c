//! The build graph: operations and what they read, built bottom up, so that it has no cycles.

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::{Op, SourceFile, Span};

/// A vertex of one [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(NodeIndex);

impl VertexId {
    /// The place in the order of insertion, from 0.
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// An operation, what it reads, and what people know of it.
#[derive(Debug, Clone)]
pub struct Vertex {
    /// What is done.
    pub op: Op,
    /// The vertices whose outputs it reads, in the order that the op counts them.
    pub inputs: Vec<VertexId>,
    /// For people: never hashed.
    pub about: About,
}

/// What people are told of a vertex.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// As BuildKit words it: `[build 2/5] RUN make`.
    pub name: String,
    /// The Dockerfile and the bytes of the instruction in it, for errors.
    pub place: Option<(SourceFile, Span)>,
    /// The stage's name, or its number as text.
    pub stage: String,
    /// `--no-cache`, `--no-cache-filter`: perform it even if its result is known.
    pub no_cache: bool,
}

/// Operations and their edges. An input exists before its user, so there are no cycles.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    dag: DiGraph<Vertex, ()>,
}

impl Graph {
    /// No vertices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex whose inputs are in the graph already.
    ///
    /// # Panics
    /// If an input is of another graph and not in this one.
    pub fn add(&mut self, op: Op, inputs: Vec<VertexId>, about: About) -> VertexId {
        let id = self.dag.add_node(Vertex { op, inputs: inputs.clone(), about });
        for input in inputs {
            self.dag.add_edge(input.0, id, ());
        }
        VertexId(id)
    }

    /// The vertex `id`.
    ///
    /// # Panics
    /// If `id` is of another graph.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.dag[id.0]
    }

    /// Changes what people are told of `id`.
    ///
    /// # Panics
    /// If `id` is of another graph.
    pub fn about_mut(&mut self, id: VertexId) -> &mut About {
        &mut self.dag[id.0].about
    }

    /// All vertices, each after its inputs.
    pub fn vertices(&self) -> impl Iterator<Item = (VertexId, &Vertex)> {
        self.dag.node_indices().map(|id| (VertexId(id), &self.dag[id]))
    }

    /// The vertices that `root` needs, itself among them, each after its inputs.
    pub fn needed(&self, root: VertexId) -> Vec<VertexId> {
        let reversed = petgraph::visit::Reversed(&self.dag);
        let mut reached: Vec<NodeIndex> = Vec::new();
        let mut search = petgraph::visit::Dfs::new(reversed, root.0);
        while let Some(id) = search.next(reversed) {
            reached.push(id);
        }
        // Insertion order is a topological order: an input is added before its user.
        reached.sort_unstable();
        reached.into_iter().map(VertexId).collect()
    }

    /// The vertices that read `id`.
    pub fn users(&self, id: VertexId) -> impl Iterator<Item = VertexId> {
        self.dag.neighbors_directed(id.0, Direction::Outgoing).map(VertexId)
    }

    /// How many vertices there are.
    pub fn len(&self) -> usize {
        self.dag.node_count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.dag.node_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn only_what_the_root_reaches_is_needed_in_order() {
        let mut graph = Graph::new();
        let mut add =
            |inputs: &[VertexId]| graph.add(Op::Source(Source::Scratch), inputs.to_vec(), About::default());
        let a = add(&[]);
        let unused = add(&[a]);
        let b = add(&[a]);
        let c = add(&[b, a]);
        assert_eq!(graph.needed(c), [a, b, c]);
        assert_eq!(graph.needed(unused), [a, unused]);
        assert_eq!(graph.vertex(c).inputs, [b, a]);
    }
}
