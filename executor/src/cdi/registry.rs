//! All devices that specifications describe, and which of them a name means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::{self, ContainerEdits};
use super::{CdiError, Edits};

/// BuildKit's annotations (docs/cdi.md): a name for several devices, and devices that need no `--allow`.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
const ALLOWED: &str = "org.mobyproject.buildkit.device.autoallow";

#[derive(Debug)]
pub(super) struct Device {
    /// In full.
    pub(super) name: String,
    class: Option<String>,
    /// Of itself, whoever builds.
    pub(super) is_allowed: bool,
    from: PathBuf,
    edits: ContainerEdits,
    shared: Arc<ContainerEdits>,
}

impl Device {
    pub(super) fn edits(&self) -> Edits {
        let (name, from) = (self.name.clone(), self.from.clone());
        Edits { name, from, edits: self.edits.clone(), shared: (*self.shared).clone() }
    }

    /// Whether `pattern` is its name, its kind, its kind with `=*`, or its class.
    pub(super) fn is_meant_by(&self, pattern: &str) -> bool {
        let kind = self.name.split('=').next().unwrap_or_default();
        let whole = pattern.strip_suffix("=*").unwrap_or(pattern);
        pattern == self.name || whole == kind || self.class.as_deref() == Some(pattern)
    }
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    /// In the order of their names.
    devices: BTreeMap<String, Device>,
    /// What is wrong with some of them, a line each.
    problems: Vec<String>,
}

impl Registry {
    /// Directories that are not there have nothing.
    pub(super) fn read(directories: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for directory in directories {
            let mut here = BTreeMap::new();
            let mut twice = Vec::new();
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                let file = match file::read(&path) {
                    None => continue,
                    Some(Ok(file)) => file,
                    Some(Err(why)) => {
                        registry.problems.push(format!("{}: {why}", path.display()));
                        continue;
                    }
                };
                for device in devices_of(file, &path) {
                    if let Some(other) = here.insert(device.name.clone(), device) {
                        twice.push((other.name.clone(), other.from, path.clone()));
                    }
                }
            }
            registry.devices.extend(here);
            // Two of the same directory: neither can be meant (SPEC.md, "CDI device resolution").
            for (name, first, second) in twice {
                let (first, second) = (first.display(), second.display());
                registry.problems.push(format!("{name} is both in {first} and in {second}"));
                registry.devices.remove(&name);
            }
        }
        registry
    }

    /// The devices that RUN's `--device` means by `name`: one in full, the first of a kind, all of a kind (`=*`), those of a class.
    pub(super) fn find(&self, name: &str) -> Vec<&Device> {
        let meant = self.devices.values().filter(|device| device.is_meant_by(name));
        if vendor_and_class(name).is_some() { meant.take(1).collect() } else { meant.collect() }
    }

    pub(super) fn missing(&self, name: &str) -> CdiError {
        let others = self.problems.iter().map(|problem| format!("; {problem}")).collect();
        CdiError::Missing { name: name.to_owned(), others }
    }
}

fn devices_of(file: file::File, path: &std::path::Path) -> Vec<Device> {
    let file::File { kind, annotations, devices, container_edits, .. } = file;
    let shared = Arc::new(container_edits);
    let devices = devices.into_iter().map(|entry| {
        let annotation = |key: &str| entry.annotations.get(key).or(annotations.get(key)).cloned();
        Device {
            name: format!("{kind}={}", entry.name),
            class: annotation(CLASS),
            is_allowed: annotation(ALLOWED).is_some_and(|value| value == "true"),
            from: path.to_owned(),
            edits: entry.container_edits,
            shared: Arc::clone(&shared),
        }
    });
    devices.collect()
}

/// The parts of a kind, `vendor.com/class`.
pub(super) fn vendor_and_class(kind: &str) -> Option<(&str, &str)> {
    let (vendor, class) = kind.split_once('/')?;
    let is_word = |word: &str, more: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.ends_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    (is_word(vendor, "_-.") && is_word(class, "_-.")).then_some((vendor, class))
}

/// Whether it is `vendor.com/class=name`.
pub(super) fn is_qualified(name: &str) -> bool {
    name.split_once('=').is_some_and(|(kind, device)| vendor_and_class(kind).is_some() && !device.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::DeviceRules;
    use super::*;

    fn specification(kind: &str, devices: &[(&str, &str)]) -> String {
        let devices: Vec<String> = devices
            .iter()
            .map(|(name, class)| {
                format!(
                    r#"{{"name": "{name}", "annotations": {{"{CLASS}": "{class}"}},
                        "containerEdits": {{"env": ["D={name}"]}}}}"#
                )
            })
            .collect();
        format!(r#"{{"cdiVersion": "0.8.0", "kind": "{kind}", "devices": [{}]}}"#, devices.join(","))
    }

    fn names(registry: &Registry, pattern: &str) -> Vec<String> {
        registry.find(pattern).iter().map(|device| device.name.clone()).collect()
    }

    #[test]
    fn names_kinds_patterns_and_classes_mean_devices() {
        let directory = tempfile::tempdir().unwrap();
        let text = specification("v.org/gpu", &[("a", "fast"), ("b", "fast"), ("c", "slow")]);
        std::fs::write(directory.path().join("one.json"), text).unwrap();
        std::fs::write(directory.path().join("notes.txt"), "{").unwrap();
        let registry = Registry::read(&["/no/such/directory".into(), directory.path().to_owned()]);
        assert_eq!(names(&registry, "v.org/gpu=b"), ["v.org/gpu=b"]);
        assert_eq!(names(&registry, "v.org/gpu"), ["v.org/gpu=a"]);
        assert_eq!(names(&registry, "v.org/gpu=*").len(), 3);
        assert_eq!(names(&registry, "fast"), ["v.org/gpu=a", "v.org/gpu=b"]);
        assert!(names(&registry, "v.org/gpu=d").is_empty() && names(&registry, "other.org/gpu").is_empty());
    }

    #[test]
    fn a_later_directory_replaces_and_two_of_the_same_are_neither() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (directory, name) in [(&first, "1.json"), (&first, "2.json"), (&second, "3.json")] {
            let text = specification("v.org/gpu", &[(if name == "3.json" { "a" } else { "b" }, "")]);
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        std::fs::write(first.path().join("0.json"), specification("v.org/gpu", &[("a", "")])).unwrap();
        let registry = Registry::read(&[first.path().to_owned(), second.path().to_owned()]);
        assert!(registry.find("v.org/gpu=a")[0].from.ends_with("3.json"));
        let error = registry.missing("v.org/gpu=b").to_string();
        assert!(names(&registry, "v.org/gpu=b").is_empty() && error.contains("2.json"), "{error}");
    }

    #[test]
    fn a_device_needs_the_right_unless_nobody_has_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("one.json"), specification("v.org/gpu", &[("a", "fast")]))
            .unwrap();
        let rules = |all, allowed: &[&str]| DeviceRules {
            directories: vec![directory.path().to_owned()],
            all,
            allowed: allowed.iter().map(|&name| name.to_owned()).collect(),
        };
        let asks = |name: &str, required| vec![(name.to_owned(), required)];
        assert!(matches!(
            rules(false, &[]).of_step(&asks("v.org/gpu=a", false)),
            Err(CdiError::NotAllowed(_))
        ));
        for allowed in ["v.org/gpu=a", "v.org/gpu=*", "v.org/gpu", "fast"] {
            assert_eq!(
                rules(false, &[allowed]).of_step(&asks("v.org/gpu", true)).unwrap().len(),
                1,
                "{allowed}"
            );
        }
        assert_eq!(rules(true, &[]).of_step(&asks("fast", true)).unwrap().len(), 1);
        assert!(rules(false, &[]).of_step(&asks("v.org/gpu=z", false)).unwrap().is_empty());
        assert!(matches!(
            rules(true, &[]).of_step(&asks("v.org/gpu=z", true)),
            Err(CdiError::Missing { .. })
        ));
    }
}
