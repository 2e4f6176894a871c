//! Where containers are kept, and finding one by what people call it.
//!
//! ```text
//! containers/names/<name>      a link to the id: making it is what makes a name unique
//! containers/<id>/config.json  what it is; without it there is no container
//!                 state.json   how it fares
//!                 name         what it is called
//!                 lock         locked (flock) by the supervisor as long as it lives
//!                 socket       where the supervisor is spoken to
//!                 log, log.1…  what it wrote
//!                 layer/tree   its writable layer; work is overlayfs's
//! ```
//!
//! Liveness is the lock's alone: the kernel takes it away with the supervisor, however that ends.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::Config;
use super::error::ContainerError;
use super::state::State;
use super::{id, name};
use crate::environment::{boot_id, rfc3339};

/// All containers of a store.
#[derive(Debug, Clone)]
pub(crate) struct Containers {
    place: PathBuf,
}

/// The directory of one.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
}

impl Containers {
    /// Those under the store `root`, which need not exist yet.
    pub(crate) fn of(root: &Path) -> Self {
        Self { place: root.join("containers") }
    }

    /// Where they are.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// A new directory, no container yet: nobody finds it before [`Container::write_config`].
    pub(crate) fn make(&self) -> Result<Container, ContainerError> {
        let id = id::new();
        let path = self.place.join(&id);
        let made = match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.place.join("names")).and_then(|()| fs::create_dir(&path))
            }
            made => made,
        };
        made.map_err(ContainerError::file("make", &path))?;
        Ok(Container { id, path })
    }

    /// Gives a container a name, one of its own choice if `wanted` is none.
    pub(crate) fn claim(
        &self,
        container: &Container,
        wanted: Option<&str>,
    ) -> Result<String, ContainerError> {
        let claimed = match wanted {
            Some(wanted) => {
                let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
                if !name::is_valid(wanted) {
                    return Err(ContainerError::Name(wanted.to_owned()));
                }
                self.link(wanted, &container.id)?;
                wanted.to_owned()
            }
            None => {
                let mut attempt = 0;
                loop {
                    let random = name::random(attempt);
                    match self.link(&random, &container.id) {
                        Ok(()) => break random,
                        Err(ContainerError::NameInUse { .. }) => attempt += 1,
                        Err(error) => return Err(error),
                    }
                }
            }
        };
        container.replace("name", claimed.as_bytes())?;
        Ok(claimed)
    }

    fn link(&self, name: &str, id: &str) -> Result<(), ContainerError> {
        let path = self.place.join("names").join(name);
        loop {
            match std::os::unix::fs::symlink(format!("../{id}"), &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let by = self.named(name);
                    if let Some(by) = by.filter(|by| by.path.exists()) {
                        let by = id::short(&by.id).to_owned();
                        return Err(ContainerError::NameInUse { name: name.to_owned(), by });
                    }
                    // Its container is gone, by a kill between two steps of its removal.
                    self.unlink(name)?;
                }
                made => return made.map_err(ContainerError::file("make", path)),
            }
        }
    }

    /// Takes a name away.
    pub(crate) fn unlink(&self, name: &str) -> Result<(), ContainerError> {
        let path = self.place.join("names").join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ContainerError::file("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Gives a container another name.
    pub(crate) fn rename(&self, container: &Container, to: &str) -> Result<(), ContainerError> {
        let before = container.name();
        self.claim(container, Some(to))?;
        self.unlink(&before)
    }

    fn named(&self, name: &str) -> Option<Container> {
        let target = fs::read_link(self.place.join("names").join(name)).ok()?;
        let id = target.file_name()?.to_str()?.to_owned();
        Some(Container { path: self.place.join(&id), id })
    }

    /// Finds a container by name, id, or the beginning of its id.
    pub(crate) fn find(&self, text: &str) -> Result<Container, ContainerError> {
        let missing = || ContainerError::Missing(text.to_owned());
        let plain = text.strip_prefix('/').unwrap_or(text);
        let is_digits = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_hexdigit());
        if is_digits && plain.len() == 64 {
            let container = Container { id: plain.to_owned(), path: self.place.join(plain) };
            return if container.exists() { Ok(container) } else { Err(missing()) };
        }
        if name::is_valid(plain)
            && let Some(container) = self.named(plain).filter(Container::exists)
        {
            return Ok(container);
        }
        if !is_digits {
            return Err(missing());
        }
        let mut found = self.all()?.into_iter().filter(|container| container.id.starts_with(plain));
        match (found.next(), found.next()) {
            (None, _) => Err(missing()),
            (Some(container), None) => Ok(container),
            (Some(_), Some(_)) => Err(ContainerError::Ambiguous(text.to_owned())),
        }
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Result<Vec<Container>, ContainerError> {
        let entries = match fs::read_dir(&self.place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ContainerError::file("list", &self.place)(error)),
        };
        let containers = entries.flatten().filter_map(|entry| {
            let id = entry.file_name().into_string().ok().filter(|id| id.len() == 64)?;
            let container = Container { id, path: entry.path() };
            container.exists().then_some(container)
        });
        Ok(containers.collect())
    }
}

impl Container {
    fn exists(&self) -> bool {
        self.path.join("config.json").exists()
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        fs::read_to_string(self.path.join("name")).unwrap_or_else(|_| id::short(&self.id).to_owned())
    }

    /// The container exists from here on.
    pub(crate) fn write_config(&self, config: &Config) -> Result<(), ContainerError> {
        self.write("state.json", &State::new())?;
        self.write("config.json", config)
    }

    pub(crate) fn config(&self) -> Result<Config, ContainerError> {
        self.read("config.json")
    }

    /// As the supervisor wrote it last.
    pub(crate) fn written_state(&self) -> Result<State, ContainerError> {
        self.read("state.json")
    }

    /// How it really fares: a state that only a living supervisor can have is believed only if there is one.
    pub(crate) fn state(&self) -> Result<State, ContainerError> {
        let state = self.written_state()?;
        if !state.status.is_active() || self.has_supervisor() {
            return Ok(state);
        }
        // It may have ended meanwhile and said so.
        let state = self.written_state()?;
        if !state.status.is_active() {
            return Ok(state);
        }
        let noticed = fs::metadata(self.path.join("state.json")).and_then(|metadata| metadata.modified());
        Ok(state.without_supervisor(&boot_id(), noticed.map(rfc3339).unwrap_or_default()))
    }

    pub(crate) fn write_state(&self, state: &State) -> Result<(), ContainerError> {
        self.write("state.json", state)
    }

    fn has_supervisor(&self) -> bool {
        let Ok(lock) = File::open(self.path.join("lock")) else { return false };
        matches!(flock(&lock, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
    }

    /// Becomes its supervisor, as far as others see; waits for one that is about to end.
    pub(crate) fn lock(&self) -> Result<File, ContainerError> {
        let path = self.path.join("lock");
        let failed = |error| ContainerError::file("lock", &path)(error);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|errno| ContainerError::file("lock", &path)(errno.into()))?;
        Ok(file)
    }

    fn read<T: DeserializeOwned>(&self, file: &str) -> Result<T, ContainerError> {
        let path = self.path.join(file);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ContainerError::Missing(id::short(&self.id).to_owned()));
            }
            Err(error) => return Err(ContainerError::file("read", path)(error)),
        };
        serde_json::from_slice(&text).map_err(|cause| ContainerError::Document { path, cause })
    }

    fn write(&self, file: &str, value: &impl Serialize) -> Result<(), ContainerError> {
        let path = self.path.join(file);
        let text = serde_json::to_vec(value).map_err(|cause| ContainerError::Document { path, cause })?;
        self.replace(file, &text)
    }

    fn replace(&self, file: &str, text: &[u8]) -> Result<(), ContainerError> {
        let path = self.path.join(file);
        let half = self.path.join(format!(".{file}"));
        let written = fs::write(&half, text).and_then(|()| fs::rename(&half, &path));
        written.map_err(ContainerError::file("write", path))
    }

    /// Takes the whole directory away, name first: nobody finds it from here on.
    pub(crate) fn remove(&self, containers: &Containers) -> Result<(), ContainerError> {
        let name = self.name();
        if containers.named(&name).is_some_and(|named| named.id == self.id) {
            containers.unlink(&name)?;
        }
        let gone = containers.place.join(format!(".gone-{}", self.id));
        match fs::rename(&self.path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(ContainerError::file("remove", &self.path))?,
        }
        // A supervisor that was about to end may still write here.
        remove_tree(&gone).map_err(ContainerError::file("remove", gone))
    }
}

/// Removes a tree whose directories its owner may not enter, perhaps.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn open_up(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
