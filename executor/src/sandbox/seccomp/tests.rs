//! The compiled filter is run by a small interpreter, call by call.

use libc::sock_filter;

use super::*;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn run(program: &[sock_filter], arch: u32, number: u32, argument: u64) -> u32 {
    run_with(program, arch, number, &[argument])
}

pub(super) fn run_with(program: &[sock_filter], arch: u32, number: u32, arguments: &[u64]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    data.extend((0..6).flat_map(|index| arguments.get(index).copied().unwrap_or(0).to_le_bytes()));
    let (mut at, mut word) = (0, 0_u32);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { jt } else { jf });
        match code {
            0x20 => word = u32::from_le_bytes(data[k as usize..][..4].try_into().unwrap()),
            0x05 => at += k as usize,
            0x15 => branch(word == k),
            0x25 => branch(word > k),
            0x54 => word &= k,
            0x35 => branch(word >= k),
            0x45 => branch(word & k != 0),
            0x06 => return k,
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn every_listed_call_gets_its_verdict_through_both_entries() {
    let program = default_profile(capability::DEFAULT);
    assert!(program.len() < 1200, "{} instructions", program.len());
    for (arch, column) in ENTRIES {
        let listed: std::collections::BTreeMap<u32, (&str, Rule)> = table::TABLE
            .iter()
            .filter_map(|(name, rule, numbers)| Some((u32::try_from(numbers[column]).ok()?, (*name, *rule))))
            .collect();
        for number in 0..1000 {
            let expected = match listed.get(&number) {
                Some((
                    _,
                    Rule::Allow | Rule::Socket | Rule::Personality | Rule::Clone | Rule::SocketCall,
                )) => ALLOW,
                Some((_, Rule::Needs(any))) if any & capability::DEFAULT != 0 => ALLOW,
                Some((_, Rule::Clone3)) => ENOSYS,
                Some((_, Rule::Needs(_))) => EPERM,
                None if number > NEWEST => ENOSYS,
                None => EPERM,
            };
            let name = listed.get(&number).map_or("unlisted", |l| l.0);
            assert_eq!(run(&program, arch, number, 0), expected, "{name} {number} of {arch:#x}");
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn arguments_decide_where_they_must() {
    let program = default_profile(capability::DEFAULT);
    let socket = |family| run(&program, X86_64, 41, family);
    for family in [1, 2, 10, 16, 17] {
        assert_eq!(socket(family), ALLOW, "family {family}");
        // The kernel looks at 32 bits of it.
        assert_eq!(socket(family | 1 << 32), ALLOW, "family {family}");
    }
    for family in [12, 38, 40, 46, 0xffff_ffff, 38 | 1 << 40] {
        assert_eq!(socket(family), EPERM, "family {family}");
    }
    assert_eq!(run(&program, I386, 359, 38), EPERM);
    assert_eq!(run(&program, I386, 102, 1), ENOSYS, "socketcall(SYS_SOCKET)");
    assert_eq!(run(&program, I386, 102, 3), ALLOW, "socketcall(SYS_CONNECT)");

    let clone = |flags| run(&program, X86_64, 56, flags);
    assert_eq!(clone(17), ALLOW);
    assert_eq!(clone(0x3d_0f00), ALLOW, "a thread");
    for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert_eq!(clone(flag | 17), EPERM, "{flag:#x}");
        assert_eq!(run(&program, I386, 120, flag | 17), EPERM, "{flag:#x}");
    }

    let personality = |persona| run(&program, X86_64, 135, persona);
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(personality(persona), ALLOW, "{persona:#x}");
    }
    assert_eq!(personality(0x4_0000), EPERM, "ADDR_NO_RANDOMIZE");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_dangerous_calls_are_refused() {
    let program = default_profile(capability::DEFAULT);
    for (name, number) in [
        ("io_uring_setup", 425),
        ("io_uring_enter", 426),
        ("keyctl", 250),
        ("add_key", 248),
        ("request_key", 249),
        ("userfaultfd", 323),
        ("bpf", 321),
        ("mount", 165),
        ("unshare", 272),
        ("setns", 308),
        ("open_by_handle_at", 304),
        ("fsopen", 430),
        ("move_mount", 429),
        ("pivot_root", 155),
        ("kexec_load", 246),
        ("init_module", 175),
        ("perf_event_open", 298),
        ("pidfd_getfd", 438),
    ] {
        assert_eq!(run(&program, X86_64, number, 0), EPERM, "{name}");
    }
    assert_eq!(run(&program, X86_64, 0x4000_0000, 0), ENOSYS, "x32 read");
    assert_eq!(run(&program, 0xc000_00b7, 63, 0), ENOSYS, "another architecture");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn capabilities_open_what_they_cover() {
    let program = default_profile(capability::DEFAULT | capability::SYS_ADMIN);
    assert_eq!(run(&program, X86_64, 165, 0), ALLOW, "mount");
    assert_eq!(run(&program, X86_64, 435, 0), ALLOW, "clone3");
    assert_eq!(run(&program, X86_64, 56, 0x1000_0011), ALLOW, "clone of a user namespace");
    assert_eq!(run(&program, X86_64, 425, 0), EPERM, "io_uring_setup");
}
