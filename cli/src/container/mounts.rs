//! What a container shows over its root: `-v`, `--mount`, `--tmpfs`, and VOLUME of its image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_executor::sandbox::{Graft, GraftSource};

use super::config::MountPoint;
use super::volume::Volumes;
use crate::args::RunArgs;
use crate::error::CommandError;
use crate::request::{UsageError, limits};

/// The mounts of a container, and the volumes that were made for it and are empty yet.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) grafts: Vec<Graft>,
    pub(crate) points: Vec<MountPoint>,
    /// Data directory of a new volume, and the path whose content it begins with.
    pub(crate) fill: Vec<(PathBuf, String)>,
}

/// One mount as asked for.
#[derive(Debug)]
struct Wanted {
    kind: Kind,
    target: String,
    read_only: bool,
    copy: bool,
}

#[derive(Debug)]
enum Kind {
    /// An absolute path of the host; whether it is made if it is missing.
    Bind(PathBuf, bool),
    /// A name, or none for one that goes with the container.
    Volume(Option<String>),
    Tmpfs(Option<u64>, u32),
}

impl Mounts {
    /// What flags and image ask for. Makes volumes and missing directories.
    ///
    /// # Errors
    /// A flag that cannot be understood, or a source that is missing.
    pub(crate) fn of(
        args: &RunArgs,
        image_volumes: impl IntoIterator<Item = String>,
        volumes: &Volumes,
    ) -> Result<Self, CommandError> {
        let mut mounts = Self::default();
        for text in &args.volumes {
            mounts.add(short(text)?, volumes)?;
        }
        for text in &args.keep.mounts {
            mounts.add(long(text)?, volumes)?;
        }
        for text in &args.tmpfs {
            mounts.add(tmpfs(text)?, volumes)?;
        }
        for target in image_volumes {
            if !mounts.points.iter().any(|point| point.target == clean(&target)) {
                let kind = Kind::Volume(None);
                mounts.add(Wanted { kind, target, read_only: false, copy: true }, volumes)?;
            }
        }
        // A mount below another has to come after it.
        mounts.grafts.sort_by_key(|graft| graft.target.split('/').count());
        Ok(mounts)
    }

    /// Another container's mounts, where this one has none of its own.
    pub(crate) fn take_from(&mut self, other: &[MountPoint], read_only: bool) {
        for point in other.iter().filter(|point| point.kind != "tmpfs") {
            if self.points.iter().any(|own| own.target == point.target) {
                continue;
            }
            let point =
                MountPoint { anonymous: false, read_only: point.read_only || read_only, ..point.clone() };
            self.grafts.push(Graft {
                target: point.target.clone(),
                source: GraftSource::Path(PathBuf::from(&point.source)),
                read_only: point.read_only,
            });
            self.points.push(point);
        }
    }

    fn add(&mut self, wanted: Wanted, volumes: &Volumes) -> Result<(), CommandError> {
        let target = clean(&wanted.target);
        let wrong = |why: &str| CommandError::from(UsageError::value("volume", &wanted.target, why));
        if !target.starts_with('/') {
            return Err(wrong("the place in the container is not an absolute path"));
        }
        if target == "/" {
            return Err(wrong("the place in the container cannot be its root"));
        }
        if self.points.iter().any(|point| point.target == target) {
            return Err(CommandError::Usage(format!("duplicate mount point: {target}")));
        }
        let mut point = MountPoint {
            kind: String::new(),
            name: String::new(),
            source: String::new(),
            target: target.clone(),
            read_only: wanted.read_only,
            anonymous: false,
        };
        let source = match wanted.kind {
            Kind::Bind(path, make) => {
                if !path.exists() {
                    if !make {
                        return Err(CommandError::Usage(format!(
                            "bind source path does not exist: {}",
                            path.display()
                        )));
                    }
                    let failed = |cause| CommandError::File {
                        verb: "make",
                        what: "volume",
                        path: path.clone(),
                        cause,
                    };
                    std::fs::create_dir_all(&path).map_err(failed)?;
                }
                "bind".clone_into(&mut point.kind);
                point.source = path.display().to_string();
                GraftSource::Path(path)
            }
            Kind::Volume(name) => {
                let (volume, is_new) = volumes.create(name.as_deref(), BTreeMap::new(), BTreeMap::new())?;
                let data = volumes.data(&volume.name);
                let is_empty = is_new || data.read_dir().is_ok_and(|mut entries| entries.next().is_none());
                if wanted.copy && is_empty {
                    self.fill.push((data.clone(), target.clone()));
                }
                "volume".clone_into(&mut point.kind);
                point.source = data.display().to_string();
                point.anonymous = volume.anonymous && name.is_none();
                point.name = volume.name;
                GraftSource::Path(data)
            }
            Kind::Tmpfs(size, mode) => {
                "tmpfs".clone_into(&mut point.kind);
                GraftSource::Tmpfs { size, mode }
            }
        };
        self.grafts.push(Graft { target, source, read_only: wanted.read_only });
        self.points.push(point);
        Ok(())
    }
}

/// Without `.`, empty parts and a slash at the end.
fn clean(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `-v [SOURCE:]TARGET[:OPTIONS]`.
fn short(text: &str) -> Result<Wanted, CommandError> {
    let wrong = |why: &str| CommandError::from(UsageError::value("volume", text, why));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(wrong("expected [SOURCE:]TARGET[:OPTIONS]")),
    };
    if source == Some("") || target.is_empty() {
        return Err(wrong("expected [SOURCE:]TARGET[:OPTIONS]"));
    }
    let (mut read_only, mut copy) = (false, true);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "nocopy" => copy = false,
            // Labels and propagation: there is nothing to relabel, and mounts are private.
            "rw" | "z" | "Z" | "rprivate" | "private" | "rslave" | "slave" | "rshared" | "shared"
            | "cached" | "delegated" | "consistent" | "rbind" | "bind" | "U" => {}
            other => return Err(wrong(&format!("unknown option `{other}`"))),
        }
    }
    let kind = match source {
        None => Kind::Volume(None),
        Some(source) if source.starts_with(['/', '.', '~']) => Kind::Bind(absolute(source)?, true),
        Some(name) => Kind::Volume(Some(name.to_owned())),
    };
    Ok(Wanted { kind, target: target.to_owned(), read_only, copy })
}

fn absolute(path: &str) -> Result<PathBuf, CommandError> {
    std::path::absolute(Path::new(path)).map_err(|cause| CommandError::File {
        verb: "find",
        what: "volume",
        path: path.into(),
        cause,
    })
}

/// `--mount type=bind,source=…,target=…`.
fn long(text: &str) -> Result<Wanted, CommandError> {
    let wrong = |why: &str| CommandError::from(UsageError::value("mount", text, why));
    let (mut kind, mut source, mut target) = ("volume", None, None);
    let (mut read_only, mut copy, mut size, mut mode) = (false, true, None, 0o1777);
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, "true"));
        match key {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "dst" | "destination" => target = Some(value),
            "readonly" | "ro" => read_only = value == "true" || value == "1",
            "volume-nocopy" => copy = value != "true" && value != "1",
            "tmpfs-size" => size = Some(limits::bytes("mount", value)?),
            "tmpfs-mode" => {
                mode = u32::from_str_radix(value, 8).map_err(|_| wrong("tmpfs-mode is not octal"))?;
            }
            "bind-propagation" | "consistency" | "volume-driver" | "volume-label" | "volume-opt"
            | "bind-nonrecursive" | "bind-recursive" => {}
            other => return Err(wrong(&format!("unknown key `{other}`"))),
        }
    }
    let target = target.ok_or_else(|| wrong("target is required"))?.to_owned();
    let kind = match (kind, source) {
        ("bind", Some(source)) => Kind::Bind(absolute(source)?, false),
        ("bind", None) => return Err(wrong("source is required for a bind")),
        ("volume", source) => Kind::Volume(source.filter(|name| !name.is_empty()).map(str::to_owned)),
        ("tmpfs", None) => Kind::Tmpfs(size, mode),
        ("tmpfs", Some(_)) => return Err(wrong("a tmpfs has no source")),
        (other, _) => return Err(wrong(&format!("unknown type `{other}`: expected bind, volume or tmpfs"))),
    };
    Ok(Wanted { kind, target, read_only, copy })
}

/// `--tmpfs TARGET[:OPTIONS]`.
fn tmpfs(text: &str) -> Result<Wanted, CommandError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut read_only) = (None, 0o1777, false);
    for option in options.split(',') {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(limits::bytes("tmpfs", value)?),
            Some(("mode", value)) => {
                mode = u32::from_str_radix(value, 8)
                    .map_err(|_| UsageError::value("tmpfs", text, "mode is not octal"))?;
            }
            None if option == "ro" => read_only = true,
            _ => {}
        }
    }
    Ok(Wanted { kind: Kind::Tmpfs(size, mode), target: target.to_owned(), read_only, copy: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_made_plain() {
        for (path, plain) in [("/a/", "/a"), ("/a//b/./c/..", "/a/b"), ("/..", "/"), ("a/b", "a/b")] {
            assert_eq!(clean(path), plain);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for text in ["", ":", ":/a", "a:", "/a:/b:bogus", "/a:/b:ro:x"] {
            assert!(short(text).is_err(), "{text}");
        }
        for text in [
            "",
            "type=bind,target=/a",
            "type=nosuch,target=/a",
            "target=/a,bogus=1",
            "type=tmpfs,source=a,target=/b",
        ] {
            assert!(long(text).is_err(), "{text}");
        }
    }
}
