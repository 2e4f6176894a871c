//! How an image was built, as SLSA has it (slsa.dev/spec/v1.0/provenance; BuildKit's docs/attestations/slsa-definitions.md).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Predicate;

/// Whose parameters these are to be read by.
const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_02: &str = "https://mobyproject.org/buildkit@v1";

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing that may hold a secret: no build arguments, no steps, no Dockerfile.
    Min,
    /// All.
    #[default]
    Max,
}

/// Which form of the predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProvenanceVersion {
    /// `https://slsa.dev/provenance/v0.2`
    V02,
    /// `https://slsa.dev/provenance/v1`
    #[default]
    V1,
}

/// Something that a build stood on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// A package URL, or the address of a repository or file.
    pub uri: String,
    /// `sha256` or `sha1`, and its value.
    pub digest: (String, String),
}

/// A step of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltStep {
    /// Its hash.
    pub id: String,
    /// As progress shows it.
    pub name: String,
    /// What it does.
    pub op: Value,
    /// The ids of what it reads.
    pub inputs: Vec<String>,
}

/// What is known of a build.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provenance {
    /// Who built it, as an address; empty for somebody's own machine.
    pub builder: String,
    /// The Dockerfile's name, and where the source is if not on this machine.
    pub file: String,
    /// The address of a remote context, without credentials.
    pub source: String,
    /// `build-arg:NAME`, `label:NAME`, `target`, … as BuildKit names them.
    pub arguments: BTreeMap<String, String>,
    /// Secrets by id, and whether each had to be there.
    pub secrets: Vec<(String, bool)>,
    /// SSH agents by id.
    pub ssh: Vec<String>,
    /// The names of local directories.
    pub locals: Vec<String>,
    /// What it stood on.
    pub materials: Vec<Material>,
    /// The platform of the machine that built.
    pub platform: String,
    /// A name of this very build.
    pub invocation: String,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub finished: String,
    /// Whether the same arguments are claimed to give the same bytes.
    pub reproducible: bool,
    /// The Dockerfile's text.
    pub text: String,
    /// The steps.
    pub steps: Vec<BuiltStep>,
    /// The descriptors of the layers, by the step that made each.
    pub layers: Value,
    /// `vcs:…` of the build: where the source came from, without credentials.
    pub vcs: BTreeMap<String, String>,
}

impl Provenance {
    /// The claim, as much of it as `mode` lets through.
    pub fn predicate(&self, mode: Mode, version: ProvenanceVersion) -> Predicate {
        match version {
            ProvenanceVersion::V1 => {
                Predicate { kind: "https://slsa.dev/provenance/v1".to_owned(), value: self.v1(mode) }
            }
            ProvenanceVersion::V02 => {
                Predicate { kind: "https://slsa.dev/provenance/v0.2".to_owned(), value: self.v02(mode) }
            }
        }
    }

    fn v1(&self, mode: Mode) -> Value {
        let mut internal = json!({ "builderPlatform": self.platform });
        if mode == Mode::Max {
            internal["buildConfig"] = self.build_config();
        }
        let mut metadata = json!({
            "invocationId": self.invocation,
            "startedOn": self.started,
            "finishedOn": self.finished,
            "buildkit_metadata": self.metadata(mode),
            "buildkit_completeness": { "request": self.complete(mode), "resolvedDependencies": false },
        });
        if self.reproducible {
            metadata["buildkit_reproducible"] = true.into();
        }
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "configSource": self.config_source("path"),
                    "request": self.request(mode),
                },
                "internalParameters": internal,
                "resolvedDependencies": self.dependencies(),
            },
            "runDetails": { "builder": { "id": self.builder }, "metadata": metadata },
        })
    }

    fn v02(&self, mode: Mode) -> Value {
        let mut value = json!({
            "buildType": BUILD_TYPE_02,
            "builder": { "id": self.builder },
            "invocation": {
                "configSource": self.config_source("entryPoint"),
                "parameters": self.request(mode),
                "environment": { "platform": self.platform },
            },
            "materials": self.dependencies(),
            "metadata": {
                "buildInvocationID": self.invocation,
                "buildStartedOn": self.started,
                "buildFinishedOn": self.finished,
                "completeness": {
                    "parameters": self.complete(mode), "environment": true, "materials": false,
                },
                "reproducible": self.reproducible,
                "https://mobyproject.org/buildkit@v1#metadata": self.metadata(mode),
            },
        });
        if mode == Mode::Max {
            value["buildConfig"] = self.build_config();
        }
        value
    }

    /// Whether nothing of the request is left out.
    fn complete(&self, mode: Mode) -> bool {
        mode == Mode::Max
    }

    fn config_source(&self, path: &str) -> Value {
        let mut source = Map::new();
        if !self.source.is_empty() {
            source.insert("uri".into(), self.source.clone().into());
        }
        source.insert(path.into(), self.file.clone().into());
        Value::Object(source)
    }

    fn request(&self, mode: Mode) -> Value {
        // Build arguments, labels, secrets' and agents' names are the builder's own affair.
        let told = |key: &str| {
            mode == Mode::Max || !(key.starts_with("build-arg:") || key.starts_with("label:") || key == "vcs")
        };
        let arguments: Map<String, Value> = self
            .arguments
            .iter()
            .filter(|(key, _)| told(key))
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .collect();
        let mut request = json!({ "frontend": "dockerfile.v0" });
        if !arguments.is_empty() {
            request["args"] = arguments.into();
        }
        if !self.locals.is_empty() {
            request["locals"] = self.locals.iter().map(|name| json!({ "name": name })).collect();
        }
        if mode == Mode::Max && !self.secrets.is_empty() {
            let secret = |(id, required): &(String, bool)| json!({ "id": id, "optional": !required });
            request["secrets"] = self.secrets.iter().map(secret).collect();
        }
        if mode == Mode::Max && !self.ssh.is_empty() {
            request["ssh"] = self.ssh.iter().map(|id| json!({ "id": id })).collect();
        }
        request
    }

    fn dependencies(&self) -> Value {
        let one = |material: &Material| {
            let (algorithm, value) = &material.digest;
            json!({ "uri": material.uri, "digest": { algorithm: value } })
        };
        self.materials.iter().map(one).collect()
    }

    fn build_config(&self) -> Value {
        let step = |step: &BuiltStep| json!({ "id": step.id, "op": step.op, "inputs": step.inputs });
        let definition: Vec<Value> = self.steps.iter().map(step).collect();
        json!({ "llbDefinition": definition })
    }

    fn metadata(&self, mode: Mode) -> Value {
        let mut metadata = Map::new();
        if !self.vcs.is_empty() {
            metadata.insert("vcs".into(), json!(self.vcs));
        }
        if mode == Mode::Max {
            let names: Map<String, Value> =
                self.steps.iter().map(|step| (step.id.clone(), step.name.clone().into())).collect();
            let info = json!({ "filename": self.file, "language": "Dockerfile", "data": base64(&self.text) });
            metadata.insert("source".into(), json!({ "infos": [info], "names": names }));
            metadata.insert("layers".into(), self.layers.clone());
        }
        Value::Object(metadata)
    }
}

/// Go writes bytes so.
fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Provenance {
        Provenance {
            file: "Dockerfile".into(),
            arguments: [("build-arg:TOKEN", "hush"), ("label:l", "v"), ("target", "app")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            secrets: vec![("key".into(), true)],
            locals: vec!["context".into(), "dockerfile".into()],
            text: "FROM scratch\n".into(),
            platform: "linux/amd64".into(),
            ..Provenance::default()
        }
    }

    #[test]
    fn the_minimum_keeps_arguments_secrets_and_source_to_itself() {
        for version in [ProvenanceVersion::V1, ProvenanceVersion::V02] {
            let text = told().predicate(Mode::Min, version).value.to_string();
            for hidden in ["hush", "TOKEN", "\"key\"", "RlJPTSBzY3JhdGNo", "llbDefinition"] {
                assert!(!text.contains(hidden), "{hidden} in {text}");
            }
            assert!(text.contains("\"target\":\"app\""), "{text}");
        }
    }

    #[test]
    fn the_whole_is_where_slsa_has_it() {
        let value = told().predicate(Mode::Max, ProvenanceVersion::V1).value;
        let request = &value["buildDefinition"]["externalParameters"]["request"];
        assert_eq!(request["args"]["build-arg:TOKEN"], "hush");
        assert_eq!(request["locals"][1]["name"], "dockerfile");
        assert_eq!(value["runDetails"]["builder"]["id"], "");
        assert_eq!(value["runDetails"]["metadata"]["buildkit_completeness"]["request"], true);
        let source = &value["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"][0];
        assert_eq!(source["data"], "RlJPTSBzY3JhdGNoCg==");
    }
}
