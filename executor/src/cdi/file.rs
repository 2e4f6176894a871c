//! A specification as it is written, in JSON or YAML. A field that is not known is an error: what it asks for would be missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use yaml_rust2::{Yaml, YamlLoader};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    cdi_version: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) devices: Vec<DeviceEntry>,
    #[serde(default)]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceEntry {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ContainerEdits {
    #[serde(default)]
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) device_nodes: Vec<DeviceNode>,
    #[serde(default)]
    pub(super) mounts: Vec<MountEntry>,
    #[serde(default)]
    pub(super) additional_gids: Vec<u32>,
    #[serde(default)]
    pub(super) hooks: Vec<serde_json::Value>,
    pub(super) intel_rdt: Option<serde_json::Value>,
}

/// Type, numbers, mode and owner are those of the host's node, whatever is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: PathBuf,
    pub(super) host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    _typ: Option<String>,
    #[serde(rename = "major")]
    _major: Option<i64>,
    #[serde(rename = "minor")]
    _minor: Option<i64>,
    #[serde(rename = "fileMode")]
    _mode: Option<u32>,
    #[serde(rename = "uid")]
    _uid: Option<u32>,
    #[serde(rename = "gid")]
    _gid: Option<u32>,
    #[serde(default)]
    pub(super) permissions: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MountEntry {
    pub(super) host_path: PathBuf,
    pub(super) container_path: PathBuf,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) typ: Option<String>,
}

/// Reads a specification; `None` for a file that is none by its name. The error is a line for people.
pub(super) fn read(path: &Path) -> Option<Result<File, String>> {
    let is_json = match path.extension()?.to_str()? {
        "json" => true,
        "yaml" | "yml" => false,
        _ => return None,
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(parse(&text, is_json))
}

fn parse(text: &str, is_json: bool) -> Result<File, String> {
    let value = if is_json {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
        let [document] = documents.as_slice() else { return Err("expected one YAML document".to_owned()) };
        json(document)?
    };
    let file: File = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let known = |minor: &str| minor.parse().is_ok_and(|minor: u32| (3..=8).contains(&minor));
    match file.cdi_version.split('.').collect::<Vec<_>>().as_slice() {
        ["0", minor, _] if known(minor) => {}
        ["1", "0", "0"] => {}
        _ => return Err(format!("version {} of CDI is not known: 0.3.0 to 1.0.0 are", file.cdi_version)),
    }
    if super::registry::vendor_and_class(&file.kind).is_none() {
        return Err(format!("the kind `{}` is not vendor/class", file.kind));
    }
    Ok(file)
}

/// What JSON can say of a YAML document.
fn json(yaml: &Yaml) -> Result<serde_json::Value, String> {
    use serde_json::Value;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(value) => Value::from(*value),
        Yaml::Integer(value) => Value::from(*value),
        Yaml::Real(text) | Yaml::String(text) => Value::from(text.clone()),
        Yaml::Array(items) => items.iter().map(json).collect::<Result<Value, _>>()?,
        Yaml::Hash(entries) => {
            let mut object = serde_json::Map::new();
            for (key, value) in entries {
                let key = key.as_str().ok_or_else(|| "a key is no text".to_owned())?;
                // As with an absent one.
                if !value.is_null() {
                    object.insert(key.to_owned(), json(value)?);
                }
            }
            Value::Object(object)
        }
        Yaml::Alias(_) | Yaml::BadValue => return Err("not understood as YAML".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_say_the_same() {
        let yaml = "cdiVersion: \"0.6.0\"\nkind: v.org/gpu\ndevices:\n  - name: \"0\"\n    containerEdits:\n      \
                    env: [A=1]\n      deviceNodes:\n        - path: /dev/a\n          fileMode: 438\ncontainerEdits:\n";
        let json = r#"{"cdiVersion": "0.6.0", "kind": "v.org/gpu", "devices": [{"name": "0", "containerEdits":
            {"env": ["A=1"], "deviceNodes": [{"path": "/dev/a", "fileMode": 438}]}}]}"#;
        let (yaml, json) = (parse(yaml, false).unwrap(), parse(json, true).unwrap());
        assert_eq!(format!("{yaml:?}"), format!("{json:?}"));
        assert_eq!(yaml.devices[0].container_edits.device_nodes[0].path, Path::new("/dev/a"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let file = |version: &str, kind: &str, more: &str| {
            parse(&format!(r#"{{"cdiVersion": "{version}", "kind": "{kind}", "devices": []{more}}}"#), true)
        };
        assert!(file("0.8.0", "v.org/gpu", "").is_ok());
        for (version, kind, more) in [
            ("0.9.0", "v.org/gpu", ""),
            ("2.0.0", "v.org/gpu", ""),
            ("0.8.0", "gpu", ""),
            ("0.8.0", "v.org/gpu", r#", "surprise": 1"#),
        ] {
            assert!(file(version, kind, more).is_err(), "{version} {kind} {more}");
        }
    }
}
