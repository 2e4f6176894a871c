//! Media types: OCI's, and Docker's for consumers that want those.

use kiln_core::CompressionFormat;
use kiln_core::oci_spec::image::MediaType;

/// Whose media types an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaTypes {
    /// OCI image-spec's, the default.
    #[default]
    Oci,
    /// Docker's schema 2: `type=docker`, `oci-mediatypes=false`.
    Docker,
}

impl MediaTypes {
    /// Of a manifest.
    pub fn manifest(self) -> MediaType {
        match self {
            Self::Oci => MediaType::ImageManifest,
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json".into(),
        }
    }

    /// Of an index.
    pub fn index(self) -> MediaType {
        match self {
            Self::Oci => MediaType::ImageIndex,
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json".into(),
        }
    }

    /// Of a configuration.
    pub fn config(self) -> MediaType {
        match self {
            Self::Oci => MediaType::ImageConfig,
            Self::Docker => "application/vnd.docker.container.image.v1+json".into(),
        }
    }

    /// Of a layer. Docker's name for zstd is containerd's.
    pub fn layer(self, format: CompressionFormat) -> MediaType {
        match (self, format) {
            (Self::Oci, CompressionFormat::Uncompressed) => MediaType::ImageLayer,
            (Self::Oci, CompressionFormat::Gzip) => MediaType::ImageLayerGzip,
            (Self::Oci, CompressionFormat::Zstd) => MediaType::ImageLayerZstd,
            (Self::Docker, CompressionFormat::Uncompressed) => {
                "application/vnd.docker.image.rootfs.diff.tar".into()
            }
            (Self::Docker, CompressionFormat::Gzip) => {
                "application/vnd.docker.image.rootfs.diff.tar.gzip".into()
            }
            (Self::Docker, CompressionFormat::Zstd) => {
                "application/vnd.docker.image.rootfs.diff.tar.zstd".into()
            }
        }
    }
}

/// How a layer of this media type is compressed, whoever's type it is. `None` for what is no layer that kiln knows.
pub fn layer_format(media_type: &MediaType) -> Option<CompressionFormat> {
    let text = media_type.to_string();
    [CompressionFormat::Gzip, CompressionFormat::Zstd, CompressionFormat::Uncompressed].into_iter().find(
        |format| {
            let known = [MediaTypes::Oci, MediaTypes::Docker].map(|kind| kind.layer(*format).to_string());
            let foreign = known.iter().map(|known| {
                known
                    .replace("layer.v1", "layer.nondistributable.v1")
                    .replace("rootfs.diff", "rootfs.foreign.diff")
            });
            known.contains(&text) || foreign.into_iter().any(|foreign| foreign == text)
        },
    )
}
