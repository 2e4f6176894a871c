//! Docker's `config.json` and podman's `auth.json`: read as they are, written back with everything kiln does not know.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use kiln_core::DEFAULT_REGISTRY;
use serde_json::{Map, Value};

use super::{CredentialError, Login, Secret};

/// Some tools leave the padding out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One file, with all its fields.
pub(super) struct ConfigFile {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl ConfigFile {
    pub(super) fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), fields: Map::new() }
    }

    /// `None` if there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CredentialError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(cause) => return Err(CredentialError::Read { path: path.to_owned(), cause }),
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(Some(Self::empty(path)));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Some(Self { path: path.to_owned(), fields })),
            Ok(_) => Err(parse_error(path, "it is no JSON object")),
            // Not serde's message in full: it may quote a part of the file.
            Err(e) => Err(parse_error(path, &format!("no JSON at line {} column {}", e.line(), e.column()))),
        }
    }

    /// The suffix of the helper program for `registry`.
    pub(super) fn helper(&self, registry: &str) -> Option<String> {
        let helpers = self.fields.get("credHelpers").and_then(Value::as_object);
        let own = helpers.into_iter().flatten().find(|(key, _)| registry_of(key) == registry);
        let store = self.fields.get("credsStore");
        let name = own.map(|(_, name)| name).or(store)?.as_str()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// The login of the longest key that is `name` (`registry/repository`) or a part of its path.
    pub(super) fn login(&self, name: &str) -> Result<Option<Login>, CredentialError> {
        let auths = self.fields.get("auths").and_then(Value::as_object);
        let mut found: Vec<(String, &Value)> = auths
            .into_iter()
            .flatten()
            .map(|(key, entry)| (path_of(key), entry))
            .filter(|(path, _)| name == path || name.starts_with(&format!("{path}/")))
            .collect();
        found.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        for (_, entry) in found {
            if let Some(login) = self.entry(entry)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    fn entry(&self, entry: &Value) -> Result<Option<Login>, CredentialError> {
        let field = |name: &str| entry[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(token) = field("identitytoken") {
            return Ok(Some(Login::IdentityToken(Secret::new(token))));
        }
        if let Some(token) = field("registrytoken") {
            return Ok(Some(Login::RegistryToken(Secret::new(token))));
        }
        if let Some(auth) = field("auth") {
            let bad = || parse_error(&self.path, "an `auth` is not base64 of user:password");
            let bytes = LENIENT.decode(auth.trim()).map_err(|_| bad())?;
            let text = String::from_utf8(bytes).map_err(|_| bad())?;
            let (user, secret) = text.split_once(':').ok_or_else(bad)?;
            let secret = Secret::new(secret.trim_end_matches('\0'));
            return Ok(Some(Login::Password { user: user.to_owned(), secret }));
        }
        match (field("username"), field("password")) {
            (Some(user), Some(secret)) => Ok(Some(Login::Password { user, secret: Secret::new(secret) })),
            _ => Ok(None),
        }
    }

    /// Sets the entry of `key`; `None` leaves a mark without a secret.
    pub(super) fn set(&mut self, key: &str, login: Option<&Login>) {
        let entry = match login {
            None => serde_json::json!({}),
            Some(Login::Password { user, secret }) => {
                serde_json::json!({ "auth": STANDARD.encode(format!("{user}:{}", secret.reveal())) })
            }
            Some(Login::IdentityToken(token)) => {
                serde_json::json!({ "auth": STANDARD.encode("00000000-0000-0000-0000-000000000000:"), "identitytoken": token.reveal() })
            }
            Some(Login::RegistryToken(token)) => serde_json::json!({ "registrytoken": token.reveal() }),
        };
        self.remove(registry_of(key));
        let auths = self.fields.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        auths[key] = entry;
    }

    /// Removes the entries of `registry`, however they are written. Says whether there was one.
    pub(super) fn remove(&mut self, registry: &str) -> bool {
        let Some(auths) = self.fields.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|key, _| path_of(key) != registry);
        auths.len() < before
    }

    /// Replaces the file in one step, readable by its owner alone.
    pub(super) fn write(&self) -> Result<(), CredentialError> {
        // A link is followed: people keep config.json in a repository of dotfiles.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let failed = |cause| CredentialError::Write { path: path.clone(), cause };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let mut text = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
        serde::Serialize::serialize(&self.fields, &mut serializer).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|e| failed(e.error))?;
        Ok(())
    }
}

/// A key of `auths` as `registry[/path]`, in the names that references have.
fn path_of(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    // Keys that are URLs are Docker's old form: only their host counts.
    let path = match bare {
        Some(url) => url.split('/').next().unwrap_or(url),
        None => key.trim_end_matches('/'),
    };
    let (host, rest) = path.split_once('/').map_or((path, None), |(host, rest)| (host, Some(rest)));
    let rest = rest.filter(|rest| !matches!(*rest, "v1" | "v2"));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    rest.map_or_else(|| host.to_owned(), |rest| format!("{host}/{rest}"))
}

/// The registry of a key.
fn registry_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match bare.split('/').next().unwrap_or(bare) {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        host => host,
    }
}

fn parse_error(path: &Path, reason: &str) -> CredentialError {
    CredentialError::Parse { path: path.to_owned(), reason: reason.to_owned() }
}
