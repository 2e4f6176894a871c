//! A small assembler for filters (linux/filter.h): jumps are forward, conditional ones reach 255 instructions.

use libc::sock_filter;

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    /// It is performed.
    Allowed,
    /// EPERM.
    Refused,
    /// ENOSYS.
    Missing,
    /// By the address family.
    Socket,
    /// By the sub-call.
    SocketCall,
    /// By the persona.
    Personality,
    /// By the namespace flags.
    Clone,
}

/// The address families that the profile allows, as "from this number on".
pub(super) const FAMILIES: &[(u32, Leaf)] = &[
    (0, Leaf::Allowed),
    (12, Leaf::Refused), // AF_DECnet
    (13, Leaf::Allowed),
    (19, Leaf::Refused), // AF_ECONET, AF_ATMSVC
    (21, Leaf::Allowed),
    (23, Leaf::Refused), // AF_IRDA
    (24, Leaf::Allowed),
    (25, Leaf::Refused), // AF_WANPIPE
    (26, Leaf::Allowed),
    (34, Leaf::Refused), // AF_ISDN
    (35, Leaf::Allowed),
    (37, Leaf::Refused), // AF_CAIF, AF_ALG
    (39, Leaf::Allowed),
    (40, Leaf::Refused), // AF_VSOCK
    (41, Leaf::Allowed),
    (46, Leaf::Refused),
];

/// PER_LINUX, PER_LINUX32, both with UNAME26, and the question for the present one.
pub(super) const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
pub(super) const NAMESPACES: u32 = 0x7e02_0000;

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

// Offsets in struct seccomp_data. All arguments that are looked at are 32 bits wide in the kernel, so that the low half is
// the whole truth; both architectures are little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Instructions as far as they are written.
#[derive(Debug, Default)]
pub(super) struct Program(Vec<sock_filter>);

impl Program {
    /// Adds what `body` writes, for calls through the entry `arch` alone.
    pub(super) fn for_architecture(&mut self, arch: u32, body: impl FnOnce(&mut Program)) {
        let mut inner = Program::default();
        inner.statement(LOAD_WORD, NUMBER);
        body(&mut inner);
        self.statement(LOAD_WORD, ARCHITECTURE);
        self.jump(JUMP_EQUAL, arch, 1, 0);
        self.statement(JUMP, u32::try_from(inner.0.len()).expect("a filter has at most 4096 instructions"));
        self.0.append(&mut inner.0);
    }

    /// Ends the program: calls through any other entry do not exist.
    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        self.leaf(Leaf::Missing);
        self.0
    }

    /// Adds a search of the loaded number in `ranges`, which begin at 0 and are in order.
    pub(super) fn tree(&mut self, ranges: &[(u32, Leaf)]) {
        let (left, right) = ranges.split_at(ranges.len() / 2);
        if left.is_empty() {
            return self.leaf(right[0].1);
        }
        let mut lower = Program::default();
        lower.tree(left);
        let distance = lower.0.len();
        if let Ok(distance) = u8::try_from(distance) {
            self.jump(JUMP_GREATER_EQUAL, right[0].0, distance, 0);
        } else {
            self.jump(JUMP_GREATER_EQUAL, right[0].0, 0, 1);
            self.statement(JUMP, u32::try_from(distance).expect("a filter has at most 4096 instructions"));
        }
        self.0.append(&mut lower.0);
        self.tree(right);
    }

    fn leaf(&mut self, leaf: Leaf) {
        match leaf {
            Leaf::Allowed => self.statement(RETURN, RETURN_ALLOW),
            Leaf::Refused => self.statement(RETURN, RETURN_ERRNO | libc::EPERM.cast_unsigned()),
            Leaf::Missing => self.statement(RETURN, RETURN_ERRNO | libc::ENOSYS.cast_unsigned()),
            Leaf::Socket => {
                self.statement(LOAD_WORD, FIRST_ARGUMENT);
                self.tree(FAMILIES);
            }
            Leaf::SocketCall => {
                const SOCKET: u32 = 1;
                self.statement(LOAD_WORD, FIRST_ARGUMENT);
                self.jump(JUMP_EQUAL, SOCKET, 0, 1);
                self.leaf(Leaf::Missing);
                self.leaf(Leaf::Allowed);
            }
            Leaf::Personality => {
                self.statement(LOAD_WORD, FIRST_ARGUMENT);
                for (at, persona) in (1..).zip(PERSONALITIES) {
                    let allowed = PERSONALITIES.len() as u8 + 1 - at;
                    self.jump(JUMP_EQUAL, persona, allowed, 0);
                }
                self.leaf(Leaf::Refused);
                self.leaf(Leaf::Allowed);
            }
            Leaf::Clone => {
                self.statement(LOAD_WORD, FIRST_ARGUMENT);
                self.jump(JUMP_ANY_BIT, NAMESPACES, 0, 1);
                self.leaf(Leaf::Refused);
                self.leaf(Leaf::Allowed);
            }
        }
    }

    /// Adds the return of `verdict` for the loaded number alone.
    pub(super) fn exactly(&mut self, number: u32, verdict: u32) {
        self.jump(JUMP_EQUAL, number, 0, 1);
        self.verdict(verdict);
    }

    /// Adds the return of `verdict` for all loaded numbers from this one on.
    pub(super) fn at_least(&mut self, number: u32, verdict: u32) {
        self.jump(JUMP_GREATER_EQUAL, number, 0, 1);
        self.verdict(verdict);
    }

    /// Adds the return of `verdict`.
    pub(super) fn verdict(&mut self, verdict: u32) {
        self.statement(RETURN, verdict);
    }

    /// Nothing but the return of `verdict`.
    pub(super) fn of(verdict: u32) -> Self {
        let mut program = Self::default();
        program.verdict(verdict);
        program
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `inner` for the loaded number alone; where it comes to no verdict, what follows finds the number loaded.
    pub(super) fn block(&mut self, number: u32, mut inner: Program) {
        inner.statement(LOAD_WORD, NUMBER);
        let beyond = u8::try_from(inner.0.len()).expect("six conditions are some forty instructions");
        self.jump(JUMP_EQUAL, number, 0, beyond);
        self.0.append(&mut inner.0);
    }

    /// This, where an argument's bits in `mask` are `value`; nothing otherwise.
    pub(super) fn if_equal(self, index: u32, mask: u64, value: u64) -> Self {
        let mut program = Self::default();
        for high in [true, false] {
            program.load_half(index, high);
            if half(mask, high) != u32::MAX {
                program.statement(AND, half(mask, high));
            }
            let to_end = if high { 2 + u8::from(half(mask, false) != u32::MAX) } else { 0 };
            program.jump(JUMP_EQUAL, half(value, high), 0, to_end + self.length());
        }
        program.then(self)
    }

    /// This, where an argument is not `value`.
    pub(super) fn unless_equal(self, index: u32, value: u64) -> Self {
        let mut program = Self::default();
        program.load_half(index, true);
        program.jump(JUMP_EQUAL, half(value, true), 0, 2);
        program.load_half(index, false);
        program.jump(JUMP_EQUAL, half(value, false), self.length(), 0);
        program.then(self)
    }

    /// This, where an argument is `least` or more.
    pub(super) fn if_at_least(self, index: u32, least: u64) -> Self {
        let mut program = Self::default();
        program.load_half(index, true);
        program.jump(JUMP_GREATER, half(least, true), 3, 0);
        program.jump(JUMP_EQUAL, half(least, true), 0, 2 + self.length());
        program.load_half(index, false);
        program.jump(JUMP_GREATER_EQUAL, half(least, false), 0, self.length());
        program.then(self)
    }

    /// This, where an argument is less than `bound`.
    pub(super) fn if_below(self, index: u32, bound: u64) -> Self {
        let mut program = Self::default();
        program.load_half(index, true);
        program.jump(JUMP_GREATER, half(bound, true), 3 + self.length(), 0);
        program.jump(JUMP_EQUAL, half(bound, true), 0, 2);
        program.load_half(index, false);
        program.jump(JUMP_GREATER_EQUAL, half(bound, false), self.length(), 0);
        program.then(self)
    }

    fn load_half(&mut self, index: u32, high: bool) {
        self.statement(LOAD_WORD, FIRST_ARGUMENT + 8 * index + if high { 4 } else { 0 });
    }

    fn length(&self) -> u8 {
        u8::try_from(self.0.len()).expect("six conditions are some forty instructions")
    }

    fn then(mut self, mut rest: Self) -> Self {
        self.0.append(&mut rest.0);
        self
    }

    fn statement(&mut self, code: u16, k: u32) {
        self.0.push(sock_filter { code, jt: 0, jf: 0, k });
    }

    fn jump(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.0.push(sock_filter { code, jt, jf, k });
    }
}

/// 32 bits of 64.
fn half(value: u64, high: bool) -> u32 {
    if high { (value >> 32) as u32 } else { value as u32 }
}
