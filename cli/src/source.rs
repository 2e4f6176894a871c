//! The Dockerfile and the build context, from wherever the user has them.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use kiln_cache::{Decompressor, Limits, Links, Rooted, ScratchDir, Store, Unpacked};
use kiln_core::SourceFile;
use kiln_executor::source::Checkout;

use crate::error::CommandError;
use crate::remote;
use crate::request::{BuildRequest, ContextFrom, DockerfileFrom};
use crate::wiring::Services;

/// A Dockerfile is text that people write.
const DOCKERFILE_LIMIT: u64 = 64 << 20;

/// A Dockerfile, and what its COPY and ADD read.
#[derive(Debug)]
pub(crate) struct BuildSource {
    /// The Dockerfile.
    pub(crate) dockerfile: SourceFile,
    /// The context's directory.
    pub(crate) directory: PathBuf,
    /// `.dockerignore` or `<Dockerfile>.dockerignore`, if there is one.
    pub(crate) ignore: Option<SourceFile>,
    /// The time of a context from elsewhere, in seconds since 1970.
    pub(crate) modified: Option<i64>,
    /// What was unpacked for this build alone, kept until it ends.
    _kept: Option<Kept>,
}

/// What holds a directory that was made for the build.
#[derive(Debug)]
#[expect(dead_code, reason = "kept for what dropping them does")]
enum Kept {
    Tar(Box<Unpacked>),
    Empty(ScratchDir),
    Checkout(Checkout),
}

impl BuildSource {
    /// Reads the Dockerfile and finds the context.
    ///
    /// # Errors
    /// What cannot be read, and what it was taken for.
    pub(crate) fn open(request: &BuildRequest, services: &Services) -> Result<Self, CommandError> {
        match &request.context {
            ContextFrom::Directory(path) => Self::of_directory(path, &request.dockerfile),
            ContextFrom::Stdin => Self::of_stream(std::io::stdin(), &request.dockerfile, &services.store),
            ContextFrom::Remote(url) => Self::of_url(url, request, services),
        }
    }

    /// A repository is the context, taken whole; a file is what the same on standard input would be.
    fn of_url(url: &str, request: &BuildRequest, services: &Services) -> Result<Self, CommandError> {
        let agent = request.ssh.get("default").cloned();
        let remote = services.remote(agent);
        if let Some(git) = remote::repository(url, &request.build_args)? {
            let checkout = remote.checkout(&git)?;
            let directory = checkout.root().to_owned();
            let dockerfile = of_stranger(&directory, &request.dockerfile)?;
            let modified = Some(checkout.time());
            let kept = Some(Kept::Checkout(checkout));
            return Ok(Self { dockerfile, directory, ignore: None, modified, _kept: kept });
        }
        let fetched = services.runtime()?.block_on(remote.fetch(&remote::file(url)))?;
        let again = fetched.file.try_clone().map_err(CommandError::Input)?;
        let mut source = Self::of_stream(fetched.file, &request.dockerfile, &services.store)?;
        source.modified = fetched.modified.or_else(|| {
            let mut again = BufReader::new(again);
            again.rewind().ok()?;
            remote::newest(again)
        });
        Ok(source)
    }

    fn of_directory(path: &Path, dockerfile: &DockerfileFrom) -> Result<Self, CommandError> {
        let fail =
            |cause| CommandError::File { verb: "open", what: "build context", path: path.to_owned(), cause };
        let directory = path.canonicalize().map_err(fail)?;
        if !directory.is_dir() {
            return Err(fail(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
        }
        match dockerfile {
            DockerfileFrom::Stdin => {
                let dockerfile =
                    SourceFile::new("Dockerfile", text(&mut std::io::stdin().lock(), Path::new("-"))?);
                let ignore = ignore_file(&directory, None)?;
                Ok(Self { dockerfile, directory, ignore, modified: None, _kept: None })
            }
            DockerfileFrom::Context => {
                let mut file = directory.join("Dockerfile");
                // buildx falls back to this spelling.
                if !file.exists() && directory.join("dockerfile").exists() {
                    file = directory.join("dockerfile");
                }
                Self::of_file(&file, directory)
            }
            DockerfileFrom::Path(typed) => Self::of_file(Path::new(typed), directory),
        }
    }

    fn of_file(file: &Path, directory: PathBuf) -> Result<Self, CommandError> {
        let fail =
            |cause| CommandError::File { verb: "read", what: "Dockerfile", path: file.to_owned(), cause };
        let name = file.strip_prefix(&directory).unwrap_or(file).display().to_string();
        let dockerfile =
            SourceFile::new(name, text(&mut open_within(&directory, file).map_err(fail)?, file)?);
        let ignore = ignore_file(&directory, Some(file))?;
        Ok(Self { dockerfile, directory, ignore, modified: None, _kept: None })
    }

    /// A tar, compressed or not, is the context; anything else is a Dockerfile without a context. As in BuildKit, a context
    /// that was packed by somebody is taken whole, whatever its ignore file says.
    fn of_stream(
        from: impl Read + Send,
        dockerfile: &DockerfileFrom,
        store: &Store,
    ) -> Result<Self, CommandError> {
        let mut input = BufReader::with_capacity(1 << 16, from);
        let mut head = Vec::new();
        input.by_ref().take(512).read_to_end(&mut head).map_err(CommandError::Input)?;
        let is_archive = is_archive(&head);
        let mut input = std::io::Cursor::new(head).chain(input);
        if !is_archive {
            let dockerfile = SourceFile::new("Dockerfile", text(&mut input, Path::new("-"))?);
            let scratch = store.scratch_dir()?;
            let directory = scratch.path().to_owned();
            let kept = Some(Kept::Empty(scratch));
            return Ok(Self { dockerfile, directory, ignore: None, modified: None, _kept: kept });
        }
        let tar = Decompressor::detect(input).map_err(CommandError::Input)?;
        let unpacked = store.layers().unpack(tar, Limits::default())?;
        let directory = unpacked.tree().to_owned();
        let dockerfile = of_stranger(&directory, dockerfile)?;
        Ok(Self {
            dockerfile,
            directory,
            ignore: None,
            modified: None,
            _kept: Some(Kept::Tar(Box::new(unpacked))),
        })
    }
}

/// A file of a context from elsewhere: its links lead nowhere but into itself.
fn inside(directory: &Path, name: &str) -> std::io::Result<File> {
    Rooted::open(directory)?.file(Path::new(name), Links::Followed)
}

/// A file that the user named. One that lies in the context is its author's: if it is a link, that may lead nowhere else.
fn open_within(directory: &Path, file: &Path) -> std::io::Result<File> {
    let (parent, name) = (file.parent().unwrap_or(Path::new("")), file.file_name());
    let parent = std::path::absolute(if parent == Path::new("") { Path::new(".") } else { parent })?;
    let within = parent.canonicalize()?.strip_prefix(directory).map(Path::to_owned);
    let (Ok(within), Some(name)) = (within, name) else { return File::open(file) };
    match inside(directory, &within.join(name).to_string_lossy()) {
        Err(error) if file.is_symlink() && file.exists() => {
            let problem = format!(
                "it is a link that leads out of the context: name what it leads to with --file ({error})"
            );
            Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, problem))
        }
        opened => opened,
    }
}

/// The Dockerfile of a context from elsewhere, or that of standard input.
fn of_stranger(directory: &Path, dockerfile: &DockerfileFrom) -> Result<SourceFile, CommandError> {
    let name = match dockerfile {
        DockerfileFrom::Stdin => {
            let text = text(&mut std::io::stdin().lock(), Path::new("-"))?;
            return Ok(SourceFile::new("Dockerfile", text));
        }
        DockerfileFrom::Path(typed) => typed.trim_start_matches('/'),
        // buildx falls back to the other spelling.
        DockerfileFrom::Context
            if inside(directory, "Dockerfile").is_err() && inside(directory, "dockerfile").is_ok() =>
        {
            "dockerfile"
        }
        DockerfileFrom::Context => "Dockerfile",
    };
    let fail = |cause| CommandError::File {
        verb: "read",
        what: "Dockerfile of the context",
        path: name.into(),
        cause,
    };
    let mut file = inside(directory, name).map_err(fail)?;
    Ok(SourceFile::new(name, text(&mut file, Path::new(name))?))
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore` in the context.
///
/// # Errors
/// If there is one that cannot be read.
pub(crate) fn ignore_file(
    directory: &Path,
    dockerfile: Option<&Path>,
) -> Result<Option<SourceFile>, CommandError> {
    let beside = dockerfile.map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in beside.into_iter().chain([directory.join(".dockerignore")]) {
        let fail =
            |cause| CommandError::File { verb: "read", what: "ignore file", path: path.clone(), cause };
        match open_within(directory, &path) {
            Ok(mut file) => {
                let name = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
                return Ok(Some(SourceFile::new(name, text(&mut file, &path)?)));
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => return Err(fail(cause)),
        }
    }
    Ok(None)
}

/// Whether `head`, the first 512 bytes, begins a tar, plain or compressed.
fn is_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    MAGIC.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

fn text(from: &mut dyn Read, path: &Path) -> Result<String, CommandError> {
    let fail = |cause| CommandError::File { verb: "read", what: "text file", path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    from.take(DOCKERFILE_LIMIT + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > DOCKERFILE_LIMIT {
        return Err(fail(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 64 MiB")));
    }
    // Bytes that are not UTF-8 can only stand in comments and strings: the rest of the file is still meant.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_dockerfiles() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(is_archive(&tar));
        assert!(is_archive(b"\x1f\x8b\x08"));
        assert!(!is_archive(b"FROM busybox\n"));
        assert!(!is_archive(b""));
    }
}
