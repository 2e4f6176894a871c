//! What the end-to-end tests stand on: the kiln binary in a store of its own, base images that need no registry, and
//! readers of what kiln wrote that share no code with it.
//!
//! | module | job |
//! | --- | --- |
//! | `env`, `outcome` | [`TestEnv`]: a directory, a store, a clean environment, a user; [`Outcome`] of one command |
//! | `machines` | [`Machines`]: stores that build the same beside each other |
//! | `binary` | where the kiln binary is |
//! | `base` | busybox and Debian base images from the machine's own packages |
//! | `image`, `layer` | [`Image`] read back from an OCI layout or tar; [`Entry`] of a layer |
//! | `peer` | skopeo, umoci, podman, …; what is absent is *skipped: why*, or a failure under `make test` |
//! | `docker` | [`Docker`]: a dockerd with everything of its own |
//! | `registry` | [`Registry`]: a docker-registry on loopback |
//! | `process` | what runs and what is mounted on the machine |
//! | `random` | numbers that come again with their seed |
//! | `progress` | steps, logs and warnings out of `--progress rawjson` |
//!
//! **Invariant:** nothing here is shared with kiln's crates, so that a fault of theirs cannot hide in the reader.

mod base;
mod binary;
mod docker;
mod env;
mod image;
mod layer;
mod machines;
mod outcome;
mod peer;
mod process;
mod progress;
mod random;
mod registry;

pub use base::{busybox_arm64_tar, busybox_tar, debian_tar};
pub use binary::{kiln_binary, shared, target_dir, workspace};
pub use docker::Docker;
pub use env::{Invocation, TestEnv};
pub use image::Image;
pub use layer::{Entry, Kind, merge, read_layer, sha256};
pub use machines::{Machines, steps_ran};
pub use outcome::Outcome;
pub use peer::{Peer, is_root, skipped};
pub use process::{has_mounts, is_running, processes_of, settle, wait_until};
pub use progress::{Progress, Step, Warning};
pub use random::{Random, amount};
pub use registry::{Login, Registry, Tls};
