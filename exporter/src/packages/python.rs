//! Python's packages: the metadata of wheels and eggs (packaging.python.org, core metadata).

use std::path::Path;

use super::record::{paragraphs, value};
use super::{Manager, Package};

pub(super) fn knows(path: &Path, _size: u64, _mode: u32) -> bool {
    let within = |suffix: &str| {
        let parent = path.parent().and_then(Path::file_name);
        parent.is_some_and(|name| name.to_string_lossy().ends_with(suffix))
    };
    match path.file_name().and_then(|name| name.to_str()) {
        Some("METADATA") => within(".dist-info"),
        Some("PKG-INFO") => within(".egg-info") || within("EGG-INFO"),
        Some(name) => name.ends_with(".egg-info"),
        None => false,
    }
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    // The description after the first paragraph is free text.
    let Some(head) = paragraphs(&text).into_iter().next() else { return Vec::new() };
    if value(&head, "Name").is_empty() {
        return Vec::new();
    }
    let license = match value(&head, "License-Expression") {
        "" => value(&head, "License"),
        expression => expression,
    };
    vec![Package {
        license: license.to_owned(),
        supplier: value(&head, "Author").to_owned(),
        ..Package::new(Manager::Pypi, value(&head, "Name"), value(&head, "Version"), path)
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_says_what_it_is() {
        let path = Path::new("usr/lib/python3/dist-packages/Foo_Bar-1.0.dist-info/METADATA");
        assert!(knows(path, 1, 0o644));
        let found = read(
            path,
            b"Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\nLicense: MIT\n\nName: not this\n",
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].url(), "pkg:pypi/foo-bar@1.0");
    }
}
