//! Capabilities as bits, in the kernel's numbering (linux/capability.h).

macro_rules! capabilities {
    ($($name:ident = $number:literal),+ $(,)?) => {
        $(#[doc = concat!("CAP_", stringify!($name))] pub(crate) const $name: u64 = 1 << $number;)+

        /// The bit of a capability by its name with or without `CAP_`.
        pub(crate) fn by_name(name: &str) -> Option<u64> {
            let name = name.to_ascii_uppercase();
            match name.strip_prefix("CAP_").unwrap_or(&name) {
                $(stringify!($name) => Some($name),)+
                _ => None,
            }
        }

        /// The names of the capabilities in `bits`, without `CAP_`.
        pub(crate) fn names(bits: u64) -> Vec<&'static str> {
            let all = [$((stringify!($name), $name)),+];
            all.into_iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| name).collect()
        }
    };
}

capabilities! {
    CHOWN = 0, DAC_OVERRIDE = 1, DAC_READ_SEARCH = 2, FOWNER = 3, FSETID = 4, KILL = 5, SETGID = 6, SETUID = 7, SETPCAP = 8,
    LINUX_IMMUTABLE = 9, NET_BIND_SERVICE = 10, NET_BROADCAST = 11, NET_ADMIN = 12, NET_RAW = 13, IPC_LOCK = 14,
    IPC_OWNER = 15, SYS_MODULE = 16, SYS_RAWIO = 17, SYS_CHROOT = 18, SYS_PTRACE = 19, SYS_PACCT = 20, SYS_ADMIN = 21,
    SYS_BOOT = 22, SYS_NICE = 23, SYS_RESOURCE = 24, SYS_TIME = 25, SYS_TTY_CONFIG = 26, MKNOD = 27, LEASE = 28,
    AUDIT_WRITE = 29, AUDIT_CONTROL = 30, SETFCAP = 31, MAC_OVERRIDE = 32, MAC_ADMIN = 33, SYSLOG = 34, WAKE_ALARM = 35,
    BLOCK_SUSPEND = 36, AUDIT_READ = 37, PERFMON = 38, BPF = 39, CHECKPOINT_RESTORE = 40,
}

/// One past the highest capability that kiln knows.
pub(crate) const COUNT: u32 = 41;

/// All of them.
pub(crate) const ALL: u64 = (1 << COUNT) - 1;

/// Docker's default.
pub(crate) const DEFAULT: u64 = CHOWN
    | DAC_OVERRIDE
    | FSETID
    | FOWNER
    | MKNOD
    | NET_RAW
    | SETGID
    | SETUID
    | SETFCAP
    | SETPCAP
    | NET_BIND_SERVICE
    | SYS_CHROOT
    | KILL
    | AUDIT_WRITE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_dockers() {
        assert_eq!(DEFAULT, 0xa804_25fb);
        assert_eq!(by_name("CAP_SYS_ADMIN"), Some(1 << 21));
        assert_eq!(by_name("bpf"), Some(BPF));
        assert_eq!(by_name("CAP_NONE"), None);
    }
}
