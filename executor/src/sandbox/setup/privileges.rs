//! The last things before the program: limits, ids, capabilities, the system call filter.

use std::os::fd::OwnedFd;

use libc::sock_filter;
use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit as Limit, Signal, Uid, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::failure::{During, Setup};
use crate::owners;
use crate::sandbox::capability;
use crate::sandbox::plan::{Process, Rlimit};
use crate::sys;

/// Sets resource limits, as far as this process may: a limit above what it has itself is lowered to that.
///
/// Where owners are recorded, the limit on locks carries a process's credentials.
pub(super) fn limit_resources(limits: &[Rlimit], record_owners: bool) -> Setup<()> {
    for limit in limits {
        let Some(resource) = resource(limit.resource) else { continue };
        if record_owners && resource == Resource::Locks {
            continue;
        }
        let wanted = Limit { current: limit.soft, maximum: limit.hard };
        let what = || format!("set the resource limit {resource:?}");
        match setrlimit(resource, wanted) {
            Err(Errno::PERM) => {
                let most = getrlimit(resource).maximum;
                let lower = |value: Option<u64>| match (value, most) {
                    (Some(value), Some(most)) => Some(value.min(most)),
                    (None, most) => most,
                    (value, None) => value,
                };
                setrlimit(resource, Limit { current: lower(limit.soft), maximum: lower(limit.hard) })
                    .during(what)?;
            }
            result => result.during(what)?,
        }
    }
    Ok(())
}

fn resource(number: u32) -> Option<Resource> {
    Some(match number as libc::c_int as _ {
        libc::RLIMIT_CPU => Resource::Cpu,
        libc::RLIMIT_FSIZE => Resource::Fsize,
        libc::RLIMIT_DATA => Resource::Data,
        libc::RLIMIT_STACK => Resource::Stack,
        libc::RLIMIT_CORE => Resource::Core,
        libc::RLIMIT_RSS => Resource::Rss,
        libc::RLIMIT_NPROC => Resource::Nproc,
        libc::RLIMIT_NOFILE => Resource::Nofile,
        libc::RLIMIT_MEMLOCK => Resource::Memlock,
        libc::RLIMIT_AS => Resource::As,
        libc::RLIMIT_LOCKS => Resource::Locks,
        libc::RLIMIT_SIGPENDING => Resource::Sigpending,
        libc::RLIMIT_MSGQUEUE => Resource::Msgqueue,
        libc::RLIMIT_NICE => Resource::Nice,
        libc::RLIMIT_RTPRIO => Resource::Rtprio,
        libc::RLIMIT_RTTIME => Resource::Rttime,
        _ => return None,
    })
}

/// Whether a filter can be loaded without no_new_privs.
pub(super) fn may_filter() -> bool {
    let have = rustix::thread::capabilities(None).map(|sets| sets.effective.bits()).unwrap_or_default();
    have & capability::SYS_ADMIN != 0
}

/// Becomes the process's user with its capabilities, filtered by `filter`. With a `recorder` the kernel's own user stays root,
/// with all capabilities that root may have there: who the process is, the recorder knows.
pub(super) fn drop_privileges(
    process: &Process,
    filter: Option<&[sock_filter]>,
    recorder: Option<&OwnedFd>,
) -> Setup<()> {
    let mut sets = process.capabilities;
    if recorder.is_some() {
        (sets.permitted, sets.effective, sets.ambient) = (sets.bounding, sets.bounding, 0);
    }
    for number in (0..capability::COUNT).filter(|number| sets.bounding & 1 << number == 0) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // What a container does not have needs no CAP_SETPCAP to be taken away.
        if let Ok(false) | Err(_) = rustix::thread::capability_is_in_bounding_set(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            // A capability that this kernel does not have.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error).during(|| "drop capabilities".into()),
        }
    }
    rustix::thread::set_keep_capabilities(true)
        .during(|| "keep capabilities over the change of user".into())?;
    if recorder.is_none() {
        change_user(process)?;
    }
    // A change of ids clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .during(|| "tie the process to kiln".into())?;
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).during(|| "set no_new_privs".into())?;
    }
    // The filters come as late as can be; only the final capset and execve go through them.
    if (filter.is_some() || recorder.is_some()) && !process.no_new_privileges {
        capset(sets.permitted | capability::SYS_ADMIN, capability::SYS_ADMIN, 0)?;
    }
    if let Some(recorder) = recorder {
        owners::submit(recorder)?;
    }
    if let Some(filter) = filter {
        sys::filter_system_calls(filter).during(|| "load the system call filter".into())?;
    }
    capset(sets.permitted, sets.effective & sets.permitted, sets.inheritable)?;
    for number in (0..capability::COUNT).filter(|number| sets.ambient & 1 << number != 0) {
        rustix::thread::configure_capability_in_ambient_set(
            CapabilitySet::from_bits_retain(1 << number),
            true,
        )
        .during(|| "raise ambient capabilities".into())?;
    }
    Ok(())
}

fn capset(permitted: u64, effective: u64, inheritable: u64) -> Setup<()> {
    // What this process does not have itself (in a container) it cannot give.
    let have = rustix::thread::capabilities(None).during(|| "read capabilities".into())?.permitted;
    let set = |bits: u64| CapabilitySet::from_bits_retain(bits) & have;
    let sets = CapabilitySets {
        permitted: set(permitted),
        effective: set(effective),
        inheritable: set(inheritable),
    };
    rustix::thread::set_capabilities(None, sets).during(|| "set capabilities".into())
}

fn change_user(process: &Process) -> Setup<()> {
    let groups: Vec<Gid> = process.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // Where only one id is mapped the kernel keeps the groups as they are.
        Err(Errno::PERM) if groups.is_empty() => {}
        result => result.during(|| format!("set the supplementary groups {:?}", process.groups))?,
    }
    let gid = Gid::from_raw(process.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).during(|| format!("become group {}", process.gid))?;
    let uid = Uid::from_raw(process.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).during(|| format!("become user {}", process.uid))
}
