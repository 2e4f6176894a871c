//! Compiled profiles, run by the interpreter of the default profile's tests.

use super::super::tests::run_with;
use super::*;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const MACHINE: Machine = Machine { capabilities: capability::DEFAULT, kernel: (6, 1) };

#[track_caller]
fn compiled(text: &str) -> Vec<sock_filter> {
    compile(text, MACHINE).unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn names_get_their_action_and_the_rest_the_default() {
    let program = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
            "syscalls": [{"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                         {"name": "keyctl", "action": "SCMP_ACT_KILL_PROCESS"},
                         {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#,
    );
    for (arch, read, keyctl, bpf) in [(X86_64, 0, 250, 321), (I386, 3, 288, 357)] {
        assert_eq!(run_with(&program, arch, read, &[]), ALLOW);
        assert_eq!(run_with(&program, arch, keyctl, &[]), 0x8000_0000);
        assert_eq!(run_with(&program, arch, bpf, &[]), 0x0005_000d);
        assert_eq!(run_with(&program, arch, 20, &[]), ENOSYS);
    }
    assert_eq!(run_with(&program, 1, 0, &[]), ENOSYS, "an entry of another machine");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_profile_of_refusals_is_not_passed_by_through_another_entry() {
    let program = compiled(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!(run_with(&program, X86_64, 83, &[]), EPERM);
    assert_eq!(run_with(&program, X86_64, 0x4000_0000 | 83, &[]), ENOSYS);
    assert_eq!(run_with(&program, I386, 39, &[]), ENOSYS);
    let unknown = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdirs"], "action": "SCMP_ACT_ERRNO"}]}"#;
    assert!(matches!(compile(unknown, MACHINE), Err(ProfileError::Unknown(name)) if name == "mkdirs"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn conditions_compare_all_64_bits() {
    let program = |op: &str, value: u64, two: u64| {
        compiled(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                 "args": [{{"index": 1, "value": {value}, "valueTwo": {two}, "op": "SCMP_CMP_{op}"}}]}}]}}"#
        ))
    };
    let big = 5 << 32 | 7;
    type Holds = fn(u64, u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("EQ", |a, b| a == b),
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("GT", |a, b| a > b),
        ("GE", |a, b| a >= b),
    ];
    for value in [0, 7, big, u64::MAX] {
        for (op, holds) in operators {
            let program = program(op, value, 0);
            for argument in [0, 1, 6, 7, 8, big - 1, big, big + 1, big + (1 << 32), 4 << 32 | 9, u64::MAX] {
                let expected = if holds(argument, value) { ALLOW } else { EPERM };
                assert_eq!(
                    run_with(&program, X86_64, 0, &[0, argument]),
                    expected,
                    "{argument} {op} {value}"
                );
            }
        }
    }
    let masked = program("MASKED_EQ", 0xff00_0000_00ff, 0x1200_0000_0034);
    assert_eq!(run_with(&masked, X86_64, 0, &[0, 0x12ab_cdef_0134]), ALLOW);
    assert_eq!(run_with(&masked, X86_64, 0, &[0, 0x13ab_cdef_0134]), EPERM);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn rules_apply_by_capability_architecture_and_kernel() {
    let verdict = |extra: &str| {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["read"], "action": "SCMP_ACT_ALLOW", {extra}}}]}}"#
        );
        run_with(&compiled(&text), X86_64, 0, &[]) == ALLOW
    };
    for (extra, expected) in [
        (r#""includes": {"caps": ["CAP_CHOWN"]}"#, true),
        (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#, false),
        (r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#, true),
        (r#""excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}"#, false),
        (r#""includes": {"arches": ["amd64", "x32"]}"#, true),
        (r#""includes": {"arches": ["s390x"]}"#, false),
        (r#""excludes": {"arches": ["amd64"]}"#, false),
        (r#""includes": {"minKernel": "4.8"}"#, true),
        (r#""includes": {"minKernel": "6.2"}"#, false),
        (r#""comment": "x", "includes": {}, "excludes": {}"#, true),
    ] {
        assert_eq!(verdict(extra), expected, "{extra}");
    }
}

#[test]
fn what_is_no_profile_says_why() {
    for (text, word) in [
        ("", "read the system call profile"),
        ("{}", "read the system call profile"),
        (r#"{"defaultAction": "ALLOW"}"#, "`ALLOW`"),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "`SCMP_ACT_NOTIFY`"),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
            "`6`",
        ),
    ] {
        let error = compile(text, MACHINE).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}
