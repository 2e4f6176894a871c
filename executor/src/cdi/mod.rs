//! Devices by name: `vendor.com/class=name`, as the Container Device Interface describes them (CDI 0.8,
//! github.com/cncf-tags/container-device-interface, SPEC.md).

mod apply;
mod file;
mod registry;

use std::path::PathBuf;

pub use apply::apply;
use registry::{Registry, is_qualified};

/// Where specifications are, later ones before earlier ones.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// What a step of a build may have (BuildKit, reference.md#run---device).
#[derive(Debug, Clone, Default)]
pub struct DeviceRules {
    /// Where specifications are; later ones take precedence.
    pub directories: Vec<PathBuf>,
    /// `--allow device`.
    pub all: bool,
    /// `--allow device=NAME`: names, patterns and classes as RUN has them.
    pub allowed: Vec<String>,
}

/// Changes that a container gets for one device, of the specification that describes it.
#[derive(Debug, Clone)]
pub struct Edits {
    /// The device.
    name: String,
    /// Its specification; what is said there for all devices is first.
    from: PathBuf,
    edits: file::ContainerEdits,
    shared: file::ContainerEdits,
}

/// A device that cannot be given.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CdiError {
    /// No specification has it.
    #[error("required device \"{name}\" is not registered{others}")]
    Missing {
        /// As asked for.
        name: String,
        /// What is wrong with specifications that might have it.
        others: String,
    },
    /// The build has not got the right.
    #[error("device \"{0}\" is not allowed: build with --allow device={0}")]
    NotAllowed(String),
    /// It needs what kiln does not do.
    #[error("device \"{name}\": {from} asks for {what}")]
    Unsupported {
        /// The device.
        name: String,
        /// Its specification.
        from: PathBuf,
        /// What kiln does not do.
        what: String,
    },
}

impl DeviceRules {
    /// The devices that a step asks for, each with whether it must be there.
    ///
    /// # Errors
    /// For one that is missing and must be there, and for one that is there and not allowed.
    pub fn of_step(&self, asked: &[(String, bool)]) -> Result<Vec<Edits>, CdiError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let registry = Registry::read(&self.directories);
        let mut given = Vec::new();
        for (name, required) in asked {
            let found = registry.find(name);
            if found.is_empty() && *required {
                return Err(registry.missing(name));
            }
            for device in found {
                let is_allowed = self.all
                    || device.is_allowed
                    || self.allowed.iter().any(|allowed| device.is_meant_by(allowed) || allowed == name);
                if !is_allowed {
                    return Err(CdiError::NotAllowed(device.name.clone()));
                }
                given.push(device.edits());
            }
        }
        Ok(given)
    }
}

/// Whether `--device` with this value asks for a device by name rather than by its node.
pub fn is_name(value: &str) -> bool {
    !value.starts_with('/') && is_qualified(value)
}

/// The devices of these full names.
///
/// # Errors
/// For one that no specification in `directories` has.
pub fn devices(directories: &[PathBuf], names: &[String]) -> Result<Vec<Edits>, CdiError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let registry = Registry::read(directories);
    let mut given = Vec::new();
    for name in names {
        let found = registry.find(name);
        if found.is_empty() {
            return Err(registry.missing(name));
        }
        given.extend(found.into_iter().map(registry::Device::edits));
    }
    Ok(given)
}
