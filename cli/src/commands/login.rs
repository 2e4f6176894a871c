//! `kiln login` and `kiln logout`

use std::io::{BufRead, IsTerminal, Read, Write};

use kiln_registry::{Client, Login, Secret, Stored};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{CommandError, print};
use crate::args::{LoginArgs, LogoutArgs};
use crate::environment::Environment;
use crate::wiring::{client_options, runtime};

/// Checks a login with its registry and remembers it in Docker's `config.json` or the helper that this names.
///
/// # Errors
/// If the registry refuses it, or it cannot be stored.
pub(crate) fn login(args: &LoginArgs, environment: &Environment) -> Result<(), CommandError> {
    let registry = registry(args.server.as_deref());
    if args.password.is_some() && args.password_stdin {
        return Err(CommandError::Usage("--password and --password-stdin exclude each other".to_owned()));
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None if args.password_stdin => {
            return Err(CommandError::Usage("--password-stdin needs --username".to_owned()));
        }
        None => ask("Username: ", true)?,
    };
    let secret = match &args.password {
        Some(password) => {
            eprintln!(
                "warning: --password shows in the list of processes and the shell's history: use --password-stdin"
            );
            password.clone()
        }
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin().take(64 << 10).read_to_string(&mut text).map_err(CommandError::Input)?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => ask("Password: ", false)?,
    };
    if user.is_empty() || secret.is_empty() {
        return Err(CommandError::Usage("a login needs a user name and a password".to_owned()));
    }
    let login = Login::Password { user, secret: Secret::new(secret) };
    let options = client_options(environment);
    let credentials = options.credentials.clone();
    let file = environment.docker_config_dir().join("config.json");
    let stored = runtime()?.block_on(async {
        Client::new(options).login_check(&registry, &login).await?;
        Ok::<_, CommandError>(credentials.store(&file, &registry, &login).await?)
    })?;
    if let Stored::File(path) = stored {
        eprintln!("warning: the password is stored unencrypted in {}", path.display());
    }
    print("Login Succeeded\n")
}

/// Forgets a login.
///
/// # Errors
/// If the file cannot be changed.
pub(crate) fn logout(args: &LogoutArgs, environment: &Environment) -> Result<(), CommandError> {
    let registry = registry(args.server.as_deref());
    let file = environment.docker_config_dir().join("config.json");
    let credentials = client_options(environment).credentials;
    let had = runtime()?.block_on(credentials.erase(&file, &registry))?;
    let text = if had { "Removed the login for" } else { "Not logged in to" };
    print(&format!("{text} {registry}\n"))
}

/// The registry of a server as typed: without scheme and path; Docker Hub by any of its names.
fn registry(server: Option<&str>) -> String {
    let server = server.unwrap_or(kiln_core::DEFAULT_REGISTRY);
    let host = server.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or(host);
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => kiln_core::DEFAULT_REGISTRY.to_owned(),
        host => host.to_owned(),
    }
}

/// Asks at the terminal; what is secret is not shown.
fn ask(prompt: &str, show: bool) -> Result<String, CommandError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CommandError::Usage(
            "there is no terminal to ask at: give --username and --password-stdin".to_owned(),
        ));
    }
    eprint!("{prompt}");
    // A prompt that cannot be shown is no reason not to read.
    let _ = std::io::stderr().flush();
    let before = tcgetattr(&stdin).map_err(|error| CommandError::Input(error.into()))?;
    if !show {
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &hidden)
            .map_err(|error| CommandError::Input(error.into()))?;
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if !show {
        // The terminal may have gone.
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
        eprintln!();
    }
    read.map_err(CommandError::Input)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_registry_however_it_is_typed() {
        for (typed, meant) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("localhost:5000"), "localhost:5000"),
            (Some("https://ghcr.io/"), "ghcr.io"),
        ] {
            assert_eq!(registry(typed), meant);
        }
    }
}
