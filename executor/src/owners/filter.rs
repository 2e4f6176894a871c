//! The filter that hands calls to the supervisor (linux/filter.h). What the default profile refuses never gets here: of two
//! filters' verdicts the stricter one counts.

use std::sync::LazyLock;

use libc::sock_filter;

use super::calls::{self, When};

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const NO_SUCH_CALL: u32 = 0x0005_0000 | libc::ENOSYS.cast_unsigned();

// Offsets in struct seccomp_data; both architectures are little-endian, and every argument that is looked at has 32 bits.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The filter's program.
pub(super) static PROGRAM: LazyLock<Vec<sock_filter>> = LazyLock::new(|| {
    let mut program = Vec::new();
    for (arch, calls) in calls::of_entries() {
        let mut body = vec![statement(LOAD_WORD, NUMBER)];
        search(&mut body, &calls);
        program.push(statement(LOAD_WORD, ARCHITECTURE));
        program.push(jump(JUMP_EQUAL, arch, 1, 0));
        program.push(statement(JUMP, length(&body)));
        program.append(&mut body);
    }
    program.push(statement(RETURN, ALLOW));
    program
});

/// Halves `calls`, which are in order, until one is left.
fn search(into: &mut Vec<sock_filter>, calls: &[(u32, When)]) {
    if let [(number, when)] = calls {
        let leaf = leaf(*when);
        into.push(jump(JUMP_EQUAL, *number, 0, u8::try_from(leaf.len()).expect("a leaf is short")));
        into.extend(leaf);
        into.push(statement(RETURN, ALLOW));
        return;
    }
    let (left, right) = calls.split_at(calls.len() / 2);
    let mut lower = Vec::new();
    search(&mut lower, left);
    into.push(jump(JUMP_GREATER_EQUAL, right[0].0, 0, 1));
    into.push(statement(JUMP, length(&lower)));
    into.append(&mut lower);
    search(into, right);
}

fn leaf(when: When) -> Vec<sock_filter> {
    let argument = |index: u32| statement(LOAD_WORD, ARGUMENTS + 8 * index);
    match when {
        When::Always => vec![statement(RETURN, NOTIFY)],
        When::Missing => vec![statement(RETURN, NO_SUCH_CALL)],
        When::AnyBit(index, bits) => {
            vec![argument(index), jump(JUMP_ANY_BIT, bits, 0, 1), statement(RETURN, NOTIFY)]
        }
        When::Equal(index, value) => {
            vec![argument(index), jump(JUMP_EQUAL, value, 0, 1), statement(RETURN, NOTIFY)]
        }
    }
}

fn length(program: &[sock_filter]) -> u32 {
    u32::try_from(program.len()).expect("a filter has at most 4096 instructions")
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::super::calls::of_entries;
    use super::*;

    /// What the kernel would do.
    fn run(program: &[sock_filter], arch: u32, number: u32, arguments: [u32; 6]) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let taken = match code {
                LOAD_WORD => {
                    word = match k {
                        NUMBER => number,
                        ARCHITECTURE => arch,
                        k => arguments[((k - ARGUMENTS) / 8) as usize],
                    };
                    continue;
                }
                RETURN => return k,
                JUMP => {
                    at += k as usize;
                    continue;
                }
                JUMP_EQUAL => word == k,
                JUMP_GREATER_EQUAL => word >= k,
                JUMP_ANY_BIT => word & k != 0,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if taken { jt } else { jf });
        }
    }

    #[test]
    fn listed_calls_are_handed_over_and_no_others() {
        let program = &PROGRAM;
        for (arch, calls) in of_entries() {
            for number in 0..1000 {
                let with = |argument| run(program, arch, number, [argument; 6]);
                match calls.iter().find(|(listed, _)| *listed == number) {
                    None => assert_eq!(with(0), ALLOW, "{number}"),
                    Some((_, When::Always)) => assert_eq!(with(0), NOTIFY, "{number}"),
                    Some((_, When::Missing)) => assert_eq!(with(0), NO_SUCH_CALL, "{number}"),
                    Some((_, When::AnyBit(_, value) | When::Equal(_, value))) => {
                        assert_eq!((with(*value), with(0)), (NOTIFY, ALLOW), "{number}");
                    }
                }
            }
        }
        assert_eq!(run(program, 0x1234, 0, [0; 6]), ALLOW, "other entries are the profile's to refuse");
    }
}
