//! What the two words of `kiln cp` mean.

use std::path::{Path, PathBuf};

use kiln_core::Reference;

use crate::container::directory::Containers;

/// One end of a copy of files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A tar on a standard stream.
    Stream,
    /// A path of this machine.
    Host(PathBuf),
    /// A container, and a path in it.
    Container(String, PathBuf),
}

impl End {
    /// Docker's rule: a path with a colon is told from a container by its beginning.
    pub(crate) fn parse(text: &str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            Some((name, path)) if !name.is_empty() && !text.starts_with(['/', '.']) => {
                Self::Container(name.to_owned(), Path::new("/").join(path))
            }
            _ => Self::Host(text.into()),
        }
    }
}

/// The two images of `kiln cp IMAGE IMAGE`; none if files are meant.
///
/// A tag stands after a colon as a container's path does, and a repository is spelt as a path of this machine may be. So a
/// word is an image only if it can be nothing else, and the new image names its registry: a container's name that is
/// mistyped makes no image at Docker Hub.
pub(crate) fn images(
    source: &str,
    destination: &str,
    containers: &Containers,
) -> Option<(Reference, Reference)> {
    let from = image(source, containers)?;
    let to = image(destination, containers)?;
    (names_registry(destination) && !Path::new(source).exists()).then_some((from, to))
}

/// A word that is neither a stream, nor a path of the host that its beginning tells, nor in a container.
fn image(text: &str, containers: &Containers) -> Option<Reference> {
    if text == "-" || text.starts_with(['/', '.']) {
        return None;
    }
    if let Some((name, path)) = text.split_once(':')
        && (path.is_empty() || path.starts_with(['/', '.']) || is_container(name, containers))
    {
        return None;
    }
    text.parse().ok()
}

/// Whether a container is called so. The few first digits of an id are as likely a repository's name.
fn is_container(name: &str, containers: &Containers) -> bool {
    containers.find(name).is_ok_and(|found| found.name() == name || name.len() >= 12)
}

/// Whether a reference begins with the name of a registry (Docker's rule).
fn names_registry(text: &str) -> bool {
    let first = text.split_once('/').map(|(first, _)| first);
    first.is_some_and(|first| first == "localhost" || first.contains(['.', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_what_can_be_nothing_else() {
        let store = tempfile::tempdir().unwrap();
        let containers = Containers::of(store.path());
        for (source, destination, images_meant) in [
            ("app:1", "reg.test/app:1", true),
            ("app", "localhost/app", true),
            (
                "reg.test:5000/team/app@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "localhost:5000/app",
                true,
            ),
            // The registry has to be named.
            ("app:1", "team/app:1", false),
            ("c:passwd", "out", false),
            // Paths of containers and of the host.
            ("c:/etc/passwd", "reg.test/app", false),
            ("c:", "reg.test/app", false),
            ("app:1", "c:/x", false),
            ("./app", "reg.test/app", false),
            ("-", "reg.test/app", false),
            ("app:1", "/reg.test/app", false),
        ] {
            let found = images(source, destination, &containers);
            assert_eq!(found.is_some(), images_meant, "{source} {destination}");
        }
    }
}
