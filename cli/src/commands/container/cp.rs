//! `kiln cp`: Docker's rules for what a copy is called and where it goes; images from registry to registry.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_cache::Decompressor;
use kiln_exporter::write_rootfs_tar;

use crate::args::CopyArgs;
use crate::commands::imagetools;
use crate::container::bundle;
use crate::container::client::Client;
use crate::container::copy::end::{End, images};
use crate::container::copy::place::{Owner, Place};
use crate::container::copy::root::{Found, Root, names_content, names_directory};
use crate::container::copy::tree::LiveTree;
use crate::container::directory::{Container, Containers};
use crate::container::protocol::Ask;
use crate::error::CommandError;
use crate::progress::size;
use crate::wiring::Services;

/// Copies files between a container and the host, or an image between registries.
///
/// # Errors
/// If something does not exist, or cannot be read or written.
pub(crate) fn cp(
    args: &CopyArgs,
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    let usage = |problem: &str| CommandError::Usage(problem.to_owned());
    if let Some((from, to)) = images(&args.source, &args.destination, containers) {
        if args.archive || args.follow_link {
            return Err(usage("--archive and --follow-link are for files: these are images"));
        }
        imagetools::copy_image(&from, &to, args.quiet, services)?;
        return Ok(ExitCode::SUCCESS);
    }
    match (End::parse(&args.source), End::parse(&args.destination)) {
        (End::Container(..), End::Container(..)) => {
            Err(usage(&format!("copying between containers is not supported; {AS_IMAGES}")))
        }
        (End::Container(name, path), to) => copy_out(args, (&name, &path), &to, services, containers),
        (from, End::Container(name, path)) => copy_in(args, &from, (&name, &path), services, containers),
        _ => Err(usage(&format!("must specify at least one container source; {AS_IMAGES}"))),
    }
}

/// When two words are images.
const AS_IMAGES: &str = "an image is copied to a name that begins with its registry, as registry.example/app:1, if neither \
                         word names a container or a file";

fn copy_out(
    args: &CopyArgs,
    (name, path): (&str, &Path),
    to: &End,
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    let container = containers.find(name)?;
    let mounted = Mounted::of(&container, path, false, services)?;
    let tree = source(&mounted.root, &mounted.path, args.follow_link)?.ok_or_else(|| {
        CommandError::Usage(format!("could not find the file {} in container {name}", path.display()))
    })?;
    let End::Host(destination) = to else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        write_rootfs_tar(&mut out, &tree.named(), None)?;
        out.flush().map_err(CommandError::Output)?;
        return Ok(ExitCode::SUCCESS);
    };
    let owner = if args.archive { Owner::Same } else { Owner::Copier };
    let absolute = absolute(destination)?;
    let root = Root::open(Path::new("/")).map_err(reading(Path::new("/")))?;
    let copied = tree.put_at(&root, &absolute, owner)?;
    tell(args, copied, &destination.display().to_string());
    Ok(ExitCode::SUCCESS)
}

fn copy_in(
    args: &CopyArgs,
    from: &End,
    (name, path): (&str, &Path),
    services: &Services,
    containers: &Containers,
) -> Result<ExitCode, CommandError> {
    let container = containers.find(name)?;
    let mounted = Mounted::of(&container, path, true, services)?;
    let shown = format!("{name}:{}", path.display());
    let copied = match from {
        End::Host(source_path) => {
            let absolute = absolute(source_path)?;
            let root = Root::open(Path::new("/")).map_err(reading(Path::new("/")))?;
            let tree = source(&root, &absolute, args.follow_link)?.ok_or_else(|| {
                CommandError::Usage(format!("{}: no such file or directory", source_path.display()))
            })?;
            let owner = if args.archive { Owner::Same } else { Owner::Copier };
            tree.put_at(&mounted.root, &mounted.path, owner)?
        }
        _ => {
            let found = mounted.root.find(&mounted.path, true).map_err(reading(path))?;
            let found = found
                .filter(|found| found.is_dir)
                .ok_or_else(|| CommandError::Usage(format!("destination \"{shown}\" must be a directory")))?;
            let directory = directory_of(found, path)?;
            let input =
                Decompressor::detect(BufReader::new(std::io::stdin())).map_err(CommandError::Input)?;
            Place::new(directory, Owner::Same).take_archive(input)?
        }
    };
    tell(args, copied, &shown);
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &CopyArgs, bytes: u64, to: &str) {
    if !args.quiet {
        eprintln!("Successfully copied {} to {to}", size(bytes));
    }
}

fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> CommandError + use<> {
    let path = path.to_owned();
    move |cause| CommandError::File { verb: "open", what: "path", path, cause }
}

/// With the slash or dot at its end that tells a directory.
fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let here = std::env::current_dir().map_err(reading(Path::new(".")))?;
    Ok(here.join(path))
}

/// What is copied.
struct Source {
    found: Found,
    /// The last name of its path; none for what is in a directory.
    name: Option<OsString>,
}

/// What `path` leads to.
fn source(root: &Root, path: &Path, follow: bool) -> Result<Option<Source>, CommandError> {
    let found = root.find(path, follow).map_err(reading(path))?;
    let name = path.file_name().filter(|_| !names_content(path)).map(ToOwned::to_owned);
    Ok(found.map(|found| Source { found, name }))
}

impl Source {
    /// Under its own name.
    fn named(self) -> LiveTree {
        LiveTree::new(self.found, self.name.map(PathBuf::from).unwrap_or_default())
    }

    /// Puts it at `path`: into a directory that is there, over a file, or under a new name.
    fn put_at(self, root: &Root, path: &Path, owner: Owner) -> Result<u64, CommandError> {
        let problem = |problem: &str| CommandError::Usage(format!("{}: {problem}", path.display()));
        let (directory, shown) = match root.find(path, true).map_err(reading(path))? {
            Some(there) if there.is_dir => {
                (directory_of(there, path)?, self.name.clone().map(PathBuf::from).unwrap_or_default())
            }
            Some(_) if self.found.is_dir => return Err(problem("cannot copy a directory to a file")),
            Some(there) => (there.parent, there.name.into()),
            None if names_directory(path) && !self.found.is_dir => return Err(problem("no such directory")),
            None => {
                let (above, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name());
                let above = root.find(above, true).map_err(reading(above))?.filter(|above| above.is_dir);
                match (above, name) {
                    (Some(above), Some(name)) => (directory_of(above, path)?, name.into()),
                    _ => return Err(problem("no such directory")),
                }
            }
        };
        Ok(Place::new(directory, owner).take(&LiveTree::new(self.found, shown))?)
    }
}

fn directory_of(found: Found, path: &Path) -> Result<OwnedFd, CommandError> {
    Root::new(found.parent).directory(Path::new(&found.name)).map_err(|errno| reading(path)(errno.into()))
}

/// A container's root as its programs see it, or would.
struct Mounted {
    root: Root,
    path: PathBuf,
    /// Nobody starts it meanwhile: two mounts must not write into one directory.
    _lock: Option<File>,
}

impl Mounted {
    fn of(
        container: &Container,
        path: &Path,
        writes: bool,
        services: &Services,
    ) -> Result<Self, CommandError> {
        let config = container.config()?;
        let usage = |problem: &str| CommandError::Usage(problem.to_owned());
        let above = config.mounts.iter().filter(|mount| path.starts_with(&mount.target));
        let mount = above.max_by_key(|mount| mount.target.len());
        match mount {
            Some(mount) if writes && mount.read_only => {
                return Err(usage("mounted volume is marked read-only"));
            }
            None if writes && config.process.read_only_root => {
                return Err(usage("container rootfs is marked read-only"));
            }
            _ => {}
        }
        if container.state()?.status.is_active() {
            let (_, mut fds) = Client::connect(container)?.call(&Ask::Root)?;
            let root = fds.pop().ok_or_else(|| usage("the container has no root"))?;
            return Ok(Self { root: Root::new(root), path: path.to_owned(), _lock: None });
        }
        if let Some(mount) = mount.filter(|mount| Path::new(&mount.source).is_dir()) {
            // Not by components: a dot at the end says something.
            let rest = &path.as_os_str().as_bytes()[mount.target.len()..];
            let path = Path::new("/").join(OsStr::from_bytes(rest.strip_prefix(b"/").unwrap_or(rest)));
            let source = Path::new(&mount.source);
            return Ok(Self { root: Root::open(source).map_err(reading(source))?, path, _lock: None });
        }
        if config.plain_root.is_some() {
            return Err(usage("the container's files went with the process that ran it"));
        }
        let isolation =
            services.isolation.as_ref().map_err(|error| CommandError::NoIsolation(error.to_string()))?;
        let lock = container.lock()?;
        let root = isolation.mount(&bundle::root(container, &config)?)?;
        Ok(Self { root: Root::new(root), path: path.to_owned(), _lock: Some(lock) })
    }
}
