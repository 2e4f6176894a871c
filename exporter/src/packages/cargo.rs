//! Rust's packages: lock files that were left in an image.

use std::path::Path;

use super::{Manager, Package};

pub(super) fn knows(path: &Path, _size: u64, _mode: u32) -> bool {
    path.file_name().is_some_and(|name| name == "Cargo.lock")
}

/// The `[[package]]` tables. A lock file is written by cargo, a key a line, so that no parser of all TOML is needed; what
/// is written by hand in another way is passed over.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let tables = text.split("[[package]]").skip(1);
    let field = |table: &str, name: &str| -> Option<String> {
        let prefix = format!("{name} = \"");
        let line = table.lines().find(|line| line.starts_with(&prefix))?;
        Some(line[prefix.len()..].trim_end().trim_end_matches('"').to_owned())
    };
    tables
        .filter_map(|table| {
            Some(Package::new(Manager::Cargo, &field(table, "name")?, &field(table, "version")?, path))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_of_a_lock_file_is_listed() {
        let text = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"b\",\n]\n\n\
                    [[package]]\nname = \"b\"\nversion = \"0.1.0+x\"\nsource = \"registry\"\n";
        let urls: Vec<String> =
            read(Path::new("Cargo.lock"), text.as_bytes()).iter().map(Package::url).collect();
        assert_eq!(urls, ["pkg:cargo/a@1.0.0", "pkg:cargo/b@0.1.0%2Bx"]);
    }
}
