//! Stages and what they stand on, names resolved.

use std::sync::Arc;

use kiln_core::{Platform, Reference, Span};

use crate::ast::Instruction;
use crate::options::{LayoutName, NamedContext};

/// The number of a stage within a [`StageGraph`](super::StageGraph).
pub(crate) type StageId = usize;

/// A stage of the Dockerfile, or an image or context that COPY or RUN takes files from.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// The name it was given, in lower case.
    pub(crate) name: Option<String>,
    /// What progress calls it; empty if it is the only one.
    pub(crate) label: String,
    /// The text of its FROM, or of the instruction that names the image.
    pub(crate) place: Span,
    /// The name in it of what it stands on.
    pub(crate) base_place: Span,
    /// What it stands on.
    pub(crate) base: Base,
    /// `--platform`.
    pub(crate) platform: Option<Platform>,
    /// Its instructions.
    pub(crate) steps: Vec<Step>,
    /// Whether it is no stage of the text, but something that COPY or RUN takes files from.
    pub(crate) source_only: bool,
    /// `--no-cache`, `--no-cache-filter`.
    pub(crate) no_cache: bool,
}

impl Stage {
    /// The stages it needs.
    pub(crate) fn needs(&self) -> impl Iterator<Item = StageId> {
        let base = match self.base {
            Base::Stage(id) => Some(id),
            Base::Scratch | Base::Image { .. } | Base::Context { .. } => None,
        };
        base.into_iter().chain(self.sources())
    }

    /// The stages that its instructions take files from.
    pub(crate) fn sources(&self) -> impl Iterator<Item = StageId> {
        self.steps.iter().flat_map(|step| step.sources.iter().flatten().copied())
    }

    /// Whether a named context stands in for all of it, instructions included.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self.base, Base::Context { whole: true, .. })
    }
}

/// What a stage stands on.
#[derive(Debug, Clone)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// Another stage.
    Stage(StageId),
    /// An image.
    Image {
        /// As written, expanded.
        written: String,
        /// Its name.
        reference: Reference,
    },
    /// A named context in its place.
    Context {
        /// The context's name, with the platform if it was given for one.
        key: String,
        /// What it is.
        context: NamedContext,
        /// Whether it replaces the whole stage rather than its base.
        whole: bool,
    },
}

/// An instruction and the stages it takes files from.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The instruction; shared, because plans are copied.
    pub(crate) instruction: Arc<Instruction>,
    /// For a trigger of a base the FROM that set it off; the instruction's own spans point into a text that nobody sees.
    pub(crate) trigger: Option<Span>,
    /// Of COPY: the stage of `--from`; of RUN: one for each mount, if it has one.
    pub(crate) sources: Vec<Option<StageId>>,
}

impl Step {
    /// The bytes of the Dockerfile to blame for what goes wrong at `span` of the instruction.
    pub(crate) fn place(&self, span: Span) -> Span {
        self.trigger.unwrap_or(span)
    }
}

/// The name of an image that a build asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageName {
    /// At a registry, or in the local store.
    Reference(Reference),
    /// In an OCI layout directory.
    Layout(LayoutName),
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference(reference) => reference.fmt(f),
            Self::Layout(LayoutName { path, reference }) if reference.is_empty() => {
                write!(f, "oci-layout://{path}")
            }
            Self::Layout(LayoutName { path, reference }) => {
                let mark = if reference.contains(':') { '@' } else { ':' };
                write!(f, "oci-layout://{path}{mark}{reference}")
            }
        }
    }
}
