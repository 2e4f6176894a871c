//! The `config.json` of a bundle: its `Spec`, the grafts as bind mounts, and the default filter in OCI's words.

use std::path::Path;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxResources, Mount, MountBuilder,
    Spec,
};

use super::error::setup;
use super::stage::{Stage, kind_of};
use crate::sandbox::plan::{Filter, Network, Plan};
use crate::sandbox::setup::Marks;
use crate::sandbox::setup::root::Kind;
use crate::sandbox::{Bundle, GraftSource, SandboxError, seccomp};

fn built<T>(result: Result<T, OciSpecError>) -> Result<T, SandboxError> {
    result.map_err(|error| SandboxError::Spec(error.to_string()))
}

/// The configuration, and what of the limits is passed over.
pub(super) fn config(
    bundle: &Bundle,
    plan: &Plan,
    stage: &mut Stage,
    crun: bool,
    id: &str,
    marks: Marks,
) -> Result<(Spec, Vec<String>), SandboxError> {
    let mut spec = bundle.spec.clone();
    // The oldest that says all of this.
    spec.set_version("1.0.2".to_owned());
    let mut mounts: Vec<Mount> = spec.mounts().clone().unwrap_or_default();
    // Where it is refused (a hybrid layout) what sysfs shows at that place is what there is, as in kiln's own sandbox.
    mounts.retain(|mount| !matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")));
    if marks == Marks::User && matches!(plan.namespaces.network, Network::Host) {
        for mount in mounts.iter_mut().filter(|mount| mount.typ().as_deref() == Some("sysfs")) {
            bind_sysfs(mount);
        }
    }
    for mount in &mounts {
        stage.point(&mount.destination().to_string_lossy(), Kind::Directory)?;
    }
    for graft in &bundle.grafts {
        let (mount, kind) = translate(&graft.source, &graft.target, graft.read_only, stage, plan, marks)?;
        stage.point(&graft.target, kind)?;
        mounts.push(mount);
    }
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut user = process.user().clone();
        user.set_umask(Some(plan.process.umask));
        process.set_user(user);
        // Without a control group nothing would keep device nodes that a step makes from being opened in its /dev.
        if crun
            && !plan.root_devices
            && let Some(mut sets) = process.capabilities().clone()
        {
            let bounding = without_mknod(sets.bounding());
            let effective = without_mknod(sets.effective());
            let permitted = without_mknod(sets.permitted());
            sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
            process.set_capabilities(Some(sets));
        }
    }
    let mut passed_over = Vec::new();
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(match &plan.process.filter {
            Filter::None => None,
            Filter::Default => Some(built(seccomp::export(plan.process.capabilities.bounding))?),
            Filter::Program(_) => {
                return Err(SandboxError::Spec(
                    "a seccomp profile of one's own is not supported with --runtime".to_owned(),
                ));
            }
        });
        if let (true, Some(limits)) = (crun, &plan.limits) {
            if !limits.best_effort {
                return Err(SandboxError::Spec(
                    "limits need a control group, and crun is run without: use --runtime runc or --limits=best-effort"
                        .to_owned(),
                ));
            }
            passed_over.push("limits, by crun: it is run without a control group".to_owned());
        }
        if crun {
            linux.set_resources(None);
        } else {
            let resources = linux.resources().clone().unwrap_or_default();
            linux.set_resources(Some(with_device_rules(resources, plan)?));
            // What is a parent here is the group itself there.
            let group = linux.cgroups_path().as_ref().map(|parent| parent.join(id));
            linux.set_cgroups_path(group);
        }
    }
    Ok((spec, passed_over))
}

/// A user namespace that does not own the network may not mount one of its own (fs/sysfs/mount.c). Without the mounts below it,
/// which are locked, it cannot be bound.
fn bind_sysfs(mount: &mut Mount) {
    let mut options = mount.options().clone().unwrap_or_default();
    options.push("rbind".to_owned());
    mount.set_typ(Some("bind".to_owned())).set_source(Some("/sys".into())).set_options(Some(options));
}

fn without_mknod(set: &Option<Capabilities>) -> Option<Capabilities> {
    set.clone().map(|mut set| {
        set.remove(&Capability::Mknod);
        set
    })
}

/// All devices but the usual ones, which the runtime adds, and those that were asked for are out of reach.
fn with_device_rules(mut resources: LinuxResources, plan: &Plan) -> Result<LinuxResources, SandboxError> {
    let mut rules =
        vec![built(LinuxDeviceCgroupBuilder::default().allow(plan.root_devices).access("rwm").build())?];
    for device in &plan.devices {
        let typ = if device.character { LinuxDeviceType::C } else { LinuxDeviceType::B };
        let rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(typ)
            .major(i64::from(device.major))
            .minor(i64::from(device.minor))
            .access("rwm");
        rules.push(built(rule.build())?);
    }
    // Nodes can be made, as with Docker; what they lead to cannot be opened.
    for typ in [LinuxDeviceType::C, LinuxDeviceType::B] {
        rules.push(built(LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).access("m").build())?);
    }
    resources.set_devices(Some(rules));
    Ok(resources)
}

fn translate(
    source: &GraftSource,
    target: &str,
    read_only: bool,
    stage: &mut Stage,
    plan: &Plan,
    marks: Marks,
) -> Result<(Mount, Kind), SandboxError> {
    let (path, kind) = match source {
        GraftSource::Tree { tree, path } => stage.tree(tree, path, marks, plan.root_devices)?,
        GraftSource::Content(content) => (stage.content(content)?, Kind::File),
        GraftSource::Path(path) | GraftSource::PathAlone(path) => (path.clone(), kind_at(path)?),
        GraftSource::Tmpfs { size, mode, no_exec, .. } => {
            let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), format!("mode={mode:o}")];
            options.extend(size.map(|size| format!("size={size}")));
            options.extend(no_exec.then(|| "noexec".to_owned()));
            let mount = MountBuilder::default().destination(target).typ("tmpfs").source("tmpfs");
            return Ok((built(mount.options(options).build())?, Kind::Directory));
        }
    };
    let (bind, private) = match source {
        GraftSource::Path(_) => ("rbind", "rprivate"),
        _ => ("bind", "private"),
    };
    let mut options = vec![bind.to_owned(), private.to_owned()];
    options.extend(read_only.then(|| "ro".to_owned()));
    options.extend((!plan.root_devices).then(|| "nodev".to_owned()));
    let mount = MountBuilder::default().destination(target).typ("bind").source(path).options(options);
    Ok((built(mount.build())?, kind))
}

fn kind_at(path: &Path) -> Result<Kind, SandboxError> {
    use rustix::fs::{CWD, Mode, OFlags};
    let found = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| setup(format!("bind {}", path.display()))(error.into()))?;
    kind_of(&found)
}
