//! Which system calls the supervisor answers, by name: the numbers are those of the default profile's table.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::sandbox::seccomp;

/// What a call does, whatever its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emulated {
    Chown,
    ChownLink,
    ChownFile,
    ChownAt,
    Stat,
    StatLink,
    StatFile,
    StatAt,
    Statx,
    Open,
    OpenAt,
    OpenAt2,
    Create,
    MakeDirectory,
    MakeDirectoryAt,
    MakeLink,
    MakeLinkAt,
    MakeNode,
    MakeNodeAt,
    Set(Ids, Change),
    SetGroups,
    Get(Ids, Which),
    GetAll(Ids),
    GetGroups,
    GetCapabilities,
    SetCapabilities,
    Prctl,
    Execute,
    ExecuteAt,
    Limit,
    GetLimit,
    SetLimit,
    PeerCredentials,
    ListAttributes,
    ListLinkAttributes,
    ListFileAttributes,
    SetAttribute,
    ChangeRoot,
}

/// Users or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    Users,
    Groups,
}

/// How ids are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// `setuid`
    One,
    /// `setreuid`
    Two,
    /// `setresuid`
    Three,
    /// `setfsuid`
    Files,
}

/// Which of a process's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Real,
    Effective,
}

/// When a call is handed to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// If the argument has one of these bits.
    AnyBit(u32, u32),
    /// If the argument is this.
    Equal(u32, u32),
    /// Never: it does not exist.
    Missing,
}

/// O_CREAT and __O_TMPFILE, which are the same everywhere that kiln runs.
const CREATES: u32 = 0o100 | 0o20_000_000;
const KEEP_CAPABILITIES: u32 = libc::PR_SET_KEEPCAPS.cast_unsigned();
const LOCKS: u32 = libc::RLIMIT_LOCKS;
const PEER: u32 = libc::SO_PEERCRED.cast_unsigned();

use Emulated as E;
use When::{Always, AnyBit, Equal, Missing};

/// Name through the 64-bit entry, through i386's (where some calls by the old name have ids of 16 bits, and are left to
/// fail), and what it is.
#[rustfmt::skip]
const CALLS: &[(&str, &str, Emulated, When)] = &[
    ("chown", "chown32", E::Chown, Always),
    ("lchown", "lchown32", E::ChownLink, Always),
    ("fchown", "fchown32", E::ChownFile, Always),
    ("fchownat", "fchownat", E::ChownAt, Always),
    ("stat", "stat64", E::Stat, Always),
    ("lstat", "lstat64", E::StatLink, Always),
    ("fstat", "fstat64", E::StatFile, Always),
    ("newfstatat", "fstatat64", E::StatAt, Always),
    ("statx", "statx", E::Statx, Always),
    ("open", "open", E::Open, AnyBit(1, CREATES)),
    ("openat", "openat", E::OpenAt, AnyBit(2, CREATES)),
    ("openat2", "openat2", E::OpenAt2, Always),
    ("creat", "creat", E::Create, Always),
    ("mkdir", "mkdir", E::MakeDirectory, Always),
    ("mkdirat", "mkdirat", E::MakeDirectoryAt, Always),
    ("symlink", "symlink", E::MakeLink, Always),
    ("symlinkat", "symlinkat", E::MakeLinkAt, Always),
    ("mknod", "mknod", E::MakeNode, Always),
    ("mknodat", "mknodat", E::MakeNodeAt, Always),
    ("setuid", "setuid32", E::Set(Ids::Users, Change::One), Always),
    ("setreuid", "setreuid32", E::Set(Ids::Users, Change::Two), Always),
    ("setresuid", "setresuid32", E::Set(Ids::Users, Change::Three), Always),
    ("setfsuid", "setfsuid32", E::Set(Ids::Users, Change::Files), Always),
    ("setgid", "setgid32", E::Set(Ids::Groups, Change::One), Always),
    ("setregid", "setregid32", E::Set(Ids::Groups, Change::Two), Always),
    ("setresgid", "setresgid32", E::Set(Ids::Groups, Change::Three), Always),
    ("setfsgid", "setfsgid32", E::Set(Ids::Groups, Change::Files), Always),
    ("setgroups", "setgroups32", E::SetGroups, Always),
    ("getuid", "getuid32", E::Get(Ids::Users, Which::Real), Always),
    ("geteuid", "geteuid32", E::Get(Ids::Users, Which::Effective), Always),
    ("getgid", "getgid32", E::Get(Ids::Groups, Which::Real), Always),
    ("getegid", "getegid32", E::Get(Ids::Groups, Which::Effective), Always),
    ("getresuid", "getresuid32", E::GetAll(Ids::Users), Always),
    ("getresgid", "getresgid32", E::GetAll(Ids::Groups), Always),
    ("getgroups", "getgroups32", E::GetGroups, Always),
    ("capget", "capget", E::GetCapabilities, Always),
    ("capset", "capset", E::SetCapabilities, Always),
    ("prctl", "prctl", E::Prctl, Equal(0, KEEP_CAPABILITIES)),
    ("execve", "execve", E::Execute, Always),
    ("execveat", "execveat", E::ExecuteAt, Always),
    ("prlimit64", "prlimit64", E::Limit, Equal(1, LOCKS)),
    ("getrlimit", "ugetrlimit", E::GetLimit, Equal(0, LOCKS)),
    ("setrlimit", "setrlimit", E::SetLimit, Equal(0, LOCKS)),
    ("getsockopt", "getsockopt", E::PeerCredentials, Equal(2, PEER)),
    ("listxattr", "listxattr", E::ListAttributes, Always),
    ("llistxattr", "llistxattr", E::ListLinkAttributes, Always),
    ("flistxattr", "flistxattr", E::ListFileAttributes, Always),
    // It fills the same list; programs fall back to the ones above.
    ("listxattrat", "listxattrat", E::ListAttributes, Missing),
    ("setxattr", "setxattr", E::SetAttribute, Always),
    ("lsetxattr", "lsetxattr", E::SetAttribute, Always),
    ("fsetxattr", "fsetxattr", E::SetAttribute, Always),
    ("removexattr", "removexattr", E::SetAttribute, Always),
    ("lremovexattr", "lremovexattr", E::SetAttribute, Always),
    ("fremovexattr", "fremovexattr", E::SetAttribute, Always),
    ("chroot", "chroot", E::ChangeRoot, Always),
    ("unshare", "unshare", E::ChangeRoot, Always),
    ("setns", "setns", E::ChangeRoot, Always),
];

/// io_uring creates and looks at files out of the filter's sight. One number everywhere.
const IO_URING_SETUP: u32 = 425;

/// `AUDIT_ARCH_*` of an entry, its column in the default profile's table, and whether its words have 64 bits.
#[cfg(target_arch = "x86_64")]
const ENTRIES: &[(u32, usize, bool)] = &[(0xc000_003e, 0, true), (I386, 1, false)];
/// 32-bit programs on ARM keep the owners that the kernel gives them: root alone.
#[cfg(target_arch = "aarch64")]
const ENTRIES: &[(u32, usize, bool)] = &[(0xc000_00b7, 2, true)];

/// `AUDIT_ARCH_I386`
pub(super) const I386: u32 = 0x4000_0003;

/// The calls of one entry, by number, in order.
pub(super) fn of_entries() -> Vec<(u32, Vec<(u32, When)>)> {
    let entry = |(arch, column, wide): &(u32, usize, bool)| {
        let mut calls: Vec<(u32, When)> =
            CALLS.iter().filter_map(|call| Some((number(call, *column, *wide)?, call.3))).collect();
        calls.push((IO_URING_SETUP, Missing));
        calls.sort_unstable_by_key(|(number, _)| *number);
        (*arch, calls)
    };
    ENTRIES.iter().map(entry).collect()
}

/// What each number means, by entry and number.
pub(super) static MEANINGS: LazyLock<HashMap<(u32, u32), Emulated>> = LazyLock::new(|| {
    let mut meanings = HashMap::new();
    for (arch, column, wide) in ENTRIES {
        for call in CALLS {
            if let Some(number) = number(call, *column, *wide) {
                meanings.insert((*arch, number), call.2);
            }
        }
    }
    meanings
});

fn number(call: &(&str, &str, Emulated, When), column: usize, wide: bool) -> Option<u32> {
    let name = if wide { call.0 } else { call.1 };
    u32::try_from(seccomp::numbers(name)?[column]).ok()
}
