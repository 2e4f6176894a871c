//! JavaScript's packages: the package.json of what lies in a node_modules.

use std::path::Path;

use serde_json::Value;

use super::{Manager, Package};

pub(super) fn knows(path: &Path, _size: u64, _mode: u32) -> bool {
    let name =
        |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    if name(Some(path)).as_deref() != Some("package.json") {
        return false;
    }
    // node_modules/NAME/package.json, or node_modules/@SCOPE/NAME/package.json: other ones belong to a package's own tests.
    let package = path.parent();
    let above = package.and_then(Path::parent);
    match name(above) {
        Some(scope) if scope.starts_with('@') => {
            name(above.and_then(Path::parent)).as_deref() == Some("node_modules")
        }
        parent => parent.as_deref() == Some("node_modules"),
    }
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Vec<Package> {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    if text("name").is_empty() || text("version").is_empty() {
        return Vec::new();
    }
    let supplier = value["author"]["name"].as_str().unwrap_or(text("author"));
    vec![Package {
        license: text("license").to_owned(),
        supplier: supplier.to_owned(),
        ..Package::new(Manager::Npm, text("name"), text("version"), path)
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_what_lies_directly_in_node_modules() {
        let check = |path: &str| knows(Path::new(path), 1, 0o644);
        assert!(check("app/node_modules/left-pad/package.json"));
        assert!(check("app/node_modules/@types/node/package.json"));
        assert!(!check("app/node_modules/left-pad/test/package.json"));
        assert!(!check("app/package.json"));
        let found = read(Path::new("p"), br#"{"name":"@types/node","version":"20.1.0","license":"MIT"}"#);
        assert_eq!(found[0].url(), "pkg:npm/%40types/node@20.1.0");
    }
}
