//! The default profile in an OCI runtime's words, for a process of the native architecture alone: the `socketcall` of the 32-bit
//! entry cannot be told apart by address family there (libseccomp overwrites that argument), so that entry stays shut.

use std::collections::BTreeMap;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::emit::{FAMILIES, Leaf, NAMESPACES, PERSONALITIES};
use super::{ENTRIES, leaf, table};

/// The default profile for a process that may gain `capabilities`.
pub(crate) fn export(capabilities: u64) -> Result<LinuxSeccomp, OciSpecError> {
    let (_, native) = ENTRIES[0];
    let mut plain: BTreeMap<bool, Vec<String>> = BTreeMap::new();
    let mut rules = Vec::new();
    for (name, rule, numbers) in table::TABLE {
        if numbers[native] < 0 {
            continue;
        }
        match leaf(*rule, capabilities) {
            Leaf::Allowed => plain.entry(true).or_default().push((*name).to_owned()),
            Leaf::Missing => plain.entry(false).or_default().push((*name).to_owned()),
            Leaf::Refused | Leaf::SocketCall => {}
            Leaf::Socket => {
                for family in families() {
                    rules.push(allow(name, argument(u64::from(family), None)?)?);
                }
            }
            Leaf::Personality => {
                for persona in PERSONALITIES {
                    rules.push(allow(name, argument(u64::from(persona), None)?)?);
                }
            }
            Leaf::Clone => rules.push(allow(name, argument(u64::from(NAMESPACES), Some(0))?)?),
        }
    }
    for (allowed, names) in plain {
        let rule = LinuxSyscallBuilder::default().names(names);
        rules.push(if allowed {
            rule.action(LinuxSeccompAction::ScmpActAllow).build()?
        } else {
            rule.action(LinuxSeccompAction::ScmpActErrno).errno_ret(libc::ENOSYS.cast_unsigned()).build()?
        });
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(libc::EPERM.cast_unsigned())
        .syscalls(rules)
        .build()
}

/// The address families that are allowed, one by one.
fn families() -> impl Iterator<Item = u32> {
    let ends = FAMILIES.iter().skip(1).map(|&(from, _)| from).chain([FAMILIES[FAMILIES.len() - 1].0]);
    let spans = FAMILIES.iter().zip(ends).filter(|((_, leaf), _)| *leaf == Leaf::Allowed);
    spans.flat_map(|(&(from, _), end)| from..end)
}

fn argument(value: u64, under_mask: Option<u64>) -> Result<LinuxSeccompArg, OciSpecError> {
    let argument = LinuxSeccompArgBuilder::default().index(0_usize).value(value);
    match under_mask {
        None => argument.op(LinuxSeccompOperator::ScmpCmpEq).build(),
        Some(rest) => argument.value_two(rest).op(LinuxSeccompOperator::ScmpCmpMaskedEq).build(),
    }
}

fn allow(name: &str, argument: LinuxSeccompArg) -> Result<LinuxSyscall, OciSpecError> {
    LinuxSyscallBuilder::default()
        .names([name.to_owned()])
        .action(LinuxSeccompAction::ScmpActAllow)
        .args([argument])
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_the_filters() {
        let all: Vec<u32> = families().collect();
        for (family, allowed) in
            [(1, true), (2, true), (16, true), (38, false), (40, false), (45, true), (46, false)]
        {
            assert_eq!(all.contains(&family), allowed, "{family}");
        }
    }
}
