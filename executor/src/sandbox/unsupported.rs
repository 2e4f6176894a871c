//! What an OCI `Spec` may ask for and kiln does not do: refused by name, so that nothing is passed over in silence.

use oci_spec::runtime::Spec;

/// The first part of `spec` that kiln does not carry out.
pub(super) fn find(spec: &Spec) -> Option<&'static str> {
    let parts = [
        ("hooks", spec.hooks().is_some()),
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
        ("uidMappings", spec.uid_mappings().as_ref().is_some_and(|list| !list.is_empty())),
        ("gidMappings", spec.gid_mappings().as_ref().is_some_and(|list| !list.is_empty())),
    ];
    let process = spec.process().iter().flat_map(|process| {
        let labelled = |label: &Option<String>| label.as_ref().is_some_and(|label| !label.is_empty());
        [
            ("process.commandLine", process.command_line().is_some()),
            ("process.apparmorProfile", labelled(process.apparmor_profile())),
            ("process.selinuxLabel", labelled(process.selinux_label())),
            ("process.ioPriority", process.io_priority().is_some()),
            ("process.scheduler", process.scheduler().is_some()),
            ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
        ]
    });
    let linux = spec.linux().iter().flat_map(|linux| {
        let propagation = linux.rootfs_propagation().as_deref();
        let resources = linux.resources().as_ref();
        [
            ("linux.netDevices", linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())),
            ("linux.uidMappings", linux.uid_mappings().as_ref().is_some_and(|list| !list.is_empty())),
            // Mounts are private always; what asks for less sharing than the host's has it.
            ("linux.rootfsPropagation", propagation.is_some_and(|word| !PRIVATE.contains(&word))),
            ("linux.mountLabel", linux.mount_label().as_ref().is_some_and(|label| !label.is_empty())),
            ("linux.intelRdt", linux.intel_rdt().is_some()),
            ("linux.memoryPolicy", linux.memory_policy().is_some()),
            ("linux.personality", linux.personality().is_some()),
            ("linux.timeOffsets", linux.time_offsets().is_some()),
            ("linux.resources.unified", resources.is_some_and(|resources| resources.unified().is_some())),
            ("linux.resources.network", resources.is_some_and(|resources| resources.network().is_some())),
        ]
    });
    let mut all = parts.into_iter().chain(process).chain(linux);
    all.find(|(_, asked)| *asked).map(|(name, _)| name)
}

const PRIVATE: [&str; 5] = ["", "private", "rprivate", "slave", "rslave"];
