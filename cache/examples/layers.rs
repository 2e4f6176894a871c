//! Times a directory on its way through a store: `cargo run --release -p kiln-cache --example layers -- STORE DIR`.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln_cache::{
    Attributes, Decompressor, Entry, FileContent, Kind, Limits, Manifest, OverlayXattrs, Store, StoreOptions,
    Timestamp, TreeWriter,
};
use kiln_core::{Compression, CompressionFormat, Snapshot};
use rayon::prelude::*;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(root), Some(from)) = (arguments.next(), arguments.next()) else {
        return Err("usage: layers STORE DIR".into());
    };
    let (xattrs, clock) = (OverlayXattrs::Trusted, || std::time::SystemTime::UNIX_EPOCH);
    let store = Store::open(StoreOptions { root, xattrs, boot_id: "bench".into(), clock })?;
    let layers = store.layers();

    let draft = layers.draft()?;
    let (files, bytes) = timed("copy and hash", 0, || {
        let writer = draft.writer()?;
        let mut files = Vec::new();
        list(&writer, &from, Path::new(""), &mut files)?;
        let bytes = files.iter().map(|(_, _, size)| size).sum::<u64>();
        files.par_iter().try_for_each(|(path, attributes, _)| {
            let file = File::open(from.join(path)).map_err(|error| error.to_string())?;
            writer.copy_file(path, attributes, &file).map_err(|error| error.to_string()).map(drop)
        })?;
        let manifest = writer.finish()?;
        Ok((manifest, bytes))
    })?;
    println!("{} entries, {} MB", files.entries().len(), bytes / 1_000_000);
    let layer = draft.commit(files)?;
    let encoded = timed("encode", 0, || Ok(layer.manifest.encode()))?;
    timed("decode", 0, || Ok(Manifest::decode(&encoded.bytes, &encoded.id)?))?;
    let many = Manifest::new((0..100_000).map(many).collect())?.encode();
    timed("decode 100,000 entries", 0, || Ok(Manifest::decode(&many.bytes, &many.id)?))?;
    println!("    {} bytes", many.bytes.len());
    timed("content of all", 0, || {
        Ok(layers.view(&Snapshot::scratch().with(layer.id))?.content(Path::new("")))
    })?;

    let upper = layers.draft()?;
    fs::remove_dir(upper.tree())?;
    fs::rename(copy(layer.tree(), upper.tree())?, upper.tree())?;
    timed("diff of an upper directory", bytes, || Ok(upper.commit_upper(&Snapshot::scratch(), &[])?))?;

    for (format, level) in [
        (CompressionFormat::Uncompressed, None),
        (CompressionFormat::Gzip, None),
        (CompressionFormat::Gzip, Some(1)),
        (CompressionFormat::Zstd, None),
        (CompressionFormat::Zstd, Some(1)),
    ] {
        let name = format!("{} {}", format.as_str(), level.map_or(String::new(), |level| level.to_string()));
        let path = store.root().join("blob");
        let compression = Compression { format, level };
        let packed = timed(&format!("pack {name}"), bytes, || {
            Ok(layers.pack(&layer.id, compression, None, File::create(&path)?)?)
        })?;
        println!("    ratio {:.3}", packed.size as f64 / packed.tar_size as f64);
        timed(&format!("decompress {name}"), bytes, || {
            let mut blob = Decompressor::detect(BufReader::with_capacity(1 << 18, File::open(&path)?))?;
            Ok(io::copy(&mut blob, &mut io::sink())?)
        })?;
        let unpacked = timed(&format!("unpack {name}"), bytes, || {
            let blob = Decompressor::detect(BufReader::with_capacity(1 << 18, File::open(&path)?))?;
            Ok(layers.unpack(blob, Limits::default())?.commit(&Snapshot::scratch())?)
        })?;
        assert_eq!(unpacked.manifest.entries().len(), layer.manifest.entries().len());
    }
    let status = fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

fn timed<T>(name: &str, bytes: u64, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let (start, cpu) = (Instant::now(), cpu_milliseconds()?);
    let result = work()?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu_milliseconds()? - cpu;
    let rate = if bytes > 0 { format!(", {:.0} MB/s", bytes as f64 / 1e6 / seconds) } else { String::new() };
    println!("{name}: {:.0} ms{rate}, {cpu} ms of processors", seconds * 1000.0);
    Ok(result)
}

/// User and system time of this process: what a busy machine does not change.
fn cpu_milliseconds() -> Outcome<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() * 10)
}

/// A tree of a thousand directories.
fn many(n: u64) -> Entry {
    let dir = format!("usr/share/some-package/directory-{:04}", n / 100);
    let (path, kind) = match n {
        0..3 => (["usr", "usr/share", "usr/share/some-package"][n as usize].to_owned(), Kind::Dir),
        n if n % 100 == 3 => (dir, Kind::Dir),
        n => {
            (format!("{dir}/some-file-{n}.html"), Kind::File(FileContent { size: n, ..FileContent::empty() }))
        }
    };
    let attributes =
        Attributes { mtime: Timestamp { seconds: 1_700_000_000, nanoseconds: 5 }, ..Attributes::root(0o644) };
    Entry { path: path.into(), kind, attributes }
}

/// Makes the directories and lists the files.
fn list(
    writer: &TreeWriter,
    root: &Path,
    dir: &Path,
    files: &mut Vec<(PathBuf, Attributes, u64)>,
) -> Outcome<()> {
    for entry in fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let (path, metadata) = (dir.join(entry.file_name()), entry.metadata()?);
        let mtime = Timestamp { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() as u32 };
        let attributes = Attributes { mtime, ..Attributes::root(metadata.mode() & 0o7777) };
        if metadata.is_dir() {
            writer.dir(&path, &attributes)?;
            list(writer, root, &path, files)?;
        } else if metadata.is_file() {
            files.push((path, attributes, metadata.len()));
        } else {
            writer.symlink(&path, &fs::read_link(entry.path())?, &attributes)?;
        }
    }
    Ok(())
}

/// A hard-link copy, to stand for what a step wrote.
fn copy(from: &Path, beside: &Path) -> Outcome<PathBuf> {
    let to = beside.with_extension("copy");
    std::process::Command::new("cp").arg("-al").args([from, &to]).status()?;
    Ok(to)
}
