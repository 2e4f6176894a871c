//! What a build is asked for, as the frontend needs to know it.

use std::collections::BTreeMap;

use kiln_core::pattern::Ignore;
use kiln_core::{GitSource, HttpSource, NetworkMode, Platform, Reference, Surroundings};

/// The name of the build context among the local sources.
pub const MAIN_CONTEXT: &str = "context";

/// What a build is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--target`; the last stage if not given.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--build-context`, by name; a name may end in `::os/arch` and is then for that platform alone.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Where COPY and ADD take plain paths from.
    pub context: NamedContext,
    /// The platform that the image is for.
    pub platform: Platform,
    /// Whether [`platform`](Self::platform) was asked for: then the image's configuration states it whatever its base says.
    pub platform_given: bool,
    /// The platform that RUN steps of `--platform=$BUILDPLATFORM` stages are for.
    pub build_platform: Platform,
    /// Whether the build is for several platforms: steps are named with theirs.
    pub several_platforms: bool,
    /// `--network`.
    pub network: NetworkMode,
    /// `--add-host`, `--shm-size`, `--ulimit` and the like.
    pub surroundings: Surroundings,
    /// `--device` for every RUN.
    pub devices: Vec<(String, bool)>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `SOURCE_DATE_EPOCH` of the environment; a build argument of that name goes before it.
    pub epoch: Option<i64>,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// The ignore files of the local contexts, by the name of the context.
    pub ignores: BTreeMap<String, Ignore>,
    /// Whether stages that the target does not need are planned and lowered too, for `--check`.
    pub all_stages: bool,
}

impl Options {
    /// A build for `platform` on a machine of the same, with nothing else asked for.
    pub fn for_platform(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            contexts: BTreeMap::new(),
            context: NamedContext::Directory(MAIN_CONTEXT.to_owned()),
            build_platform: platform.clone(),
            platform,
            platform_given: false,
            several_platforms: false,
            network: NetworkMode::Default,
            surroundings: Surroundings::default(),
            devices: Vec::new(),
            no_cache: NoCache::None,
            epoch: None,
            allow_insecure: false,
            ignores: BTreeMap::new(),
            all_stages: false,
        }
    }
}

/// Something that stands for an image or a stage, or that COPY takes files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// `docker-image://scratch`.
    Scratch,
    /// `docker-image://…`.
    Image(Reference),
    /// `oci-layout://PATH[:TAG|@DIGEST]`.
    Layout(LayoutName),
    /// A directory: the name of its local source.
    Directory(String),
    /// A git repository.
    Git(GitSource),
    /// A file behind an URL.
    Http(HttpSource),
}

/// An image in an OCI layout directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayoutName {
    /// The directory that has `oci-layout`.
    pub path: String,
    /// A tag, or a digest; empty for the only image.
    pub reference: String,
}

/// Which steps are performed even if their results are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NoCache {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of the stages with these names.
    Stages(Vec<String>),
}

impl NoCache {
    /// Whether the steps of the stage called `name` (empty if it has none) are performed anyway.
    pub(crate) fn covers(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Stages(names) => names.iter().any(|n| n.eq_ignore_ascii_case(name)),
        }
    }
}
