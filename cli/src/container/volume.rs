//! Volumes: directories that outlive containers. `volumes/<name>/{_data,config.json}` of the store.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::directory::{Containers, remove_tree};
use super::error::ContainerError;
use super::{id, name};
use crate::environment::{now, rfc3339};
use crate::request::UsageError;

/// All volumes of a store.
#[derive(Debug, Clone)]
pub(crate) struct Volumes {
    place: PathBuf,
}

/// What is written down of a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    /// Nobody named it.
    pub(crate) anonymous: bool,
}

impl Volume {
    /// Whether its options say that it is.
    pub(crate) fn is_read_only(&self) -> bool {
        self.options.get("o").is_some_and(|o| o.split(',').any(|word| word == "ro"))
    }
}

/// Options of Docker's driver `local`, K=V each: those of a directory of the host (`type=none,o=bind,device=DIR`).
///
/// # Errors
/// All others: kiln mounts nothing that has to stay mounted between containers.
pub(crate) fn options(typed: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    let mut options = BTreeMap::new();
    for text in typed {
        let wrong = |why: &str| UsageError::value("opt", text, why);
        let (name, value) = text.split_once('=').ok_or_else(|| wrong("expected NAME=VALUE"))?;
        match name {
            "type" if matches!(value, "none" | "bind" | "") => {}
            "type" if value == "tmpfs" => return Err(wrong("a volume is not in memory: see --tmpfs")),
            "type" => {
                return Err(wrong("a volume is a directory: expected none, with o=bind and device=DIR"));
            }
            "o" if value.split(',').all(|word| matches!(word, "bind" | "rbind" | "ro" | "rw")) => {}
            "o" => return Err(wrong("expected bind, and ro or rw")),
            "device" if value.starts_with('/') => {}
            "device" => return Err(wrong("expected the absolute path of a directory")),
            _ => return Err(wrong("unknown option: there are type, o and device")),
        }
        options.insert(name.to_owned(), value.to_owned());
    }
    let binds = options.get("o").is_some_and(|o| o.split(',').any(|word| word.ends_with("bind")));
    let is_whole = binds && options.contains_key("device");
    if !options.is_empty() && !is_whole {
        let all = typed.join(",");
        return Err(UsageError::value(
            "opt",
            &all,
            "a directory of the host needs type=none, o=bind and device=DIR",
        ));
    }
    Ok(options)
}

/// Volumes that were made for a container that is no container yet: removed again unless they are kept.
#[derive(Debug)]
pub(crate) struct Fresh<'a> {
    volumes: &'a Volumes,
    names: Vec<String>,
}

impl<'a> Fresh<'a> {
    /// None so far.
    pub(crate) fn new(volumes: &'a Volumes) -> Self {
        Self { volumes, names: Vec::new() }
    }

    pub(crate) fn volumes(&self) -> &'a Volumes {
        self.volumes
    }

    /// One more.
    pub(crate) fn add(&mut self, name: &str) {
        self.names.push(name.to_owned());
    }

    /// There is a container that has them.
    pub(crate) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            // The error that led here tells more than one of the removal.
            let _ = self.volumes.remove(name);
        }
    }
}

impl Volumes {
    /// The volumes of the same store.
    pub(crate) fn beside(containers: &Containers) -> Self {
        Self { place: containers.place().with_file_name("volumes") }
    }

    /// Where its files are.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.place.join(name).join("_data")
    }

    /// Where a volume's files are: a directory of the host that it stands for, or its own.
    pub(crate) fn place(&self, volume: &Volume) -> PathBuf {
        volume.options.get("device").map_or_else(|| self.data(&volume.name), PathBuf::from)
    }

    /// Makes a volume, or finds the one of that name; a name of its own choice if there is none. Whether it is new.
    pub(crate) fn create(
        &self,
        wanted: Option<&str>,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<(Volume, bool), ContainerError> {
        let anonymous = wanted.is_none();
        let name = wanted.map_or_else(id::new, str::to_owned);
        if !name::is_valid(&name) {
            let message = format!(
                "invalid volume name `{name}`: only a-z, A-Z, 0-9, `_`, `.`, `-`; for a directory give an absolute path"
            );
            return Err(ContainerError::Refused { code: 125, message });
        }
        if let Some(found) = self.find(&name)? {
            return Ok((found, false));
        }
        let path = self.place.join(&name);
        let volume = Volume { name, created: rfc3339(now()), labels, options, anonymous };
        let text = serde_json::to_vec(&volume)
            .map_err(|cause| ContainerError::Document { path: path.clone(), cause })?;
        // Whole by its rename: nobody sees a volume without its directory.
        let half = self.place.join(format!(".{}", id::new()));
        let made = fs::create_dir_all(half.join("_data"))
            .and_then(|()| fs::write(half.join("config.json"), text))
            .and_then(|()| fs::rename(&half, &path));
        match made {
            // Somebody else was faster.
            Err(_) if path.join("config.json").exists() => {
                let _ = remove_tree(&half);
                Ok((volume, false))
            }
            made => made.map(|()| (volume, true)).map_err(ContainerError::file("make", path)),
        }
    }

    /// The volume of this name.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Volume>, ContainerError> {
        if !name::is_valid(name) {
            return Ok(None);
        }
        let path = self.place.join(name).join("config.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|cause| ContainerError::Document { path, cause }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ContainerError::file("read", path)(error)),
        }
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Result<Vec<Volume>, ContainerError> {
        let entries = match fs::read_dir(&self.place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ContainerError::file("list", &self.place))?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        // Half made or half removed ones begin with a dot, which is no name.
        let found: Result<Vec<_>, _> = names.map(|name| self.find(&name)).collect();
        let mut all: Vec<Volume> = found?.into_iter().flatten().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Removes a volume with all that is in it. What is not there is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ContainerError> {
        let path = self.place.join(name);
        let gone = self.place.join(format!(".{}", id::new()));
        match fs::rename(&path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(ContainerError::file("remove", path))?,
        }
        remove_tree(&gone).map_err(ContainerError::file("remove", gone))
    }
}
