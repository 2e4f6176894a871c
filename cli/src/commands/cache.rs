//! `kiln cache export` and `kiln cache import`

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{CommandError, Services, print};
use crate::args::{CacheArgs, CacheCommand};
use crate::progress::size;
use crate::remote_cache::{CacheSpec, Fate, Moved, Place, Selection, export_all, import_all};

/// Moves what the store knows to a cache, or what a cache holds into the store.
///
/// # Errors
/// If the store or the cache cannot be read or written.
pub(crate) fn cache(command: &CacheCommand, services: &Services) -> Result<(), CommandError> {
    match command {
        CacheCommand::Export { cache } => {
            let place = Where::parse(&cache.place, true)?;
            let moved = match &place {
                Where::Cache(spec) => run(services, export_all(spec, &selection(cache, false), services))?,
                Where::File(file) => {
                    let room = services.store.scratch_dir()?;
                    let spec = layout(room.path());
                    let moved = run(services, export_all(&spec, &selection(cache, false), services))?;
                    write(room.path(), file)?;
                    moved
                }
            };
            tell("exported", "to", &cache.place, &moved)
        }
        CacheCommand::Import { cache, replace } => {
            let moved = match Where::parse(&cache.place, false)? {
                Where::Cache(spec) => {
                    run(services, import_all(&spec, &selection(cache, *replace), services))?
                }
                Where::File(file) => {
                    let room = services.store.scratch_dir()?;
                    read(&file, room.path())?;
                    let spec = layout(room.path());
                    run(services, import_all(&spec, &selection(cache, *replace), services))?
                }
            };
            match moved {
                Some(moved) => tell("imported", "from", &cache.place, &moved),
                // The first of many machines: no reason for its job to fail.
                None => print(&format!("there is no cache at {} yet\n", cache.place)),
            }
        }
    }
}

fn run<T>(
    services: &Services,
    work: impl Future<Output = Result<T, crate::remote_cache::CacheError>>,
) -> Result<T, CommandError> {
    services.runtime()?.block_on(work).map_err(CommandError::from)
}

fn selection(args: &CacheArgs, replace: bool) -> Selection {
    let mounts = if args.results { Some(Vec::new()) } else { None };
    let named = (!args.ids.is_empty()).then(|| args.ids.clone());
    Selection { results: !args.mounts && args.ids.is_empty(), mounts: named.or(mounts), replace }
}

/// What was typed in the place of a cache.
enum Where {
    Cache(CacheSpec),
    /// A layout in a tar.
    File(PathBuf),
}

impl Where {
    /// `type=…` as in `--cache-to`, a path if it looks like one or there is one, otherwise a repository.
    fn parse(text: &str, to: bool) -> Result<Self, CommandError> {
        let path = Path::new(text);
        let looks = ["./", "../", "/"].iter().any(|start| text.starts_with(start)) || text.ends_with(".tar");
        if text.contains('=') || !(looks || path.exists() || text == "." || text == "..") {
            return Ok(Self::Cache(CacheSpec::parse(text, to)?));
        }
        let is_file = path.is_file() || (!path.is_dir() && text.ends_with(".tar"));
        Ok(if is_file { Self::File(path.to_owned()) } else { Self::Cache(layout(path)) })
    }
}

fn layout(directory: &Path) -> CacheSpec {
    CacheSpec::at(Place::Local { directory: directory.to_owned(), tag: "latest".to_owned(), digest: None })
}

/// The layout in `directory` as a tar, which is in its place only when it is whole.
fn write(directory: &Path, file: &Path) -> Result<(), CommandError> {
    let half = file.with_extension(format!("tar.{}", std::process::id()));
    let written = (|| {
        let mut tar = tar::Builder::new(io::BufWriter::new(File::create_new(&half)?));
        tar.mode(tar::HeaderMode::Deterministic);
        tar.append_dir_all(".", directory)?;
        io::Write::flush(&mut tar.into_inner()?)?;
        std::fs::rename(&half, file)
    })();
    written.map_err(|cause| {
        let _ = std::fs::remove_file(&half);
        CommandError::File { verb: "write", what: "the cache", path: file.to_owned(), cause }
    })
}

/// The files of a layout out of a tar; anything else in it is left there.
fn read(file: &Path, into: &Path) -> Result<(), CommandError> {
    let unpacked = (|| {
        let blobs = into.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        for entry in tar::Archive::new(io::BufReader::new(File::open(file)?)).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let name = path.strip_prefix(".").unwrap_or(&path);
            let name = name.to_str().unwrap_or_default();
            let is_hex = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let to = match name.strip_prefix("blobs/sha256/") {
                Some(blob) if is_hex(blob) => blobs.join(blob),
                None if name == "index.json" => into.join(name),
                _ => continue,
            };
            if entry.header().entry_type().is_file() {
                io::copy(&mut entry, &mut File::create(to)?)?;
            }
        }
        Ok(())
    })();
    unpacked.map_err(|cause| CommandError::File {
        verb: "read",
        what: "the cache",
        path: file.to_owned(),
        cause,
    })
}

fn tell(verb: &str, preposition: &str, place: &str, moved: &Moved) -> Result<(), CommandError> {
    let mut text = String::new();
    for (mount, fate) in &moved.mounts {
        let fate = match fate {
            Fate::Moved => verb,
            Fate::Unchanged => "unchanged",
            Fate::Kept => "kept as it is here (--replace replaces it)",
            Fate::Depends => "left out: it holds what was changed of a stage's or image's files",
        };
        text.push_str(&format!("cache mount {mount}: {fate}\n"));
    }
    text.push_str(&format!(
        "{verb} {} results in {} layers {preposition} {place}",
        moved.results, moved.layers
    ));
    if verb == "exported" {
        let (count, bytes) = moved.new;
        text.push_str(&format!(", {count} of them new ({})", size(bytes)));
    }
    text.push('\n');
    print(&text)
}
