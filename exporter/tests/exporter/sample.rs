//! A small image, made by hand.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write as _};

use kiln_core::oci_spec::image::Descriptor;
use kiln_core::{CompressionFormat, DiffId, Digest, History, ImageConfig, Platform};
use kiln_exporter::{AssembleOptions, BlobRead, BlobReadError, Image, LayerBlob, MediaTypes, assemble};

/// Blobs in memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct Blobs(pub(crate) BTreeMap<Digest, Vec<u8>>);

impl BlobRead for Blobs {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BlobReadError> {
        let bytes = self.0.get(digest).ok_or(BlobReadError::Missing(*digest))?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }
}

/// A tar with one file.
pub(crate) fn tarball(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

/// A layer with one file, compressed.
pub(crate) fn layer(blobs: &mut Blobs, format: CompressionFormat, name: &str, content: &[u8]) -> LayerBlob {
    let tar = tarball(name, content);
    let bytes = match format {
        CompressionFormat::Uncompressed => tar.clone(),
        CompressionFormat::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(&tar).unwrap();
            encoder.finish().unwrap()
        }
        CompressionFormat::Zstd => zstd::encode_all(&tar[..], 3).unwrap(),
    };
    let digest = Digest::of(&bytes);
    let descriptor = descriptor(MediaTypes::Oci.layer(format), &digest, bytes.len() as u64);
    blobs.0.insert(digest, bytes);
    LayerBlob { diff_id: DiffId(Digest::of(&tar)), descriptor }
}

pub(crate) fn descriptor(
    media_type: kiln_core::oci_spec::image::MediaType,
    digest: &Digest,
    size: u64,
) -> Descriptor {
    let digest: kiln_core::oci_spec::image::Digest = digest.to_string().parse().unwrap();
    Descriptor::new(media_type, size, digest)
}

pub(crate) fn history(text: &str, empty_layer: bool) -> History {
    History { created_by: text.to_owned(), empty_layer, ..History::default() }
}

pub(crate) fn options(media_types: MediaTypes) -> AssembleOptions {
    AssembleOptions {
        now: 1_700_000_000_123_000_000,
        epoch: None,
        media_types,
        annotations: BTreeMap::new(),
        descriptor_annotations: BTreeMap::new(),
    }
}

/// An image with two layers: `/hello` and `/dir/data`.
pub(crate) fn image(media_types: MediaTypes, format: CompressionFormat, platform: &str) -> (Image, Blobs) {
    let mut blobs = Blobs::default();
    let layers = vec![
        layer(&mut blobs, format, "hello", format!("hello {platform}\n").as_bytes()),
        layer(&mut blobs, format, "dir/data", &[7; 100_000]),
    ];
    let platform: Platform = platform.parse().unwrap();
    let mut config = ImageConfig::for_platform(&platform);
    config.config.cmd = Some(vec!["/hello".to_owned()]);
    config.config.env = vec!["PATH=/bin".to_owned()];
    config.history = vec![
        history("COPY hello / # buildkit", false),
        history("CMD [\"/hello\"]", true),
        history("COPY & <x>", false),
    ];
    (assemble(config, layers, &options(media_types)).unwrap(), blobs)
}

/// Reads all of a reader.
pub(crate) fn read(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    io::copy(&mut from, &mut bytes).unwrap();
    bytes
}
