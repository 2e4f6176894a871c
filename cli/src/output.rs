//! `--output`: what was typed as what is meant.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_core::{Compression, CompressionFormat, Reference};

use crate::annotations::Annotations;

/// One thing that a build ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// What, and where to.
    pub(crate) kind: OutputKind,
    /// `name=`: names beside those of `--tag`.
    pub(crate) names: Vec<Reference>,
    /// How layers are stored.
    pub(crate) layers: LayerOptions,
    /// `annotation.KEY=VALUE` in its forms.
    pub(crate) annotations: Annotations,
    /// `registry.insecure=`: the registry may speak plain http or show a certificate that nobody signed.
    pub(crate) insecure: bool,
    /// `oci-mediatypes=`; `None` for the kind's own default.
    pub(crate) oci_media_types: Option<bool>,
    /// `oci-artifact=`: attestations are artifacts whose subject is the image.
    pub(crate) artifacts: bool,
    /// `attestation-prefix=`: what the names of attestations in a directory begin with.
    pub(crate) attestation_prefix: String,
}

/// How an output's layers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LayerOptions {
    /// `compression=`, `compression-level=`; `None`: what a layer has, gzip for a new one.
    pub(crate) compression: Option<Compression>,
    /// `force-compression=`: also layers that have another one.
    pub(crate) force: bool,
    /// `compression=estargz`: gzip of which single files can be fetched.
    pub(crate) estargz: bool,
    /// `rewrite-timestamp=`: no file of a new layer is newer than the epoch.
    pub(crate) rewrite_timestamp: bool,
}

/// The kinds of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputKind {
    /// The local store; with `push=true` a registry too.
    Image {
        /// Whether it is pushed.
        push: bool,
        /// Whether it goes by its digest alone, without tags.
        by_digest: bool,
        /// Whether it is kept in the local store.
        store: bool,
    },
    /// An OCI layout.
    Oci {
        /// Where to.
        destination: Destination,
        /// As a tar.
        tar: bool,
    },
    /// What `docker load` reads; without a destination the local store.
    Docker {
        /// Where to.
        destination: Option<Destination>,
    },
    /// The docker or podman of this machine, if there is one.
    Engine,
    /// The root file system as a directory.
    Local {
        /// The directory.
        directory: PathBuf,
        /// `platform-split=`: whether each platform has a directory of its own; `None`: if there are several.
        split: Option<bool>,
    },
    /// The root file system as a tar.
    Tar {
        /// Where to.
        destination: Destination,
    },
    /// Nothing: only the cache is filled.
    CacheOnly,
}

/// A file or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A path.
    File(PathBuf),
    /// `-`.
    Stdout,
}

/// A text that is no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid --output `{spec}`: {problem}")]
pub(crate) struct OutputError {
    spec: String,
    problem: String,
}

impl Output {
    /// The local store, and nothing else.
    pub(crate) fn store() -> Self {
        Self::of(OutputKind::Image { push: false, by_digest: false, store: true })
    }

    /// The container engine of this machine.
    pub(crate) fn engine() -> Self {
        Self::of(OutputKind::Engine)
    }

    /// A registry, under the names of `--tag`.
    pub(crate) fn push() -> Self {
        Self::of(OutputKind::Image { push: true, by_digest: false, store: true })
    }

    fn of(kind: OutputKind) -> Self {
        Self {
            kind,
            names: Vec::new(),
            layers: LayerOptions::default(),
            annotations: Annotations::default(),
            insecure: false,
            oci_media_types: None,
            artifacts: false,
            attestation_prefix: String::new(),
        }
    }

    /// Whether bytes go to standard output, so that nothing else may.
    pub(crate) fn takes_stdout(&self) -> bool {
        matches!(
            &self.kind,
            OutputKind::Oci { destination: Destination::Stdout, .. }
                | OutputKind::Docker { destination: Some(Destination::Stdout) }
                | OutputKind::Tar { destination: Destination::Stdout }
        )
    }

    /// Reads `type=oci,dest=out.tar,compression=zstd`; a path alone is `type=local,dest=PATH`, `-` is a tar on standard output.
    ///
    /// # Errors
    /// What cannot be understood, with the words that can.
    pub(crate) fn parse(spec: &str) -> Result<Self, OutputError> {
        let fail = |problem: String| OutputError { spec: spec.to_owned(), problem };
        if spec == "-" {
            return Ok(Self::of(OutputKind::Tar { destination: Destination::Stdout }));
        }
        let fields = csv_fields(spec);
        if let [path] = fields.as_slice()
            && !path.contains('=')
        {
            if path.is_empty() {
                return Err(fail("expected type=…,dest=… or a directory".to_owned()));
            }
            return Ok(Self::of(OutputKind::Local { directory: path.into(), split: None }));
        }
        let mut attributes = BTreeMap::new();
        for field in fields {
            let (key, value) =
                field.split_once('=').ok_or_else(|| fail(format!("`{field}` is not a key=value pair")))?;
            // An annotation's key has its own case.
            let key = if key.starts_with("annotation") {
                key.trim().to_owned()
            } else {
                key.trim().to_ascii_lowercase()
            };
            match (attributes.remove(&key), key.as_str()) {
                (None, _) => attributes.insert(key, value.to_owned()),
                (Some(first), "name") => attributes.insert(key, format!("{first},{value}")),
                (Some(_), _) => return Err(fail(format!("`{key}` is given twice"))),
            };
        }
        Self::of_attributes(&mut attributes).map_err(fail)
    }

    fn of_attributes(attributes: &mut BTreeMap<String, String>) -> Result<Self, String> {
        let kind = attributes
            .remove("type")
            .ok_or("`type` is missing: type=oci|docker|image|registry|local|tar|cacheonly")?;
        let destination = attributes.remove("dest").map(|dest| match dest.as_str() {
            "-" => Destination::Stdout,
            path => Destination::File(path.into()),
        });
        let need = |destination: Option<Destination>| {
            destination.ok_or(format!("`dest` is missing for type={kind}"))
        };
        let kind = match kind.as_str() {
            "oci" => {
                let tar = boolean(attributes, "tar")?.unwrap_or(true);
                let destination = need(destination)?;
                if !tar && destination == Destination::Stdout {
                    return Err("a directory (tar=false) cannot go to standard output".to_owned());
                }
                OutputKind::Oci { destination, tar }
            }
            "docker" => OutputKind::Docker { destination },
            "image" => OutputKind::Image {
                push: boolean(attributes, "push")?.unwrap_or(false),
                by_digest: boolean(attributes, "push-by-digest")?.unwrap_or(false),
                store: boolean(attributes, "store")?.unwrap_or(true),
            },
            "registry" => OutputKind::Image {
                push: boolean(attributes, "push")?.unwrap_or(true),
                by_digest: boolean(attributes, "push-by-digest")?.unwrap_or(false),
                store: boolean(attributes, "store")?.unwrap_or(true),
            },
            "local" => match need(destination)? {
                Destination::File(directory) => {
                    OutputKind::Local { directory, split: boolean(attributes, "platform-split")? }
                }
                Destination::Stdout => {
                    return Err("a directory cannot go to standard output: use type=tar".to_owned());
                }
            },
            "tar" => OutputKind::Tar { destination: destination.unwrap_or(Destination::Stdout) },
            "cacheonly" => OutputKind::CacheOnly,
            other => {
                return Err(format!(
                    "unknown type `{other}`: expected oci, docker, image, registry, local, tar or cacheonly"
                ));
            }
        };
        let mut output = Self::of(kind);
        if let Some(names) = attributes.remove("name").or_else(|| attributes.remove("tag")) {
            for name in names.split(',').filter(|name| !name.is_empty()) {
                output.names.push(name.parse().map_err(|error| format!("{error}"))?);
            }
        }
        let format = match attributes.remove("compression").as_deref() {
            None => None,
            Some("gzip") => Some(CompressionFormat::Gzip),
            Some("estargz") => {
                output.layers.estargz = true;
                Some(CompressionFormat::Gzip)
            }
            Some("zstd") => Some(CompressionFormat::Zstd),
            Some("uncompressed") => Some(CompressionFormat::Uncompressed),
            Some(other) => {
                return Err(format!(
                    "unknown compression `{other}`: expected gzip, zstd, estargz or uncompressed"
                ));
            }
        };
        let level = match attributes.remove("compression-level") {
            None => None,
            Some(level) => {
                Some(level.parse().map_err(|_| format!("compression-level `{level}` is not a number"))?)
            }
        };
        if format.is_some() || level.is_some() {
            output.layers.compression = Some(Compression { format: format.unwrap_or_default(), level });
        }
        output.layers.force = boolean(attributes, "force-compression")?.unwrap_or(false);
        output.layers.rewrite_timestamp = boolean(attributes, "rewrite-timestamp")?.unwrap_or(false);
        output.oci_media_types = boolean(attributes, "oci-mediatypes")?;
        output.insecure = boolean(attributes, "registry.insecure")?.unwrap_or(false);
        output.artifacts = boolean(attributes, "oci-artifact")?.unwrap_or(false);
        output.attestation_prefix = attributes.remove("attestation-prefix").unwrap_or_default();
        refuse(attributes)?;
        while let Some((key, value)) = attributes.pop_first() {
            if !output.annotations.take(&key, &value)? {
                return Err(format!("unknown key `{key}`"));
            }
        }
        Ok(output)
    }
}

/// BuildKit's attributes that change nothing here are taken; what would have to change something is refused.
fn refuse(attributes: &mut BTreeMap<String, String>) -> Result<(), String> {
    // Layers are unpacked in the store anyway; images are found by their digests anyway; attestations are always within the
    // index; the last two are BuildKit's own past.
    for same in ["unpack", "name-canonical", "attestation-inline", "buildinfo", "buildinfo-attrs"] {
        boolean(attributes, same)?;
    }
    if boolean(attributes, "prefer-nondist-layers")? == Some(true) {
        return Err("`prefer-nondist-layers`: every layer is distributed here".to_owned());
    }
    if attributes.remove("dangling-name-prefix").is_some_and(|prefix| !prefix.is_empty()) {
        return Err("`dangling-name-prefix`: an image without a name is found by its id here".to_owned());
    }
    match boolean(attributes, "platform-split")? {
        Some(_) => Err("`platform-split` is for type=local".to_owned()),
        None => Ok(()),
    }
}

fn boolean(attributes: &mut BTreeMap<String, String>, key: &str) -> Result<Option<bool>, String> {
    match attributes.remove(key).as_deref() {
        None => Ok(None),
        Some("" | "true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(format!("`{key}={other}` is neither true nor false")),
    }
}

/// Splits at commas; a field in double quotes may have commas, and a doubled quote is one quote (RFC 4180).
pub(crate) fn csv_fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => fields[last].push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::Level;

    #[test]
    fn the_forms_of_dockers_manual_are_understood() {
        let file = |path: &str| Destination::File(path.into());
        for (spec, kind) in [
            ("out", OutputKind::Local { directory: "out".into(), split: None }),
            ("-", OutputKind::Tar { destination: Destination::Stdout }),
            ("type=local,dest=out", OutputKind::Local { directory: "out".into(), split: None }),
            (
                "type=local,dest=out,platform-split=false",
                OutputKind::Local { directory: "out".into(), split: Some(false) },
            ),
            ("type=tar,dest=out.tar", OutputKind::Tar { destination: file("out.tar") }),
            ("type=tar", OutputKind::Tar { destination: Destination::Stdout }),
            ("type=oci,dest=a.tar", OutputKind::Oci { destination: file("a.tar"), tar: true }),
            ("type=oci,tar=false,dest=a", OutputKind::Oci { destination: file("a"), tar: false }),
            ("type=docker,dest=-", OutputKind::Docker { destination: Some(Destination::Stdout) }),
            ("type=docker", OutputKind::Docker { destination: None }),
            ("type=registry", OutputKind::Image { push: true, by_digest: false, store: true }),
            ("type=image,push=true", OutputKind::Image { push: true, by_digest: false, store: true }),
        ] {
            assert_eq!(Output::parse(spec).unwrap().kind, kind, "{spec}");
        }
    }

    #[test]
    fn names_and_layer_options_are_read() {
        let spec = r#"type=image,"name=a:1,b:2",compression=zstd,compression-level=9,force-compression=true,annotation.x=y"#;
        let output = Output::parse(spec).unwrap();
        assert_eq!(output.names.iter().map(Reference::familiar).collect::<Vec<_>>(), ["a:1", "b:2"]);
        assert_eq!(
            output.layers.compression,
            Some(Compression { format: CompressionFormat::Zstd, level: Some(9) })
        );
        assert!(output.layers.force);
        assert_eq!(output.annotations.at(Level::Manifest, None)["x"], "y");
        assert_eq!(Output::parse("type=image,name=a,name=b").unwrap().names.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (spec, problem) in [
            ("type=oci", "`dest` is missing for type=oci"),
            (
                "type=ocy,dest=x",
                "unknown type `ocy`: expected oci, docker, image, registry, local, tar or cacheonly",
            ),
            ("dest=x", "`type` is missing: type=oci|docker|image|registry|local|tar|cacheonly"),
            ("type=tar,dset=x", "unknown key `dset`"),
            ("type=local,dest=-", "a directory cannot go to standard output: use type=tar"),
            ("type=tar,platform-split=true", "`platform-split` is for type=local"),
            ("type=image,push=maybe", "`push=maybe` is neither true nor false"),
        ] {
            let error = Output::parse(spec).unwrap_err().to_string();
            assert_eq!(error, format!("invalid --output `{spec}`: {problem}"));
        }
    }
}
