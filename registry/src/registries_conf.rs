//! podman's `registries.conf` (containers-registries.conf(5), version 2): mirrors, other locations, plain http, what is
//! blocked, by the beginning of a reference.
//!
//! Short names mean docker.io here, whatever `unqualified-search-registries` says: a Dockerfile means the same everywhere.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_core::Reference;
use serde::Deserialize;

use crate::error::Fault;
use crate::{Endpoint, RegistryHosts};

/// Where the files are.
#[derive(Debug, Clone, Default)]
pub struct RegistriesConf {
    /// The first of these that is there is read.
    pub files: Vec<PathBuf>,
    /// `*.conf` in these are read after it, by name; a prefix that comes again replaces what was said of it.
    pub directories: Vec<PathBuf>,
}

/// What was read: rules by their prefix.
#[derive(Debug, Default)]
pub(crate) struct Rules(BTreeMap<String, Rule>);

#[derive(Deserialize)]
struct ConfFile {
    #[serde(default)]
    registry: Vec<Rule>,
}

/// One `[[registry]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Rule {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
}

impl Rules {
    /// Reads the files.
    ///
    /// # Errors
    /// One that is there and cannot be read or understood.
    pub(crate) fn read(conf: &RegistriesConf) -> Result<Self, Fault> {
        let mut rules = Self::default();
        for file in &conf.files {
            if rules.add(file)? {
                break;
            }
        }
        for directory in &conf.directories {
            let entries = match fs::read_dir(directory) {
                Ok(entries) => entries,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(unusable(directory, cause.to_string())),
            };
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
            files.sort();
            for file in &files {
                rules.add(file)?;
            }
        }
        Ok(rules)
    }

    /// Whether the file is there.
    fn add(&mut self, file: &Path) -> Result<bool, Fault> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(unusable(file, cause.to_string())),
        };
        let read: ConfFile = toml::from_str(&text).map_err(|e| unusable(file, e.message().to_owned()))?;
        for mut rule in read.registry {
            if rule.prefix.is_empty() {
                rule.prefix.clone_from(&rule.location);
            }
            if rule.prefix.is_empty() {
                return Err(unusable(file, "a [[registry]] has neither prefix nor location".to_owned()));
            }
            rule.file = file.to_owned();
            self.0.insert(rule.prefix.clone(), rule);
        }
        Ok(true)
    }

    /// The rule with the longest prefix of `reference`.
    pub(crate) fn of(&self, reference: &Reference) -> Option<&Rule> {
        let name = reference.name();
        let matching = self.0.values().filter(|rule| rule.matches(&name, reference.registry()));
        matching.max_by_key(|rule| rule.prefix.len())
    }
}

fn unusable(path: &Path, reason: String) -> Fault {
    Fault::Options { what: "configuration of registries", path: path.to_owned(), reason }
}

impl Rule {
    fn matches(&self, name: &str, registry: &str) -> bool {
        match self.prefix.strip_prefix('*') {
            // `*.example.com` is for hosts alone.
            Some(end) => {
                registry.split(':').next().is_some_and(|host| host.ends_with(end)) || registry.ends_with(end)
            }
            None => {
                name.strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    /// What the rule is remembered by, for references of `registry`.
    pub(crate) fn key(&self, registry: &str) -> String {
        format!("{registry} {}", self.prefix)
    }

    /// The endpoints for references of `registry`.
    ///
    /// # Errors
    /// [`Fault::Blocked`].
    pub(crate) fn hosts(&self, registry: &str) -> Result<RegistryHosts, Fault> {
        if self.blocked {
            return Err(Fault::Blocked { prefix: self.prefix.clone(), file: self.file.clone() });
        }
        // What stands in the prefix after the host is not said to another location.
        let strip = match self.prefix.split_once('/') {
            Some((_, path)) if !self.prefix.starts_with('*') => path,
            _ => "",
        };
        let endpoint = |location: &str, insecure: bool| {
            let (host, path) = location.split_once('/').unwrap_or((location, ""));
            Endpoint {
                strip_prefix: strip.to_owned(),
                repository_prefix: path.to_owned(),
                skip_verify: insecure,
                ..Endpoint::new(crate::hosts::address(host))
            }
        };
        let mirrors = self.mirror.iter().map(|mirror| {
            let mut endpoint = endpoint(&mirror.location, mirror.insecure);
            match mirror.pull_from_mirror.as_str() {
                "digest-only" => endpoint.resolve = false,
                "tag-only" => endpoint.digests = false,
                _ => endpoint.resolve = !self.mirror_by_digest_only,
            }
            endpoint
        });
        let upstream = match self.location.as_str() {
            // A prefix without a location is that location, and so is every host of a wildcard.
            "" => Endpoint { skip_verify: self.insecure, ..Endpoint::new(crate::hosts::address(registry)) },
            location => endpoint(location, self.insecure),
        };
        Ok(RegistryHosts { mirrors: mirrors.collect(), upstream: Some(upstream), ..RegistryHosts::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(files: &[(&str, &str)]) -> Result<Rules, Fault> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
        }
        let path = |name: &str| dir.path().join(name);
        let conf = RegistriesConf {
            files: vec![path("absent"), path("registries.conf"), path("other.conf")],
            directories: vec![path("none"), path("d")],
        };
        Rules::read(&conf)
    }

    const CONF: &str = r#"
        unqualified-search-registries = ["quay.io"]
        [[registry]]
        prefix = "docker.io"
        location = "internal.example:5000/hub"
        [[registry.mirror]]
        location = "mirror.example/of/hub"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library/special"
        location = "docker.io/team/other"
        [[registry]]
        location = "plain.example:80"
        insecure = true
        [[registry]]
        prefix = "*.bad.example"
        blocked = true
    "#;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_decides_and_ends_at_a_slash() {
        let rules = rules(&[("registries.conf", CONF), ("other.conf", "not = [toml")]).unwrap();
        let prefix = |text: &str| rules.of(&reference(text)).map(|rule| rule.prefix.as_str());
        assert_eq!(prefix("busybox"), Some("docker.io"));
        assert_eq!(prefix("special:1"), Some("docker.io/library/special"));
        assert_eq!(prefix("special/not"), Some("docker.io"));
        assert_eq!(prefix("specialist"), Some("docker.io"));
        assert_eq!(prefix("plain.example:80/x"), Some("plain.example:80"));
        assert_eq!(prefix("plain.example/x"), None);
        assert_eq!(prefix("a.bad.example:5000/x"), Some("*.bad.example"));
    }

    #[test]
    fn locations_mirrors_and_blocks_are_what_they_say() {
        let rules = rules(&[("registries.conf", CONF)]).unwrap();
        let hosts = |text: &str| {
            let reference = reference(text);
            rules.of(&reference).unwrap().hosts(reference.registry())
        };
        let hub = hosts("busybox").unwrap();
        let own = hub.upstream.unwrap();
        assert_eq!((own.url.as_str(), own.repository_prefix.as_str()), ("internal.example:5000", "hub"));
        let mirror = &hub.mirrors[0];
        assert_eq!((mirror.url.as_str(), mirror.repository_prefix.as_str()), ("mirror.example", "of/hub"));
        assert!(mirror.skip_verify && !mirror.resolve && mirror.digests);
        let special = hosts("special").unwrap().upstream.unwrap();
        assert_eq!(special.url, "registry-1.docker.io");
        assert_eq!(
            (special.strip_prefix.as_str(), special.repository_prefix.as_str()),
            ("library/special", "team/other")
        );
        assert!(hosts("plain.example:80/x").unwrap().upstream.unwrap().skip_verify);
        let blocked = hosts("a.bad.example/x").unwrap_err().to_string();
        assert!(blocked.contains("*.bad.example") && blocked.contains("registries.conf"), "{blocked}");
    }

    #[test]
    fn later_files_replace_and_unreadable_ones_are_named() {
        let drop_in = "[[registry]]\nprefix = \"docker.io\"\nblocked = true";
        let rules_ = rules(&[("registries.conf", CONF), ("d/1.conf", drop_in), ("d/2.txt", "[")]).unwrap();
        assert!(rules_.of(&reference("busybox")).unwrap().blocked);
        let error = rules(&[("d/1.conf", "[[registry]]\ninsecure = true")]).unwrap_err().to_string();
        assert!(error.contains("1.conf") && error.contains("neither prefix nor location"), "{error}");
    }
}
