//! The image configuration as BuildKit writes it: OCI's (image-spec, config.md) with Docker's additions.
//!
//! Manifests, indexes and descriptors are oci-spec's; this one is kiln's own because Docker's additions (healthcheck,
//! ONBUILD, SHELL, `ArgsEscaped`) and the exact presence of fields decide the image's digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DiffId, Platform};

/// The configuration of an image: one JSON document, whose SHA-256 is the image's id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339; `None` is written as an absent field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// MAINTAINER.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// As in [`Platform`].
    #[serde(default)]
    pub architecture: String,
    /// As in [`Platform`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// As in [`Platform`].
    #[serde(default)]
    pub os: String,
    /// Windows' build number.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Windows' features.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// What a container of the image starts with.
    #[serde(default)]
    pub config: ContainerConfig,
    /// The layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// One entry an instruction, oldest first.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields that kiln does not know, kept as they came.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What a container of an image starts with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// USER.
    #[serde(default, rename = "User", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// EXPOSE: `80/tcp`.
    #[serde(
        default,
        rename = "ExposedPorts",
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// ENV: `NAME=value`, in the order set. Null and absent are the empty list.
    #[serde(
        default,
        rename = "Env",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// ENTRYPOINT. `None` is absent.
    #[serde(default, rename = "Entrypoint", skip_serializing_if = "none_or_empty")]
    pub entrypoint: Option<Vec<String>>,
    /// CMD. `None` is absent.
    #[serde(default, rename = "Cmd", skip_serializing_if = "none_or_empty")]
    pub cmd: Option<Vec<String>>,
    /// VOLUME.
    #[serde(
        default,
        rename = "Volumes",
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub volumes: BTreeMap<String, Empty>,
    /// WORKDIR.
    #[serde(default, rename = "WorkingDir", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// LABEL.
    #[serde(
        default,
        rename = "Labels",
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// STOPSIGNAL.
    #[serde(default, rename = "StopSignal", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Set by shell-form CMD and ENTRYPOINT (Docker's, for Windows).
    #[serde(default, rename = "ArgsEscaped", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// HEALTHCHECK.
    #[serde(default, rename = "Healthcheck", skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// ONBUILD, the instructions as written.
    #[serde(
        default,
        rename = "OnBuild",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub on_build: Vec<String>,
    /// SHELL.
    #[serde(
        default,
        rename = "Shell",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shell: Vec<String>,
    /// Fields that kiln does not know, kept as they came.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// `{}`: the value of Go's sets in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

/// HEALTHCHECK. Durations are nanoseconds, 0 for the runtime's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`; empty inherits.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Before failures count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks during the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers of an image by their uncompressed digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bottom first; BuildKit writes an image without layers as null.
    #[serde(default, deserialize_with = "null_as_default", serialize_with = "empty_as_null")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One line of `docker history`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction: `RUN /bin/sh -c make # buildkit`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// `buildkit.dockerfile.v0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the entry has no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// A configuration for `platform` with nothing else set.
    pub fn for_platform(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            ..Self::default()
        }
    }

    /// The platform it is for.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }
}

impl ContainerConfig {
    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets an environment variable, in place if it was set before.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let is_it = |e: &&mut String| e.split('=').next() == Some(name);
        match self.env.iter_mut().find(is_it) {
            Some(existing) => *existing = entry,
            None => self.env.push(entry),
        }
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn none_or_empty(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn null_as_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn empty_as_null<S: serde::Serializer>(ids: &[DiffId], to: S) -> Result<S::Ok, S::Error> {
    if ids.is_empty() { to.serialize_none() } else { ids.serialize(to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_its_json() {
        let text = r#"{"created":"2026-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"],"Labels":null,"Hostname":"x"},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"history":[{"created_by":"base"}],"docker_version":"20"}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.config.variable("PATH"), Some("/bin"));
        assert_eq!(config.other["docker_version"], "20");
        let again: ImageConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn a_variable_keeps_its_place_when_set_again() {
        let mut config = ContainerConfig::default();
        for (name, value) in [("A", "1"), ("AB", "2"), ("A", "3")] {
            config.set_variable(name, value);
        }
        assert_eq!(config.env, ["A=3", "AB=2"]);
    }
}
