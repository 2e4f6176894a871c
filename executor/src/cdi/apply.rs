//! What a device asks for, into the request of a process.

use std::collections::BTreeSet;
use std::path::Path;

use oci_spec::runtime::MountBuilder;

use super::file::ContainerEdits;
use super::{CdiError, Edits};
use crate::spec::ProcessRequest;

/// Adds what `devices` ask for to `request`: what a specification says for all its devices once, and before theirs.
///
/// # Errors
/// For what kiln does not do: hooks above all.
pub fn apply(devices: &[Edits], request: &mut ProcessRequest) -> Result<(), CdiError> {
    let mut seen = BTreeSet::new();
    let mut given = BTreeSet::new();
    for device in devices {
        let unsupported = |what: &str| CdiError::Unsupported {
            name: device.name.clone(),
            from: device.from.clone(),
            what: what.to_owned(),
        };
        if seen.insert(&device.from) {
            edit(&device.shared, request).map_err(|what| unsupported(&what))?;
        }
        if given.insert(&device.name) {
            edit(&device.edits, request).map_err(|what| unsupported(&what))?;
        }
    }
    Ok(())
}

fn edit(edits: &ContainerEdits, request: &mut ProcessRequest) -> Result<(), String> {
    if !edits.hooks.is_empty() {
        // They are programs that run on the host, as whoever runs kiln.
        return Err("hooks, which kiln does not run".to_owned());
    }
    if edits.intel_rdt.is_some() {
        return Err("intelRdt, which kiln does not set".to_owned());
    }
    for entry in &edits.env {
        let name = entry.split('=').next();
        request.env.retain(|other| other.split('=').next() != name);
        request.env.push(entry.clone());
    }
    for node in &edits.device_nodes {
        // What `--device` takes: kiln shows a process only the nodes that it may open, to read and to write.
        if !["", "rwm", "rw", "mrw"].contains(&node.permissions.as_str()) {
            return Err(format!("the permissions `{}` on {}", node.permissions, node.path.display()));
        }
        if !node.path.starts_with("/dev/") {
            return Err(format!("the device node {}, which is not below /dev", node.path.display()));
        }
        let host = node.host_path.as_ref().unwrap_or(&node.path);
        request.devices.push((host.clone(), node.path.clone()));
    }
    for mount in &edits.mounts {
        let path = |path: &Path| path.is_absolute().then(|| path.to_owned());
        let (Some(source), Some(target)) = (path(&mount.host_path), path(&mount.container_path)) else {
            return Err(format!("a mount from {}", mount.host_path.display()));
        };
        if !matches!(mount.typ.as_deref(), None | Some("" | "bind" | "none")) {
            return Err(format!("a mount of another kind than bind on {}", target.display()));
        }
        let mut options = mount.options.clone();
        if !options.iter().any(|option| option == "bind" || option == "rbind") {
            options.push("rbind".to_owned());
        }
        let built = MountBuilder::default().destination(target).typ("bind").source(source).options(options);
        request.mounts.push(built.build().map_err(|error| format!("a mount: {error}"))?);
    }
    request.user.groups.extend(edits.additional_gids.iter().filter(|&&group| group != 0));
    Ok(())
}
