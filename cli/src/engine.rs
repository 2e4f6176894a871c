//! Docker or podman on this machine, as a place for an image: `--load`.

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use kiln_core::Digest;
use kiln_exporter::{BlobRead, ExportError, Exported, Naming, write_docker_tar, write_docker_tar_without};

/// Storage drivers of a docker that takes an archive without the layers that it has.
const SPARING: [&str; 8] =
    ["overlay2", "vfs", "fuse-overlayfs", "btrfs", "zfs", "overlay", "aufs", "devicemapper"];

/// Why an image could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// It could not be started or written to.
    #[error("hand the image to `{program} load`")]
    Io {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The archive could not be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// It refused.
    #[error("`{program} load` failed: {said}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What it said.
        said: String,
    },
}

/// A container engine that can be asked.
#[derive(Debug)]
pub(crate) struct Engine {
    program: &'static str,
    /// The layers of its images, from the bottom on: each beginning of each image.
    chains: HashSet<Vec<String>>,
}

impl Engine {
    /// Docker, if its daemon answers, else podman, if it is there.
    pub(crate) fn find() -> Option<Self> {
        let said = |program, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        if let Some(driver) = said("docker", &["info", "--format", "{{.Driver}}"]) {
            let mut engine = Self { program: "docker", chains: HashSet::new() };
            if SPARING.contains(&driver.trim()) {
                let ids =
                    said("docker", &["image", "ls", "--all", "--quiet", "--no-trunc"]).unwrap_or_default();
                let ids: Vec<&str> = ids.lines().collect();
                for some in ids.chunks(200) {
                    let arguments =
                        [&["image", "inspect", "--format", "{{json .RootFS.Layers}}"], some].concat();
                    engine.learn(&said("docker", &arguments).unwrap_or_default());
                }
            }
            return Some(engine);
        }
        said("podman", &["--version"]).map(|_| Self { program: "podman", chains: HashSet::new() })
    }

    /// Takes note of images: a JSON array of digests a line.
    fn learn(&mut self, images: &str) {
        for layers in images.lines().filter_map(|line| serde_json::from_str::<Vec<String>>(line).ok()) {
            self.chains.extend((1..=layers.len()).map(|height| layers[..height].to_vec()));
        }
    }

    /// Loads an image, without the layers that are there; with them if it will not do without.
    ///
    /// # Errors
    /// The engine refuses, or a blob cannot be read.
    pub(crate) fn take(
        &self,
        exported: Exported<'_>,
        naming: &Naming,
        blobs: &dyn BlobRead,
    ) -> Result<(), EngineError> {
        let there = match exported.images() {
            [image] => {
                let diff_ids: Vec<String> =
                    image.layers.iter().map(|layer| layer.diff_id.0.to_string()).collect();
                let layers = image.layers[..self.has(&diff_ids)].iter();
                layers.filter_map(|layer| layer.descriptor.digest().to_string().parse().ok()).collect()
            }
            _ => HashSet::<Digest>::new(),
        };
        if !there.is_empty()
            && self.load(|out| write_docker_tar_without(out, &[(exported, naming)], blobs, there)).is_ok()
        {
            return Ok(());
        }
        self.load(|out| write_docker_tar(out, &[(exported, naming)], blobs))
    }

    /// How many of an image's layers it has, from the bottom on.
    fn has(&self, diff_ids: &[String]) -> usize {
        (0..=diff_ids.len()).rev().find(|height| self.chains.contains(&diff_ids[..*height])).unwrap_or(0)
    }

    /// Loads the archive that `write` writes.
    ///
    /// # Errors
    /// The engine refuses, or the archive cannot be written.
    fn load(&self, write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>) -> Result<(), EngineError> {
        let failed = |cause| EngineError::Io { program: self.program, cause };
        let mut child = Command::new(self.program)
            .args(["load", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let written = match child.stdin.take() {
            Some(stdin) => {
                let mut out = io::BufWriter::with_capacity(1 << 20, stdin);
                write(&mut out).and_then(|()| out.flush().map_err(ExportError::stream()))
            }
            None => Ok(()),
        };
        let Output { status, stderr, .. } = child.wait_with_output().map_err(failed)?;
        if !status.success() {
            // An archive that it stopped reading is its own fault.
            let said = String::from_utf8_lossy(&stderr).trim().to_owned();
            return Err(EngineError::Refused { program: self.program, said });
        }
        Ok(written?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_known_from_the_bottom_on() {
        let mut engine = Engine { program: "docker", chains: HashSet::new() };
        engine.learn("[\"a\",\"b\",\"c\"]\n[\"d\"]\n");
        let has = |layers: &[&str]| engine.has(&layers.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!((has(&["a", "b", "x"]), has(&["b"]), has(&["d", "a"]), has(&[])), (2, 0, 1, 0));
    }
}
