//! Images in one tar: an OCI layout, for Docker with `manifest.json` in it.
//!
//! ```text
//! blobs/  blobs/sha256/  blobs/sha256/<hex>…    sorted by digest
//! index.json                                    one entry a name
//! manifest.json                                 type=docker: what `docker load` and podman read
//! oci-layout
//! ```
//!
//! Members are sorted by name and have no times and no owners, as containerd writes them: the same image is the same tar.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use kiln_core::{Digest, Platform};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::blob::{BlobRead, Exported, Image};
use crate::document;
use crate::error::ExportError;
use crate::layout::copy_blob;
use crate::naming::{self, Naming};

/// An image of an archive and what it is called there.
pub type Named<'a> = (Exported<'a>, &'a Naming);

/// Writes an OCI layout as a tar: `type=oci`.
///
/// # Errors
/// If a blob is not to be had or `out` fails. What was written then is no archive.
pub fn write_oci_tar(
    out: &mut dyn Write,
    images: &[Named<'_>],
    blobs: &dyn BlobRead,
) -> Result<(), ExportError> {
    write(out, images, blobs, &Docker::default())
}

/// Writes what `docker load` and `podman load` read: `type=docker`. Of an index they load the image for this machine's
/// platform.
///
/// # Errors
/// As [`write_oci_tar`].
pub fn write_docker_tar(
    out: &mut dyn Write,
    images: &[Named<'_>],
    blobs: &dyn BlobRead,
) -> Result<(), ExportError> {
    write_docker_tar_without(out, images, blobs, HashSet::new())
}

/// The same without the blobs `left_out`: for a docker that has those layers.
///
/// # Errors
/// As [`write_oci_tar`].
pub fn write_docker_tar_without(
    out: &mut dyn Write,
    images: &[Named<'_>],
    blobs: &dyn BlobRead,
    left_out: HashSet<Digest>,
) -> Result<(), ExportError> {
    let manifest = Some(docker_manifest(images)?);
    write(out, images, blobs, &Docker { manifest, left_out })
}

/// What an archive for Docker has more, and less, than a layout.
#[derive(Default)]
struct Docker {
    manifest: Option<Vec<u8>>,
    left_out: HashSet<Digest>,
}

enum Member<'a> {
    Bytes(&'a [u8]),
    Blob(u64),
}

fn write(
    out: &mut dyn Write,
    images: &[Named<'_>],
    blobs: &dyn BlobRead,
    docker: &Docker,
) -> Result<(), ExportError> {
    let mut members: BTreeMap<Digest, Member<'_>> = BTreeMap::new();
    for layer in images.iter().flat_map(|(exported, _)| exported.layers()) {
        let digest = document::digest_of(&layer.descriptor)?;
        if !docker.left_out.contains(&digest) {
            members.insert(digest, Member::Blob(layer.descriptor.size()));
        }
    }
    for document in images.iter().flat_map(|(exported, _)| exported.documents()) {
        members.insert(document.digest(), Member::Bytes(&document.bytes));
    }
    for directory in ["blobs/", "blobs/sha256/"] {
        start(out, directory, EntryType::Directory, 0o755, 0)?;
    }
    for (digest, member) in &members {
        let name = format!("blobs/sha256/{}", digest.hex());
        match member {
            Member::Bytes(bytes) => file(out, &name, 0o444, bytes)?,
            Member::Blob(size) => {
                start(out, &name, EntryType::Regular, 0o444, *size)?;
                copy_blob(blobs, digest, *size, out, ExportError::stream())?;
                pad(out, *size)?;
            }
        }
    }
    let entries = images.iter().flat_map(|(exported, naming)| naming.entries(*exported));
    let entries: Vec<Value> = entries.map(|entry| document::descriptor_value(&entry)).collect();
    file(out, "index.json", 0o644, &naming::layout_index(&entries))?;
    if let Some(manifest) = &docker.manifest {
        file(out, "manifest.json", 0o644, manifest)?;
    }
    file(out, "oci-layout", 0o444, naming::OCI_LAYOUT)?;
    out.write_all(&[0; 1024]).map_err(ExportError::stream())
}

/// Docker's list of images: configuration, names, layers, as paths in the archive.
fn docker_manifest(images: &[Named<'_>]) -> Result<Vec<u8>, ExportError> {
    let entries = images.iter().filter_map(|(exported, naming)| docker_entry(*exported, naming).transpose());
    Ok(document::compact(&Value::Array(entries.collect::<Result<_, _>>()?)))
}

/// Of an index, the image that suits this machine best.
fn docker_entry(exported: Exported<'_>, naming: &Naming) -> Result<Option<Value>, ExportError> {
    let host = Platform::host();
    let fits = |image: &&Image| host.rank(&image.platform).unwrap_or(u32::MAX);
    let Some(image) = exported.images().iter().min_by_key(fits) else { return Ok(None) };
    let path = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let layers = image.layers.iter().map(|layer| Ok(path(document::digest_of(&layer.descriptor)?)));
    let layers: Vec<String> = layers.collect::<Result<_, ExportError>>()?;
    let names: Option<Vec<String>> =
        (!naming.names.is_empty()).then(|| naming.names.iter().map(ToString::to_string).collect());
    Ok(Some(json!({
        "Config": path(image.config.digest()),
        "RepoTags": names,
        "Layers": layers,
    })))
}

fn file(out: &mut dyn Write, name: &str, mode: u32, bytes: &[u8]) -> Result<(), ExportError> {
    start(out, name, EntryType::Regular, mode, bytes.len() as u64)?;
    out.write_all(bytes).map_err(ExportError::stream())?;
    pad(out, bytes.len() as u64)
}

fn start(out: &mut dyn Write, name: &str, kind: EntryType, mode: u32, size: u64) -> Result<(), ExportError> {
    let header = || {
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        io::Result::Ok(header)
    };
    let header = header().map_err(ExportError::stream())?;
    out.write_all(header.as_bytes()).map_err(ExportError::stream())
}

/// Fills the last block of a member.
fn pad(out: &mut dyn Write, size: u64) -> Result<(), ExportError> {
    let missing = usize::try_from(size.next_multiple_of(512) - size).expect("less than a block");
    out.write_all(&[0; 512][..missing]).map_err(ExportError::stream())
}
