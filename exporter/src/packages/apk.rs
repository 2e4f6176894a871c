//! Alpine's packages: apk's database of what is installed.

use std::path::Path;

use super::record::{paragraphs, value};
use super::{Manager, Package};

pub(super) fn knows(path: &Path, _size: u64, _mode: u32) -> bool {
    path == Path::new("lib/apk/db/installed") || path == Path::new("usr/lib/apk/db/installed")
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    paragraphs(&text)
        .iter()
        .filter(|p| !value(p, "P").is_empty())
        .map(|p| Package {
            license: value(p, "L").to_owned(),
            supplier: value(p, "m").to_owned(),
            architecture: value(p, "A").to_owned(),
            ..Package::new(Manager::Apk, value(p, "P"), value(p, "V"), path)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_versions_and_licences_are_read() {
        let text = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\nR:libc.so\n\nP:busybox\nV:1.36\n";
        let found = read(Path::new("lib/apk/db/installed"), text.as_bytes());
        assert_eq!(
            (found[0].url(), found[0].license.as_str()),
            ("pkg:apk/musl@1.2.5-r0?arch=x86_64".into(), "MIT")
        );
        assert_eq!(found[1].url(), "pkg:apk/busybox@1.36");
    }
}
