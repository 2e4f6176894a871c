//! `--device` by name, `--allow device`, `--cdi-spec-dir`: what steps and containers may have of the machine's devices.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use kiln_executor::cdi::{self, DeviceRules};

use super::error::UsageError;

/// Where specifications are looked for.
pub(crate) fn directories(given: &[PathBuf]) -> Vec<PathBuf> {
    if given.is_empty() { cdi::DIRECTORIES.map(PathBuf::from).to_vec() } else { given.to_vec() }
}

/// The device at `host`, which may be a link to it, or all of a directory, each with its place at or below `inside`.
///
/// # Errors
/// If there is none.
pub(crate) fn nodes(host: &Path, inside: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let kind = std::fs::metadata(host)?.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Ok(vec![(host.to_owned(), inside.to_owned())]);
    }
    if !kind.is_dir() {
        return Err(io::Error::other("it is no device"));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(host)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        // What else is in there (links, sockets) is no device.
        if kind.is_dir() || kind.is_char_device() || kind.is_block_device() {
            found.extend(
                nodes(&entry.path(), &inside.join(entry.file_name()))
                    .or_else(|error| if kind.is_dir() { Ok(Vec::new()) } else { Err(error) })?,
            );
        }
    }
    if found.is_empty() { Err(io::Error::other("there is no device in it")) } else { Ok(found) }
}

/// What the steps of a build may have. What the command line gives to all of them is allowed by that.
pub(crate) fn rules(directories: Vec<PathBuf>, allow: &[String], every_step: &[String]) -> DeviceRules {
    let names = allow.iter().filter_map(|right| right.strip_prefix("device="));
    let allowed: Vec<String> = names.map(str::to_owned).chain(every_step.iter().cloned()).collect();
    let all = allow.iter().any(|right| right == "device") || allowed.iter().any(|name| name == "*");
    DeviceRules { directories, all, allowed }
}

/// `kiln build --device`: devices by name, each of which must be there.
///
/// # Errors
/// For a value of another form.
pub(crate) fn every_step(values: &[String]) -> Result<Vec<(String, bool)>, UsageError> {
    let name = |value: &String| {
        if cdi::is_name(value) {
            Ok((value.clone(), true))
        } else {
            Err(UsageError::value("device", value, "expected a name of CDI, vendor.com/class=name"))
        }
    };
    values.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_by_name_or_for_all() {
        let rules = |allow: &[&str]| {
            let allow: Vec<String> = allow.iter().map(|&right| right.to_owned()).collect();
            rules(Vec::new(), &allow, &["v.org/gpu=1".to_owned()])
        };
        assert!(rules(&["device"]).all && rules(&["device=*"]).all && !rules(&["network.host"]).all);
        assert_eq!(rules(&["device=v.org/gpu=0"]).allowed, ["v.org/gpu=0", "v.org/gpu=1"]);
        assert!(every_step(&["v.org/gpu=0".to_owned()]).is_ok());
        assert!(every_step(&["/dev/fuse".to_owned()]).is_err() && every_step(&["gpu".to_owned()]).is_err());
    }
}
