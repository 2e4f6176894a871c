//! JSON as Go writes it, to the byte: an image's digest depends on it.
//!
//! Go's `encoding/json` escapes `<`, `>`, `&` and the two line separators; BuildKit indents manifests and indexes by two
//! blanks and writes configurations in one line with sorted names.

use std::collections::BTreeMap;
use std::io;

use kiln_core::oci_spec::image::{Descriptor, MediaType};
use kiln_core::{Digest, Platform};
use serde::Serialize as _;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value};

/// A descriptor without annotations.
pub(crate) fn descriptor(media_type: MediaType, digest: Digest, size: u64) -> Descriptor {
    let digest: kiln_core::oci_spec::image::Digest =
        digest.to_string().parse().expect("a digest of ours is one of theirs");
    Descriptor::new(media_type, size, digest)
}

/// The digest of a descriptor.
pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, kiln_core::DigestError> {
    descriptor.digest().to_string().parse()
}

/// A descriptor's fields in the order of the specification's Go type. Annotations are sorted.
pub(crate) fn descriptor_value(descriptor: &Descriptor) -> Value {
    let mut map = Map::new();
    map.insert("mediaType".into(), descriptor.media_type().to_string().into());
    map.insert("digest".into(), descriptor.digest().to_string().into());
    map.insert("size".into(), descriptor.size().into());
    if let Some(urls) = descriptor.urls() {
        map.insert("urls".into(), urls.clone().into());
    }
    if let Some(annotations) = descriptor.annotations()
        && !annotations.is_empty()
    {
        map.insert("annotations".into(), strings(&annotations.clone().into_iter().collect()));
    }
    if let Some(data) = descriptor.data() {
        map.insert("data".into(), data.clone().into());
    }
    if let Some(platform) = descriptor.platform() {
        // Serialised by its own type: the field order is the specification's already.
        map.insert(
            "platform".into(),
            serde_json::to_value(platform).expect("a platform is a tree of strings"),
        );
    }
    if let Some(artifact) = descriptor.artifact_type() {
        map.insert("artifactType".into(), artifact.to_string().into());
    }
    Value::Object(map)
}

/// A map of strings as an object.
pub(crate) fn strings(map: &BTreeMap<String, String>) -> Value {
    Value::Object(map.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect())
}

/// `platform` as the specification's type.
pub(crate) fn oci_platform(platform: &Platform) -> kiln_core::oci_spec::image::Platform {
    let mut oci = kiln_core::oci_spec::image::Platform::default();
    oci.set_os(platform.os.as_str().into());
    oci.set_architecture(platform.architecture.as_str().into());
    oci.set_variant((!platform.variant.is_empty()).then(|| platform.variant.clone()));
    oci.set_os_version(None);
    oci.set_os_features(None);
    oci.set_features(None);
    oci
}

/// One line.
pub(crate) fn compact(value: &Value) -> Vec<u8> {
    written(value, Go(CompactFormatter))
}

/// Indented by two blanks, no newline at the end.
pub(crate) fn indented(value: &Value) -> Vec<u8> {
    written(value, Go(PrettyFormatter::new()))
}

fn written(value: &Value, formatter: impl Formatter) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).expect("a value is written to memory");
    bytes
}

/// A formatter with Go's escapes in strings.
struct Go<F>(F);

impl<F: Formatter> Formatter for Go<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            let special = from.chars().next().expect("found above");
            write!(writer, "{before}\\u{:04x}", u32::from(special))?;
            rest = &from[special.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}
