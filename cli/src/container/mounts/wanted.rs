//! One mount as flags ask for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::container::volume;
use crate::error::CommandError;
use crate::request::{UsageError, limits, pairs};

/// One mount as asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) target: String,
    pub(super) read_only: bool,
    /// Of a volume: whether it begins with what the image has there.
    pub(super) copy: bool,
    /// Of a bind: without what is mounted below its source.
    pub(super) alone: bool,
    /// Of a volume that is made for it.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) options: BTreeMap<String, String>,
}

impl Wanted {
    pub(super) fn new(kind: Kind, target: String) -> Self {
        Self {
            kind,
            target,
            read_only: false,
            copy: true,
            alone: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        }
    }
}

#[derive(Debug)]
pub(super) enum Kind {
    /// An absolute path of the host; whether it is made if it is missing.
    Bind(PathBuf, bool),
    /// A name, or none for one that goes with the container.
    Volume(Option<String>),
    /// Bytes and permission bits, and what is refused of programs on it.
    Tmpfs { size: Option<u64>, mode: u32, no_exec: bool, no_suid: bool },
}

/// Without `.`, empty parts and a slash at the end.
pub(super) fn clean(path: &str) -> String {
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
pub(super) fn short(text: &str) -> Result<Wanted, CommandError> {
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
    Ok(Wanted { read_only, copy, ..Wanted::new(kind, target.to_owned()) })
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
pub(super) fn long(text: &str) -> Result<Wanted, CommandError> {
    let wrong = |why: &str| CommandError::from(UsageError::value("mount", text, why));
    let (mut kind, mut source, mut target) = ("volume".to_owned(), None, None);
    let (mut read_only, mut copy, mut alone, mut size, mut mode) = (false, true, false, None, 0o1777);
    let (mut labels, mut options) = (Vec::new(), Vec::new());
    let is_true = |value: &str| value == "true" || value == "1";
    for field in fields(text) {
        let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
        match key {
            "type" => value.clone_into(&mut kind),
            "source" | "src" => source = Some(value.to_owned()),
            "target" | "dst" | "destination" => target = Some(value.to_owned()),
            "readonly" | "ro" => read_only = is_true(value),
            "volume-nocopy" => copy = !is_true(value),
            "volume-label" => labels.push(value.to_owned()),
            "volume-opt" => options.push(value.to_owned()),
            "volume-driver" if value == "local" => {}
            "volume-driver" => return Err(wrong("there is no volume driver but local")),
            "bind-nonrecursive" => alone = is_true(value),
            // Those below are read-only with it.
            "bind-recursive" if value == "enabled" || value == "readonly" => {}
            "bind-recursive" if value == "disabled" => alone = true,
            "bind-recursive" => return Err(wrong("bind-recursive: expected enabled, disabled or readonly")),
            "tmpfs-size" => size = Some(limits::bytes("mount", value)?),
            "tmpfs-mode" => {
                mode = u32::from_str_radix(value, 8).map_err(|_| wrong("tmpfs-mode is not octal"))?;
            }
            "bind-propagation" | "consistency" => {}
            other => return Err(wrong(&format!("unknown key `{other}`"))),
        }
    }
    let target = target.ok_or_else(|| wrong("target is required"))?;
    let kind = match (kind.as_str(), source) {
        ("bind", Some(source)) => Kind::Bind(absolute(&source)?, false),
        ("bind", None) => return Err(wrong("source is required for a bind")),
        ("volume", source) => Kind::Volume(source.filter(|name| !name.is_empty())),
        ("tmpfs", None) => Kind::Tmpfs { size, mode, no_exec: true, no_suid: true },
        ("tmpfs", Some(_)) => return Err(wrong("a tmpfs has no source")),
        (other, _) => return Err(wrong(&format!("unknown type `{other}`: expected bind, volume or tmpfs"))),
    };
    let (labels, options) = (pairs::labels(&labels), volume::options(&options)?);
    Ok(Wanted { read_only, copy, alone, labels, options, ..Wanted::new(kind, target) })
}

/// The fields of a line of comma-separated values: one in quotes may have commas in it, as Docker reads them.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => fields.last_mut().expect("there is always a last field").push(letter),
        }
    }
    fields
}

/// `--tmpfs TARGET[:OPTIONS]`.
pub(super) fn tmpfs(text: &str) -> Result<Wanted, CommandError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut read_only) = (None, 0o1777, false);
    // Docker's defaults; devices are refused in any case.
    let (mut no_exec, mut no_suid) = (true, true);
    for option in options.split(',') {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(limits::bytes("tmpfs", value)?),
            Some(("mode", value)) => {
                mode = u32::from_str_radix(value, 8)
                    .map_err(|_| UsageError::value("tmpfs", text, "mode is not octal"))?;
            }
            None => match option {
                "ro" => read_only = true,
                "exec" => no_exec = false,
                "suid" => no_suid = false,
                "" | "rw" | "noexec" | "nosuid" | "nodev" | "noatime" | "relatime" | "nodiratime"
                | "private" | "rprivate" => {}
                _ => {
                    let problem =
                        format!("unknown option `{option}`: there are size, mode, ro, exec and suid");
                    return Err(UsageError::value("tmpfs", text, &problem).into());
                }
            },
            Some(_) => {
                return Err(
                    UsageError::value("tmpfs", text, "there are size, mode, ro, exec and suid").into()
                );
            }
        }
    }
    let kind = Kind::Tmpfs { size, mode, no_exec, no_suid };
    Ok(Wanted { read_only, ..Wanted::new(kind, target.to_owned()) })
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
            "type=bind,source=/a,target=/b,bind-recursive=writable",
            "type=volume,target=/b,volume-opt=type=nfs",
            "type=volume,target=/b,volume-driver=other",
        ] {
            assert!(long(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quotes_hold_commas_together() {
        assert_eq!(fields("a=1,\"b=2,3\",c"), ["a=1", "b=2,3", "c"]);
        let wanted =
            long("type=volume,source=v,target=/t,\"volume-opt=o=bind,ro\",volume-opt=device=/d").unwrap();
        assert_eq!(wanted.options["o"], "bind,ro");
    }
}
