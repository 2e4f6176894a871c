//! Credential helpers: `docker-credential-<name> get|store|erase`, a program that speaks JSON on its standard streams.

use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{CredentialError, Login, Secret};

/// The user name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What helpers print when they have nothing.
const NOT_FOUND: &str = "credentials not found";

/// One helper program.
pub(super) struct Helper {
    pub(super) program: String,
    pub(super) timeout: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exchange {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    pub(super) fn new(name: &str, timeout: Duration) -> Self {
        Self { program: format!("docker-credential-{name}"), timeout }
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Login>, CredentialError> {
        let Some(output) = self.run("get", key.as_bytes()).await? else { return Ok(None) };
        let Exchange { username, secret, .. } = serde_json::from_slice(&output)
            .map_err(|_| self.error("it answered with something that is not its protocol"))?;
        let secret = Secret::new(secret);
        Ok(match username.as_str() {
            _ if secret.reveal().is_empty() => None,
            TOKEN_USER => Some(Login::IdentityToken(secret)),
            _ => Some(Login::Password { user: username, secret }),
        })
    }

    pub(super) async fn store(&self, key: &str, login: &Login) -> Result<(), CredentialError> {
        let (username, secret) = match login {
            Login::Password { user, secret } => (user.clone(), secret),
            Login::IdentityToken(token) => (TOKEN_USER.to_owned(), token),
            Login::RegistryToken(_) => return Err(self.error("helpers keep no registry tokens")),
        };
        let exchange = Exchange { server_url: key.to_owned(), username, secret: secret.reveal().to_owned() };
        let input = serde_json::to_vec(&exchange).map_err(|e| self.error(&e.to_string()))?;
        self.run("store", &input).await.map(|_| ())
    }

    /// Says whether there was something to erase.
    pub(super) async fn erase(&self, key: &str) -> Result<bool, CredentialError> {
        let had = self.get(key).await?.is_some();
        if had {
            self.run("erase", key.as_bytes()).await?;
        }
        Ok(had)
    }

    /// The standard output, or `None` if the helper says that it has nothing.
    async fn run(&self, verb: &str, input: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| self.error(&format!("cannot be started: {cause}")))?;
        let mut stdin = child.stdin.take();
        let exchange = async {
            if let Some(pipe) = &mut stdin {
                // A helper that does not read its input has said what it wants to say by its exit code.
                let _ = pipe.write_all(input).await;
            }
            drop(stdin);
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| self.error(&format!("no answer within {} s", self.timeout.as_secs())))?
            .map_err(|cause| self.error(&cause.to_string()))?;
        if output.status.success() {
            return Ok(Some(output.stdout));
        }
        // The protocol has errors on standard output; some helpers use the other.
        let said =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        if said.iter().any(|text| text.contains(NOT_FOUND)) {
            return Ok(None);
        }
        let words = said.into_iter().find(|text| !text.is_empty());
        let words = words.unwrap_or_else(|| output.status.to_string());
        Err(self.error(&words.chars().take(300).collect::<String>()))
    }

    fn error(&self, reason: &str) -> CredentialError {
        CredentialError::Helper { program: self.program.clone(), reason: reason.to_owned() }
    }
}
