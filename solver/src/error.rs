//! Why a build has no result.

use kiln_core::VertexId;

/// The first step that failed; steps that depend on it were not begun, steps beside it were given up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SolveError<E: std::error::Error + 'static> {
    /// A step failed.
    #[error("{name}")]
    Step {
        /// Which.
        vertex: VertexId,
        /// Its name, as progress shows it.
        name: String,
        /// Why.
        #[source]
        cause: E,
    },
    /// The worker panicked in a step: a bug of kiln.
    #[error("{name}: kiln failed unexpectedly; please report this")]
    Panic {
        /// Which.
        vertex: VertexId,
        /// Its name, as progress shows it.
        name: String,
    },
}

impl<E: std::error::Error + 'static> SolveError<E> {
    /// The step that failed.
    pub fn vertex(&self) -> VertexId {
        match self {
            Self::Step { vertex, .. } | Self::Panic { vertex, .. } => *vertex,
        }
    }
}
