//! Numbers of system calls that the default profile never allows: a profile of the user's may speak of them.

/// Name, and the number on x86_64, i386, aarch64 and 32-bit arm; -1 where there is none.
#[rustfmt::skip]
pub(super) static TABLE: &[(&str, [i32; 4])] = &[
    ("_sysctl", [156, 149, -1, 149]),
    ("add_key", [248, 286, 217, 309]),
    ("io_uring_enter", [426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427]),
    ("io_uring_setup", [425, 425, 425, 425]),
    ("kexec_file_load", [320, -1, 294, 401]),
    ("kexec_load", [246, 283, 104, 347]),
    ("keyctl", [250, 288, 219, 311]),
    ("migrate_pages", [256, 294, 238, 400]),
    ("move_pages", [279, 317, 239, 344]),
    ("nfsservctl", [180, 169, 42, 169]),
    ("pivot_root", [155, 217, 41, 218]),
    ("request_key", [249, 287, 218, 310]),
    ("swapoff", [168, 115, 225, 115]),
    ("swapon", [167, 87, 224, 87]),
    ("sysfs", [139, 135, -1, 135]),
    ("uselib", [134, 86, -1, 86]),
    ("userfaultfd", [323, 374, 282, 388]),
    ("ustat", [136, 62, -1, 62]),
];
