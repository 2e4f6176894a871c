//! Debian's packages: dpkg's status file, or distroless images' `status.d`.

use std::path::Path;

use super::record::{paragraphs, value};
use super::{Manager, Package};

pub(super) fn knows(path: &Path, _size: u64, _mode: u32) -> bool {
    path == Path::new("var/lib/dpkg/status")
        || (path.parent() == Some(Path::new("var/lib/dpkg/status.d"))
            && path.extension().is_none_or(|extension| extension != "md5sums"))
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let installed = |status: &str| status.is_empty() || status.ends_with(" installed");
    paragraphs(&text)
        .iter()
        .filter(|p| installed(value(p, "Status")) && !value(p, "Package").is_empty())
        .map(|p| Package {
            architecture: value(p, "Architecture").to_owned(),
            supplier: value(p, "Maintainer").to_owned(),
            ..Package::new(Manager::Deb, value(p, "Package"), value(p, "Version"), path)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_listed_and_removed_ones_are_not() {
        let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\nDepends: a,\n b\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        let found = read(Path::new("var/lib/dpkg/status"), status.as_bytes());
        let urls: Vec<String> = found.iter().map(Package::url).collect();
        assert_eq!(urls, ["pkg:deb/libc6@2.36-9?arch=amd64"]);
    }
}
