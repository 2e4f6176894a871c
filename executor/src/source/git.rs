//! Git repositories as sources, through the `git` program.
//!
//! The repository, the reference and the sub-directory come from a Dockerfile that need not be trusted: the program is
//! called without a shell, never with a word of theirs where an option could stand, with a short list of transports, and
//! without the machine's and the user's configuration, hooks and prompts.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kiln_core::GitSource;

/// Why a repository could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The remote is no URL that kiln hands to git.
    #[error("invalid git remote `{0}`: expected https://, http://, ssh://, git:// or user@host:path")]
    Remote(String),
    /// The reference could be taken for an option, or is no name.
    #[error("invalid git reference `{0}`")]
    Reference(String),
    /// The sub-directory leads out of the repository, or is no directory.
    #[error("invalid subdirectory `{0}` of the git repository")]
    Subdirectory(String),
    /// Nothing of that name is there.
    #[error("repository `{remote}` does not contain ref `{reference}`")]
    NotFound {
        /// Where.
        remote: String,
        /// What.
        reference: String,
    },
    /// Another commit than expected.
    #[error("expected checksum to match {expected}, got {found}")]
    Checksum {
        /// `--checksum`.
        expected: String,
        /// What the reference is.
        found: String,
    },
    /// The program is not there.
    #[error("failed to start git: is it installed?")]
    Program(#[source] io::Error),
    /// The program failed.
    #[error("git {command} failed: {message}")]
    Failed {
        /// Its sub-command.
        command: String,
        /// The end of what it wrote to standard error.
        message: String,
    },
    /// A file of the checkout.
    #[error("failed to prepare the git checkout")]
    Io(#[from] io::Error),
}

/// How `git` is called.
#[derive(Debug, Clone)]
pub struct GitOptions {
    /// The transports that a remote and its submodules may use, git's names.
    pub protocols: Vec<String>,
    /// `Authorization` headers by host; the empty host is that of the repository.
    pub authorization: Vec<(String, String)>,
    /// The socket of the user's SSH agent.
    pub ssh_agent: Option<PathBuf>,
}

impl Default for GitOptions {
    fn default() -> Self {
        let protocols = ["https", "http", "ssh", "git"].map(str::to_owned).to_vec();
        Self { protocols, authorization: Vec::new(), ssh_agent: None }
    }
}

/// A repository as it lies in the store, and how to ask for more of it.
#[derive(Debug)]
pub(crate) struct Repository<'a> {
    pub(crate) source: &'a GitSource,
    pub(crate) options: &'a GitOptions,
    /// The bare repository that keeps what was fetched.
    pub(crate) mirror: &'a Path,
}

impl Repository<'_> {
    /// The commit that the reference means now.
    ///
    /// # Errors
    /// If the remote cannot be asked, or has no such reference.
    pub(crate) fn commit(&self) -> Result<String, GitError> {
        self.check()?;
        let reference = self.source.reference.as_str();
        let commit = if is_commit(reference) { reference.to_owned() } else { self.ask(reference)? };
        match &self.source.checksum {
            Some(expected) if !commit.starts_with(&expected.to_ascii_lowercase()) => {
                Err(GitError::Checksum { expected: expected.clone(), found: commit })
            }
            _ => Ok(commit),
        }
    }

    /// Puts the files of `commit` into the empty directory `into`; returns the directory that becomes the root, and the
    /// commit's time in seconds since 1970.
    ///
    /// # Errors
    /// If it cannot be fetched, or the sub-directory is not there.
    pub(crate) fn checkout(&self, commit: &str, into: &Path) -> Result<(PathBuf, i64), GitError> {
        self.check()?;
        let kept = format!("refs/kiln/{commit}");
        self.fetch(commit, &kept)?;
        self.git(into, &["init", "--quiet", object_format(commit), "."])?;
        let mirror = self.mirror.to_string_lossy().into_owned();
        let from_mirror =
            ["-c", "protocol.file.allow=always", "fetch", "--quiet", "--depth=1", "--no-tags", "--"];
        self.local(into, &[&from_mirror[..], &[&mirror, &format!("+{kept}:{kept}")]].concat())?;
        self.git(into, &["remote", "add", "--", "origin", &self.source.remote])?;
        self.git(into, &["checkout", "--quiet", "--force", "--detach", commit])?;
        if self.source.submodules && into.join(".gitmodules").is_file() {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            // A server of plain files can only be asked for everything.
            if self.git(into, &[&update[..], &["--depth=1"]].concat()).is_err() {
                self.git(into, &update)?;
            }
        }
        let time = self.git(into, &["log", "-1", "--format=%ct", commit])?;
        let seconds = String::from_utf8_lossy(&time.stdout).trim().parse().unwrap_or(0);
        if self.source.keep_git_dir {
            self.git(into, &["remote", "set-url", "--", "origin", &kiln_core::redact(&self.source.remote)])?;
        } else {
            remove_git_files(into)?;
        }
        Ok((subdirectory(into, &self.source.subdir)?, seconds))
    }

    fn check(&self) -> Result<(), GitError> {
        let remote = &self.source.remote;
        let scheme = remote.split_once("://").map(|(scheme, _)| scheme);
        let scp = scheme.is_none() && remote.split_once(':').is_some_and(|(host, _)| host.contains('@'));
        let known = scheme.is_some_and(|scheme| self.options.protocols.iter().any(|p| p == scheme));
        if remote.starts_with('-') || remote.contains('\0') || !(known || scp) || host_is_option(remote) {
            return Err(GitError::Remote(remote.clone()));
        }
        let reference = &self.source.reference;
        let bad = |b: u8| b.is_ascii_control() || b" ~^:?*[\\".contains(&b);
        if reference.starts_with('-') || reference.contains("..") || reference.bytes().any(bad) {
            return Err(GitError::Reference(reference.clone()));
        }
        Ok(())
    }

    /// Asks the remote what a name means. A branch comes before a tag of the same name.
    fn ask(&self, reference: &str) -> Result<String, GitError> {
        let wanted = if reference.is_empty() { "HEAD" } else { reference };
        let remote = &self.source.remote;
        let peeled = format!("{wanted}^{{}}");
        let output = self.git(Path::new("/"), &["ls-remote", "--", remote, wanted, &peeled])?;
        let listing = String::from_utf8_lossy(&output.stdout);
        let find = |name: &str| {
            listing.lines().find_map(|line| {
                let (commit, found) = line.split_once('\t')?;
                (found == name && is_commit(commit)).then(|| commit.to_owned())
            })
        };
        [
            format!("refs/heads/{wanted}"),
            format!("refs/tags/{wanted}^{{}}"),
            format!("refs/tags/{wanted}"),
            format!("{wanted}^{{}}"),
            wanted.to_owned(),
        ]
        .iter()
        .find_map(|name| find(name))
        .ok_or_else(|| GitError::NotFound { remote: remote.clone(), reference: wanted.to_owned() })
    }

    /// Fetches a commit into the mirror, unless it is there.
    fn fetch(&self, commit: &str, kept: &str) -> Result<(), GitError> {
        if !self.mirror.join("HEAD").is_file() {
            std::fs::create_dir_all(self.mirror)?;
            self.git(self.mirror, &["init", "--quiet", "--bare", object_format(commit), "."])?;
        }
        if self.git(self.mirror, &["rev-parse", "--quiet", "--verify", kept]).is_ok() {
            return Ok(());
        }
        let remote = self.source.remote.as_str();
        let alone = format!("+{commit}:{kept}");
        let one = ["fetch", "--quiet", "--force", "--depth=1", "--no-tags", "--", remote, &alone];
        if self.git(self.mirror, &one).is_ok() {
            return Ok(());
        }
        // Servers that do not hand out single commits: everything then.
        let heads = [
            "fetch",
            "--quiet",
            "--force",
            "--",
            remote,
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        ];
        self.git(self.mirror, &heads)?;
        let missing = || GitError::NotFound { remote: remote.to_owned(), reference: commit.to_owned() };
        self.git(self.mirror, &["update-ref", kept, commit]).map_err(|_| missing())?;
        Ok(())
    }

    fn git(&self, directory: &Path, arguments: &[&str]) -> Result<Output, GitError> {
        self.run(directory, arguments, &self.options.protocols.join(":"))
    }

    /// With the mirror on this machine as the remote.
    fn local(&self, directory: &Path, arguments: &[&str]) -> Result<Output, GitError> {
        self.run(directory, arguments, "file")
    }

    fn run(&self, directory: &Path, arguments: &[&str], protocols: &str) -> Result<Output, GitError> {
        let mut command = Command::new("git");
        command.current_dir(directory).args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
        command.args(["-c", "advice.detachedHead=false", "-c", "gc.auto=0", "-c", "init.defaultBranch=main"]);
        command.args(["-c", "core.autocrlf=false", "-c", "safe.directory=*", "-c", "core.symlinks=true"]);
        command.args(arguments).stdin(Stdio::null());
        for variable in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_ASKPASS",
            "SSH_ASKPASS",
        ] {
            command.env_remove(variable);
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", protocols).env("LC_ALL", "C");
        command.env("GIT_SSH_COMMAND", "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new");
        match &self.options.ssh_agent {
            Some(socket) => command.env("SSH_AUTH_SOCK", socket),
            None => command.env_remove("SSH_AUTH_SOCK"),
        };
        // In the environment, not among the arguments, which every user of the machine can read.
        // And only for the host that it is meant for: a submodule may lie elsewhere.
        let origin = origin(&self.source.remote);
        let headers = self.options.authorization.iter().filter_map(|(host, header)| {
            let place = if host.is_empty() { origin.clone()? } else { format!("https://{host}") };
            Some((format!("http.{place}/.extraHeader"), header))
        });
        let headers: Vec<_> = headers.collect();
        command.env("GIT_CONFIG_COUNT", headers.len().to_string());
        for (number, (key, header)) in headers.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), format!("Authorization: {header}"));
        }
        let output = command.output().map_err(GitError::Program)?;
        if output.status.success() {
            return Ok(output);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let message = text.trim().lines().rev().take(3).collect::<Vec<_>>();
        let message = message.into_iter().rev().collect::<Vec<_>>().join("; ");
        let name = arguments.iter().find(|word| !word.starts_with('-') && !word.contains('=')).unwrap_or(&"");
        Err(GitError::Failed { command: (*name).to_owned(), message })
    }
}

/// `https://host:port` of a remote that is spoken to over HTTP.
fn origin(remote: &str) -> Option<String> {
    let (scheme, rest) =
        remote.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(format!("{scheme}://{host}"))
}

/// How a repository with this commit names its objects.
fn object_format(commit: &str) -> &'static str {
    if commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" }
}

/// A whole commit id.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// `ssh://-oProxyCommand=…`: ssh would take the host for an option.
fn host_is_option(remote: &str) -> bool {
    let rest = remote.split_once("://").map_or(remote, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or("");
    host.rsplit('@').next().unwrap_or("").starts_with('-') || host.starts_with('-')
}

/// The directory that becomes the root: no `..`, no link on the way.
fn subdirectory(root: &Path, subdir: &str) -> Result<PathBuf, GitError> {
    let bad = || GitError::Subdirectory(subdir.to_owned());
    let mut path = root.to_path_buf();
    for component in Path::new(subdir).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir => continue,
            Component::ParentDir | Component::Prefix(_) => return Err(bad()),
        }
        if !std::fs::symlink_metadata(&path).map_err(|_| bad())?.is_dir() {
            return Err(bad());
        }
    }
    Ok(path)
}

/// Takes `.git` of the checkout and of its submodules away.
fn remove_git_files(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let file_type = entry.file_type()?;
        if entry.file_name() == ".git" {
            if file_type.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        } else if file_type.is_dir() {
            remove_git_files(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(remote: &str, reference: &str) -> GitSource {
        GitSource {
            remote: remote.to_owned(),
            reference: reference.to_owned(),
            subdir: String::new(),
            checksum: None,
            keep_git_dir: false,
            submodules: true,
        }
    }

    fn git(directory: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .current_dir(directory)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(arguments);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_COMMITTER_DATE", "@1000000000 +0000");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn hostile_words_are_refused_before_git_sees_them() {
        let options = GitOptions::default();
        let mirror = Path::new("/nonexistent");
        for (remote, reference) in [
            ("--upload-pack=touch /tmp/x", ""),
            ("ext::sh -c id", ""),
            ("file:///etc", ""),
            ("/etc", ""),
            ("ssh://-oProxyCommand=id/x", ""),
            ("-x@host:path", ""),
            ("https://example.org/r.git", "--upload-pack=id"),
            ("https://example.org/r.git", "a..b"),
            ("https://example.org/r.git", "a b"),
        ] {
            let source = source(remote, reference);
            let repository = Repository { source: &source, options: &options, mirror };
            let error = repository.commit().unwrap_err();
            assert!(
                matches!(error, GitError::Remote(_) | GitError::Reference(_)),
                "{remote} {reference}: {error}"
            );
        }
    }

    #[test]
    fn a_branch_a_tag_and_a_commit_are_checked_out() {
        let scratch = tempfile::tempdir().unwrap();
        let origin = scratch.path().join("origin");
        std::fs::create_dir_all(origin.join("sub")).unwrap();
        git(&origin, &["init", "--quiet", "-b", "main", "."]);
        std::fs::write(origin.join("sub/file"), "one").unwrap();
        git(&origin, &["add", "."]);
        git(&origin, &["commit", "--quiet", "-m", "one"]);
        git(&origin, &["tag", "-a", "v1", "-m", "v1"]);
        let first = git(&origin, &["rev-parse", "HEAD"]);
        std::fs::write(origin.join("sub/file"), "two").unwrap();
        git(&origin, &["commit", "--quiet", "-a", "-m", "two"]);
        let options = GitOptions { protocols: vec!["file".into()], ..GitOptions::default() };
        let remote = format!("file://{}", origin.display());
        let mirror = scratch.path().join("mirror");
        for (number, (reference, text)) in
            [("", "two"), ("main", "two"), ("v1", "one"), (&first, "one")].iter().enumerate()
        {
            let source = GitSource { subdir: "sub".into(), ..source(&remote, reference) };
            let repository = Repository { source: &source, options: &options, mirror: &mirror };
            let commit = repository.commit().unwrap();
            let into = scratch.path().join(format!("out{number}"));
            std::fs::create_dir(&into).unwrap();
            let (root, time) = repository.checkout(&commit, &into).unwrap();
            assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), *text, "{reference}");
            assert_eq!(time, 1_000_000_000);
            assert!(!into.join(".git").exists());
        }
        let missing = source(&remote, "nosuch");
        let repository = Repository { source: &missing, options: &options, mirror: &mirror };
        assert!(matches!(repository.commit(), Err(GitError::NotFound { .. })));
        let outside = GitSource { subdir: "../..".into(), ..source(&remote, "main") };
        let repository = Repository { source: &outside, options: &options, mirror: &mirror };
        let into = scratch.path().join("outside");
        std::fs::create_dir(&into).unwrap();
        let commit = repository.commit().unwrap();
        assert!(matches!(repository.checkout(&commit, &into), Err(GitError::Subdirectory(_))));
    }
}
