//! `--secret` and `--ssh`.

use std::io::Read;
use std::path::PathBuf;

use crate::environment::Environment;
use crate::output::csv_fields;
use crate::request::UsageError;

/// Where a secret's value comes from. The value itself is read when a step asks for it, and kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretFrom {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

/// The largest secret, BuildKit's.
const LIMIT: u64 = 500 << 10;

impl SecretFrom {
    /// The value of the secret `id`.
    ///
    /// # Errors
    /// If there is none, or it is larger than 500 KiB.
    pub(crate) fn read(&self, id: &str, environment: &Environment) -> Result<Vec<u8>, UsageError> {
        match self {
            Self::Variable(name) => match environment.get(name) {
                Some(value) => Ok(value.as_bytes().to_vec()),
                None => Err(UsageError::value("secret", id, &format!("the variable {name} is not set"))),
            },
            Self::File(path) => {
                let fail = |cause| UsageError::Read { what: "secret", path: path.clone(), cause };
                let mut value = Vec::new();
                let file = std::fs::File::open(path).map_err(fail)?;
                file.take(LIMIT + 1).read_to_end(&mut value).map_err(fail)?;
                if value.len() as u64 > LIMIT {
                    return Err(fail(std::io::Error::new(
                        std::io::ErrorKind::FileTooLarge,
                        "larger than 500 KiB",
                    )));
                }
                Ok(value)
            }
        }
    }
}

/// `id=ID[,src=PATH][,env=NAME][,type=file|env]`: the id and where its value comes from. Without a source, a variable of
/// that name if `has_variable` says that there is one, else a file of that name.
pub(crate) fn secret(
    text: &str,
    has_variable: impl Fn(&str) -> bool,
) -> Result<(String, SecretFrom), UsageError> {
    let wrong = |why: &str| UsageError::value("secret", text, why);
    let (mut id, mut path, mut variable, mut kind) = (None, None, None, None);
    for field in csv_fields(text) {
        let (key, value) =
            field.split_once('=').ok_or_else(|| wrong("expected id=ID,src=PATH or id=ID,env=NAME"))?;
        let slot = match key.to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut path,
            "env" => &mut variable,
            "type" => &mut kind,
            _ => return Err(wrong(&format!("unknown key `{key}`, expected id, src, env or type"))),
        };
        *slot = Some(value.to_owned());
    }
    let kind = kind.as_deref();
    if !matches!(kind, None | Some("file" | "env")) {
        return Err(wrong("type is neither file nor env"));
    }
    // With type=env, `src` names the variable.
    if kind == Some("env") && variable.is_none() {
        variable = path.take();
    }
    let id = id.or_else(|| path.clone()).filter(|id| !id.is_empty()).ok_or_else(|| wrong("no id"))?;
    let from = match (path, variable) {
        (_, Some(name)) => SecretFrom::Variable(name),
        (Some(path), None) => SecretFrom::File(path.into()),
        (None, None) if kind == Some("env") || (kind.is_none() && has_variable(&id)) => {
            SecretFrom::Variable(id.clone())
        }
        (None, None) => SecretFrom::File(id.clone().into()),
    };
    Ok((id, from))
}

/// `default`, `ID=SOCKET`: the id and the agent's socket.
pub(crate) fn ssh(text: &str, agent: Option<&str>) -> Result<(String, PathBuf), UsageError> {
    let (id, path) = text.split_once('=').map_or((text, None), |(id, path)| (id, Some(path)));
    let path = path.map(|path| path.split(',').next().unwrap_or(path)).or(agent).ok_or_else(|| {
        UsageError::value(
            "ssh",
            text,
            "SSH_AUTH_SOCK is not set: start an agent, or give its socket as ID=PATH",
        )
    })?;
    Ok((if id.is_empty() { "default" } else { id }.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let file = |path: &str| SecretFrom::File(path.into());
        let variable = |name: &str| SecretFrom::Variable(name.into());
        for (text, id, from) in [
            ("id=a,src=b", "a", file("b")),
            ("id=a,env=B", "a", variable("B")),
            ("id=a,type=env,src=B", "a", variable("B")),
            ("id=HOME", "HOME", variable("HOME")),
            ("id=a", "a", file("a")),
            ("type=env,id=a", "a", variable("a")),
        ] {
            assert_eq!(secret(text, |name| name == "HOME").unwrap(), (id.to_owned(), from), "{text}");
        }
        for bad in ["", "id", "id=a,sorce=b", "src=", "id=a,type=x"] {
            assert!(secret(bad, |_| false).is_err(), "{bad}");
        }
    }

    #[test]
    fn ssh_needs_a_socket() {
        assert_eq!(ssh("default", Some("/agent")).unwrap(), ("default".into(), "/agent".into()));
        assert_eq!(ssh("x=/s", None).unwrap(), ("x".into(), "/s".into()));
        assert!(ssh("default", None).is_err());
    }
}
