//! The default system call filter: moby's rules compiled to BPF as a binary tree over the call's number.
//!
//! A tree of ranges loads about five times faster than a list of comparisons: the kernel runs the filter once for every
//! number when it is loaded, to learn which calls are always allowed.

mod emit;
mod export;
mod extra;
mod profile;
mod table;

use libc::sock_filter;

use super::capability;
use emit::{Leaf, Program};
pub(crate) use export::export;
pub use profile::ProfileError;
pub(crate) use profile::{Machine, compile};

/// How the default profile treats a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Always allowed.
    Allow,
    /// Allowed with any of these capabilities.
    Needs(u64),
    /// Allowed for the address families that are in use: not AF_ALG, not AF_VSOCK, nothing obsolete.
    Socket,
    /// 32-bit entry to the socket calls. `socket` through it is refused, because its address family is in memory, out of the
    /// filter's sight; every kernel that kiln runs on has the direct call too.
    SocketCall,
    /// Allowed for the usual personalities.
    Personality,
    /// Allowed without new namespaces.
    Clone,
    /// Not there, so that the C library falls back to `clone`, whose flags the filter can see.
    Clone3,
}

/// `AUDIT_ARCH_*` of the native and the 32-bit entry, and their columns of the table.
#[cfg(target_arch = "x86_64")]
const ENTRIES: [(u32, usize); 2] = [(0xc000_003e, 0), (0x4000_0003, 1)];
#[cfg(target_arch = "aarch64")]
const ENTRIES: [(u32, usize); 2] = [(0xc000_00b7, 2), (0x4000_0028, 3)];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the system call table lacks this architecture");

/// The newest system call that the profile was written for; later ones (and x32's) do not exist as far as a step can tell,
/// so that programs fall back to older ones.
const NEWEST: u32 = 469;

/// Compiles the default profile for a process that may gain `capabilities`.
pub(crate) fn default_profile(capabilities: u64) -> Vec<sock_filter> {
    let mut program = Program::default();
    for (arch, column) in ENTRIES {
        program.for_architecture(arch, |body| body.tree(&ranges(column, capabilities)));
    }
    program.finish()
}

/// The numbers of a call on x86_64, i386, aarch64 and 32-bit arm; -1 where there is none.
pub(crate) fn numbers(name: &str) -> Option<[i32; 4]> {
    table::TABLE.iter().find(|(listed, ..)| *listed == name).map(|(_, _, numbers)| *numbers)
}

/// What is done from each number on, up to the next, in order.
fn ranges(column: usize, capabilities: u64) -> Vec<(u32, Leaf)> {
    let mut leaves: Vec<(u32, Leaf)> = table::TABLE
        .iter()
        .filter_map(|(_, rule, numbers)| {
            Some((u32::try_from(numbers[column]).ok()?, leaf(*rule, capabilities)))
        })
        .collect();
    leaves.sort_unstable_by_key(|&(number, _)| number);
    let mut ranges = Vec::new();
    let mut next = 0;
    for (number, leaf) in leaves {
        if number > next {
            let unlisted = if next > NEWEST { Leaf::Missing } else { Leaf::Refused };
            push(&mut ranges, next, unlisted);
            if next <= NEWEST && number > NEWEST + 1 {
                push(&mut ranges, NEWEST + 1, Leaf::Missing);
            }
        }
        push(&mut ranges, number, leaf);
        next = number + 1;
    }
    if next <= NEWEST {
        push(&mut ranges, next, Leaf::Refused);
    }
    push(&mut ranges, next.max(NEWEST + 1), Leaf::Missing);
    ranges
}

fn push(ranges: &mut Vec<(u32, Leaf)>, from: u32, leaf: Leaf) {
    if ranges.last().is_none_or(|&(_, last)| last != leaf) {
        ranges.push((from, leaf));
    }
}

fn leaf(rule: Rule, capabilities: u64) -> Leaf {
    let admin = capabilities & capability::SYS_ADMIN != 0;
    match rule {
        Rule::Allow => Leaf::Allowed,
        Rule::Needs(any) if capabilities & any != 0 => Leaf::Allowed,
        Rule::Needs(_) => Leaf::Refused,
        Rule::Socket => Leaf::Socket,
        Rule::SocketCall => Leaf::SocketCall,
        Rule::Personality => Leaf::Personality,
        Rule::Clone | Rule::Clone3 if admin => Leaf::Allowed,
        Rule::Clone => Leaf::Clone,
        Rule::Clone3 => Leaf::Missing,
    }
}

#[cfg(test)]
mod tests;
