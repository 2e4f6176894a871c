//! Image references: `[registry/]repository[:tag][@digest]` with Docker's defaults.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, DigestError};

/// The registry that a name without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// The name of an image at a registry (distribution, reference/regexp.go).
///
/// `busybox` means `docker.io/library/busybox`; the tag `latest` is filled in by [`Reference::tag_or_latest`] and by
/// [`Display`](fmt::Display), never stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Capitals in the repository, the commonest mistake.
    #[error("invalid reference `{0}`: repository name must be lowercase")]
    Uppercase(String),
    /// An empty or malformed part.
    #[error("invalid reference `{0}`: expected [registry/]repository[:tag][@sha256:…]")]
    Format(String),
    /// The part after `@`.
    #[error("invalid reference `{text}`")]
    Digest {
        /// The whole reference.
        text: String,
        /// What is wrong with its digest.
        #[source]
        cause: DigestError,
    },
    /// Longer than 255 bytes.
    #[error("invalid reference `{0}`: a repository name has at most 255 characters")]
    TooLong(String),
}

impl Reference {
    /// The registry's host and port; `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry, `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The tag, or `latest` if neither tag nor digest was written.
    pub fn tag_or_latest(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some("latest"),
            (None, Some(_)) => None,
        }
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The registry and repository without tag and digest, in full.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name as people write it: without `docker.io/library/` where the rest alone means the same, and without a tag that
    /// was not written.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_suffix(&mut text, self.tag.as_deref());
        text
    }

    /// The registry and repository as people write them, without tag and digest.
    pub fn familiar_name(&self) -> String {
        let short = match self.repository.strip_prefix("library/") {
            Some(official) if !official.contains('/') => official,
            _ => &self.repository,
        };
        let is_plain = !short.split_once('/').is_some_and(|(first, _)| is_registry(first));
        if self.registry == DEFAULT_REGISTRY && is_plain { short.to_owned() } else { self.name() }
    }

    /// The same repository with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// The same reference, pinned to `digest`.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    fn push_suffix(&self, text: &mut String, tag: Option<&str>) {
        if let Some(tag) = tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

/// The canonical form: every part in full, `docker.io/library/busybox:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_suffix(&mut text, self.tag_or_latest());
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let format = || ReferenceError::Format(text.to_owned());
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let parsed = digest
                    .parse()
                    .map_err(|cause| ReferenceError::Digest { text: text.to_owned(), cause })?;
                (rest, Some(parsed))
            }
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(format());
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first.to_owned(), rest.to_owned()),
            _ => (DEFAULT_REGISTRY.to_owned(), name.to_owned()),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY.to_owned() } else { registry };
        let repository =
            if registry == DEFAULT_REGISTRY && !repository.contains('/') && !repository.is_empty() {
                format!("library/{repository}")
            } else {
                repository
            };
        if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(text.to_owned()));
        }
        if !is_host(&registry) || !repository.split('/').all(is_path_component) {
            return Err(format());
        }
        if registry.len() + 1 + repository.len() > 255 {
            return Err(ReferenceError::TooLong(text.to_owned()));
        }
        Ok(Self { registry, repository, tag, digest })
    }
}

/// Whether the first component of a name is a registry: it has a dot or a port, is `localhost`, or has capitals.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) if is_address(address) => ("v6", None),
            Some((address, port)) if is_address(address) && port.starts_with(':') => ("v6", Some(&port[1..])),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(label) && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether it may stand in the brackets of an IPv6 address.
fn is_address(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Lower-case letters and digits, joined by one dot, one or two underscores, or dashes.
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes.split(|&b| alphanumeric(b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_get_dockers_defaults() {
        for (written, meant) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("user/app:1", "docker.io/user/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:t", "localhost:5000/a/b:t"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("ghcr.io/a/b_c__d-e---f.g", "ghcr.io/a/b_c__d-e---f.g:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ] {
            let reference: Reference = written.parse().unwrap_or_else(|e| panic!("{written}: {e}"));
            assert_eq!(reference.to_string(), meant);
            assert_eq!(meant.parse::<Reference>().unwrap().to_string(), meant);
        }
    }

    #[test]
    fn a_digest_stands_without_a_tag() {
        let text = format!("busybox@{}", Digest::of(b""));
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.tag_or_latest(), None);
        assert_eq!(reference.familiar(), text);
    }

    #[test]
    fn the_familiar_name_means_the_same() {
        for (written, familiar) in [
            ("docker.io/library/busybox:1", "busybox:1"),
            ("docker.io/user/app", "user/app"),
            ("docker.io/library/a/b", "library/a/b"),
            ("docker.io/my.host/app", "docker.io/my.host/app"),
            ("docker.io/library/localhost/app", "library/localhost/app"),
            ("ghcr.io/library/app", "ghcr.io/library/app"),
        ] {
            let reference: Reference = written.parse().unwrap();
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        assert_eq!("Busybox".parse::<Reference>(), Err(ReferenceError::Uppercase("Busybox".into())));
        for bad in [
            "",
            ":tag",
            "a//b",
            "a:",
            "a:-x",
            "-a",
            "a_-b",
            "a/b/",
            "a@sha256:12",
            "a b",
            "a___b",
            "[::1]5/a",
            "[]:5/a",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
