//! Who one is at a registry: Docker's and podman's files, credential helpers, or what the caller says.

mod file;
mod helper;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_core::DEFAULT_REGISTRY;
use tokio::sync::Mutex;

use file::ConfigFile;
use helper::Helper;

/// Docker Hub's key in files and helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A text that is never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent or stored.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How one shows who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user name with a password or access token.
    Password {
        /// The user's name.
        user: String,
        /// The password or access token.
        secret: Secret,
    },
    /// A refresh token of an OAuth2 token server (`identitytoken`, or a helper's user name `<token>`).
    IdentityToken(Secret),
    /// A bearer token for the registry itself (`registrytoken`).
    RegistryToken(Secret),
}

/// A credential file or helper that does not work.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file exists but cannot be read.
    #[error("read credentials from `{}`: {cause}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The file is not what Docker writes.
    #[error("read credentials from `{}`: {reason}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be written.
    #[error("write credentials to `{}`: {cause}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The helper is missing, fails, hangs or answers nonsense.
    #[error("credential helper `{program}`: {reason}")]
    Helper {
        /// The program's name.
        program: String,
        /// What it did.
        reason: String,
    },
}

/// Where a login was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In a file, readable by its owner, but not encrypted.
    File(PathBuf),
    /// With a credential helper.
    Helper(String),
}

/// Sources of logins, asked in order, and what they answered.
#[derive(Debug, Clone)]
pub struct Credentials {
    fixed: BTreeMap<String, Login>,
    files: Vec<PathBuf>,
    helper_timeout: Duration,
    /// By `registry/repository`, and by `helper registry`.
    known: Arc<Mutex<BTreeMap<String, Option<Login>>>>,
}

impl Credentials {
    /// Nobody anywhere.
    pub fn none() -> Self {
        Self::from_files(Vec::new())
    }

    /// What the files say, Docker's `config.json` or podman's `auth.json`, in this order. They are read when a
    /// registry first asks; a file that does not exist says nothing.
    pub fn from_files(files: Vec<PathBuf>) -> Self {
        Self { fixed: BTreeMap::new(), files, helper_timeout: Duration::from_secs(60), known: Arc::default() }
    }

    /// The same, with `login` for `registry` before all files.
    #[must_use]
    pub fn with(mut self, registry: &str, login: Login) -> Self {
        self.fixed.insert(registry.to_owned(), login);
        self.known = Arc::default();
        self
    }

    /// The same, with another limit for a helper's answer.
    #[must_use]
    pub fn with_helper_timeout(self, helper_timeout: Duration) -> Self {
        Self { helper_timeout, ..self }
    }

    /// The login for a repository of a registry. Each helper is asked once a registry.
    ///
    /// # Errors
    /// A file or helper that does not work.
    pub async fn get(&self, registry: &str, repository: &str) -> Result<Option<Login>, CredentialError> {
        if let Some(login) = self.fixed.get(registry) {
            return Ok(Some(login.clone()));
        }
        let name = format!("{registry}/{repository}");
        // Held while a helper runs, so that parallel layers ask it once.
        let mut known = self.known.lock().await;
        if let Some(login) = known.get(&name) {
            return Ok(login.clone());
        }
        let login = self.look_up(registry, &name, &mut known).await?;
        known.insert(name, login.clone());
        Ok(login)
    }

    async fn look_up(
        &self,
        registry: &str,
        name: &str,
        known: &mut BTreeMap<String, Option<Login>>,
    ) -> Result<Option<Login>, CredentialError> {
        for path in &self.files {
            let Some(file) = ConfigFile::read(path)? else { continue };
            if let Some(helper) = self.helper_of(&file, registry) {
                // Helpers know registries, not repositories. No name has a space.
                let question = format!("{} {registry}", helper.program());
                let login = match known.get(&question) {
                    Some(login) => login.clone(),
                    None => helper.get(helper_key(registry)).await?,
                };
                known.insert(question, login.clone());
                if login.is_some() {
                    return Ok(login);
                }
            }
            if let Some(login) = file.login(name)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    fn helper_of(&self, file: &ConfigFile, registry: &str) -> Option<Helper> {
        file.helper(registry).map(|name| Helper::new(&name, self.helper_timeout))
    }

    /// Remembers `login` in `file` (made if absent, mode 600, replaced in one step) or with the helper that the file
    /// names for this registry.
    ///
    /// # Errors
    /// An unreadable file, a full disk, a helper that fails.
    pub async fn store(&self, file: &Path, registry: &str, login: &Login) -> Result<Stored, CredentialError> {
        let mut config = ConfigFile::read(file)?.unwrap_or_else(|| ConfigFile::empty(file));
        self.known.lock().await.clear();
        if let Some(helper) = self.helper_of(&config, registry) {
            helper.store(helper_key(registry), login).await?;
            // Docker keeps an empty entry, so that other tools see that there is a login.
            config.set(file_key(registry), None);
            config.write()?;
            return Ok(Stored::Helper(helper.program().to_owned()));
        }
        config.set(file_key(registry), Some(login));
        config.write()?;
        Ok(Stored::File(file.to_owned()))
    }

    /// Forgets the login for `registry` in `file` and with its helper. Says whether the file had one.
    ///
    /// # Errors
    /// As for [`Credentials::store`].
    pub async fn erase(&self, file: &Path, registry: &str) -> Result<bool, CredentialError> {
        let Some(mut config) = ConfigFile::read(file)? else { return Ok(false) };
        self.known.lock().await.clear();
        let mut had = false;
        if let Some(helper) = self.helper_of(&config, registry) {
            had = helper.erase(helper_key(registry)).await?;
        }
        if config.remove(registry) {
            config.write()?;
            had = true;
        }
        Ok(had)
    }
}

/// What helpers call a registry.
fn helper_key(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { HUB_KEY } else { registry }
}

/// What files call a registry.
fn file_key(registry: &str) -> &str {
    helper_key(registry)
}
