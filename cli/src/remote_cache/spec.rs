//! `type=registry,ref=…,mode=max`: buildx's words.

use std::path::PathBuf;

use kiln_core::{Compression, CompressionFormat, Reference};

use super::actions::ActionsPlace;
use super::bucket::BucketPlace;
use crate::request::UsageError;

/// A cache as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheSpec {
    /// Where it is.
    pub(crate) place: Place,
    /// Which results go into it.
    pub(crate) mode: Mode,
    /// How layers are compressed that are not packed yet.
    pub(crate) compression: Option<Compression>,
    /// Whether the document is an image manifest, or an index.
    pub(crate) image_manifest: bool,
    /// Whether a failure is not even told.
    pub(crate) ignore_error: bool,
}

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// An OCI layout, and the tag of the document in it.
    Local { directory: PathBuf, tag: String, digest: Option<String> },
    /// A repository.
    Registry { reference: Reference },
    /// A bucket of S3.
    Bucket(Box<BucketPlace>),
    /// The cache of GitHub Actions.
    Actions(ActionsPlace),
    /// The configuration of the image that is built.
    Inline,
}

/// Which results go into a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Those of the steps whose layers are in the image.
    Min,
    /// Those of all steps.
    Max,
}

impl CacheSpec {
    /// Understands `--cache-to` (`to`) or `--cache-from`. A bare name is an image at a registry, as in Docker.
    ///
    /// # Errors
    /// What of it cannot be understood.
    pub(crate) fn parse(text: &str, to: bool) -> Result<Self, UsageError> {
        let flag = if to { "cache-to" } else { "cache-from" };
        let wrong = |why: &str| UsageError::value(flag, text, why);
        if !text.contains('=') {
            let reference = text.parse().map_err(|_| wrong("expected type=…, or an image's name"))?;
            return Ok(Self::at(Place::Registry { reference }));
        }
        let mut values = std::collections::BTreeMap::new();
        for pair in text.split(',') {
            let (name, value) = pair.split_once('=').ok_or_else(|| wrong("expected NAME=VALUE pairs"))?;
            values.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        let mut take = |name: &str| values.remove(name);
        let kind = take("type").unwrap_or_else(|| "registry".to_owned());
        let place = match kind.as_str() {
            "local" => {
                let name = if to { "dest" } else { "src" };
                let directory = take(name).ok_or_else(|| wrong(&format!("type=local needs {name}=DIR")))?;
                let tag = take("tag").unwrap_or_else(|| "latest".to_owned());
                Place::Local { directory: directory.into(), tag, digest: take("digest") }
            }
            "registry" => {
                let name = take("ref").ok_or_else(|| wrong("type=registry needs ref=NAME"))?;
                Place::Registry { reference: name.parse().map_err(|_| wrong("`ref` is no image's name"))? }
            }
            "inline" if to => Place::Inline,
            "inline" => return Err(wrong("an inline cache is read with type=registry,ref=IMAGE")),
            "s3" => Place::Bucket(Box::new(bucket(&mut take).map_err(wrong)?)),
            "gha" => Place::Actions(actions(&mut take).map_err(wrong)?),
            _ => return Err(wrong("expected type=local, registry, inline, s3 or gha")),
        };
        let boolean = |value: Option<String>, otherwise: bool| match value.as_deref() {
            None => Ok(otherwise),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(wrong("expected true or false")),
        };
        let mut spec = Self::at(place);
        spec.mode = match take("mode").as_deref() {
            None | Some("min") => Mode::Min,
            Some("max") => Mode::Max,
            Some(_) => return Err(wrong("expected mode=min or mode=max")),
        };
        spec.image_manifest = boolean(take("image-manifest"), true)?;
        spec.ignore_error = boolean(take("ignore-error"), false)?;
        // The document has no Docker form: the words are known, and change nothing.
        boolean(take("oci-mediatypes"), true)?;
        boolean(take("force-compression"), false)?;
        boolean(take("registry.insecure"), false)?;
        let level = take("compression-level").map(|level| level.parse::<i32>());
        let level = level.transpose().map_err(|_| wrong("`compression-level` is a number"))?;
        let format = match take("compression").as_deref() {
            None => None,
            Some("gzip") => Some(CompressionFormat::Gzip),
            Some("zstd") => Some(CompressionFormat::Zstd),
            Some("uncompressed") => Some(CompressionFormat::Uncompressed),
            Some(_) => return Err(wrong("expected compression=gzip, zstd or uncompressed")),
        };
        if format.is_some() || level.is_some() {
            spec.compression = Some(Compression { format: format.unwrap_or_default(), level });
        }
        match values.keys().next() {
            Some(name) => Err(wrong(&format!("unknown option `{name}`"))),
            None => Ok(spec),
        }
    }

    /// The default form, in a place.
    pub(crate) fn at(place: Place) -> Self {
        Self { place, mode: Mode::Min, compression: None, image_manifest: true, ignore_error: false }
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::Local { directory, .. } => format!("local cache {}", directory.display()),
            Place::Registry { reference } => format!("registry cache {reference}"),
            Place::Bucket(place) => format!("cache {} in the bucket {}", place.name, place.bucket),
            Place::Actions(place) => format!("GitHub Actions cache {}", place.scope),
            Place::Inline => "inline cache".to_owned(),
        }
    }
}

/// BuildKit's words for a bucket.
fn bucket(take: &mut impl FnMut(&str) -> Option<String>) -> Result<BucketPlace, &'static str> {
    // When to renew what is not used, and how many transfers at once: kiln's own choice.
    let _ = (take("touch_refresh"), take("upload_parallelism"));
    Ok(BucketPlace {
        bucket: take("bucket").ok_or("type=s3 needs bucket=NAME")?,
        region: take("region"),
        endpoint: take("endpoint_url"),
        path_style: matches!(take("use_path_style").as_deref(), Some("true" | "1")),
        prefix: take("prefix").unwrap_or_default(),
        blobs_prefix: take("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned()),
        manifests_prefix: take("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned()),
        // BuildKit's default too.
        name: take("name").unwrap_or_else(|| "buildkit".to_owned()),
        access_key: take("access_key_id"),
        secret_key: take("secret_access_key"),
        session_token: take("session_token"),
    })
}

/// BuildKit's words for the cache of GitHub Actions.
fn actions(take: &mut impl FnMut(&str) -> Option<String>) -> Result<ActionsPlace, &'static str> {
    if take("version").is_some_and(|version| version != "2") {
        return Err("the first version of the service was shut down: leave version= out");
    }
    // Of the first version, or of other ways to ask.
    let _ = (take("url"), take("ghtoken"), take("repository"), take("timeout"));
    Ok(ActionsPlace {
        scope: take("scope").unwrap_or_else(|| "buildkit".to_owned()),
        url: take("url_v2"),
        token: take("token"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buildx_words_are_understood() {
        let spec =
            CacheSpec::parse("type=local,dest=/c,mode=max,compression=zstd,ignore-error=true", true).unwrap();
        assert_eq!(spec.mode, Mode::Max);
        assert_eq!(spec.compression.unwrap().format, CompressionFormat::Zstd);
        assert!(spec.ignore_error);
        let spec = CacheSpec::parse("app:cache", false).unwrap();
        assert!(
            matches!(spec.place, Place::Registry { reference } if reference.to_string() == "docker.io/library/app:cache")
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, to, why) in [
            ("type=local,src=/c", true, "needs dest=DIR"),
            ("type=inline", false, "type=registry,ref=IMAGE"),
            ("type=s3,region=eu-west-1", true, "needs bucket=NAME"),
            ("type=gha,version=1", true, "was shut down"),
            ("type=local,dest=/c,mode=most", true, "mode=min or mode=max"),
            ("type=local,dest=/c,colour=red", true, "unknown option `colour`"),
        ] {
            let error = CacheSpec::parse(text, to).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
