//! A case as the golden files have it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A file laid over the context.
#[derive(Debug, Deserialize)]
pub(crate) struct FileSpec {
    pub(crate) path: String,
    #[serde(rename = "type", default)]
    pub(crate) kind: FileKind,
    pub(crate) content: Option<String>,
    pub(crate) content_b64: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) link: Option<String>,
    #[serde(default)]
    pub(crate) xattrs: BTreeMap<String, String>,
}

/// What a file laid over the context is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileKind {
    #[default]
    File,
    Dir,
    Symlink,
    Socket,
}

/// The options of a build.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    pub(crate) target: Option<String>,
    pub(crate) build_args: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) bases: BTreeMap<String, String>,
    pub(crate) named_contexts: BTreeMap<String, NamedContext>,
    pub(crate) parents: BTreeMap<String, String>,
    pub(crate) frontend: BTreeMap<String, String>,
}

/// A named context of the scenario itself.
#[derive(Debug, Deserialize)]
pub(crate) struct NamedContext {
    pub(crate) image: String,
}

/// One build and what BuildKit made of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) context: Option<String>,
    #[serde(default)]
    pub(crate) files: Vec<FileSpec>,
    pub(crate) dockerfile: String,
    #[serde(default)]
    pub(crate) options: Options,
    /// `lint`: nothing was run.
    pub(crate) mode: Option<String>,
    pub(crate) expect: Value,
}

impl Case {
    /// Whether only the checks of the Dockerfile were recorded.
    pub(crate) fn is_lint(&self) -> bool {
        self.mode.as_deref() == Some("lint")
    }

    pub(crate) fn uses_debian(&self) -> bool {
        !self.is_lint() && self.options.bases.values().any(|base| base == "debian")
    }

    /// Whether BuildKit built it.
    pub(crate) fn succeeds(&self) -> bool {
        self.expect["ok"] == true
    }

    /// Whether a part of the result differed from run to run.
    pub(crate) fn is_unstable(&self, part: &str) -> bool {
        self.expect["unstable"].as_array().is_some_and(|parts| parts.iter().any(|p| p == part))
    }
}

/// All cases.
pub(crate) struct Cases {
    cases: Vec<Case>,
    by_id: HashMap<String, usize>,
}

impl Cases {
    pub(crate) fn read(dir: &Path) -> Self {
        let mut files: Vec<_> =
            fs::read_dir(dir).expect("list golden").map(|entry| entry.expect("list golden").path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        let mut cases: Vec<Case> = Vec::new();
        for file in files {
            let mut whole: Value =
                serde_json::from_slice(&fs::read(&file).expect("read golden")).expect("JSON");
            cases.extend(serde_json::from_value::<Vec<Case>>(whole["cases"].take()).expect("cases"));
        }
        let by_id = cases.iter().enumerate().map(|(index, case)| (case.id.clone(), index)).collect();
        Self { cases, by_id }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter()
    }

    pub(crate) fn get(&self, id: &str) -> &Case {
        &self.cases[self.by_id[id]]
    }
}
