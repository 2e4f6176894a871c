//! The system calls that no safe wrapper has. All unsafe code of kiln is here.
#![expect(unsafe_code, reason = "raw system calls; each block says why it is sound")]

pub(crate) mod notify;

use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::thread::UnshareFlags;

/// Which side of a fork one is on.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one: a descriptor of the child, readable when it has ended.
    Parent(OwnedFd),
}

/// Shows that this process had one thread when it was made. It does not leave its thread, and who holds one starts no other.
#[derive(Debug)]
pub(crate) struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Counts this process's threads.
    pub(crate) fn check() -> io::Result<Option<Self>> {
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        Ok((threads == 1).then_some(Self(PhantomData)))
    }
}

/// Forks, the child in the new namespaces `flags`. The child may run any code: no lock is held by a thread that it lacks.
pub(crate) fn fork(_alone: &SingleThreaded, flags: UnshareFlags) -> io::Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    let flags = u64::from(flags.bits()) | (libc::CLONE_PIDFD | libc::SIGCHLD) as u64;
    // SAFETY: without CLONE_VM and with no stack given, clone is a fork: the child goes on with a copy of this stack. The
    // kernel writes one int to `pidfd`, in the parent. The last two arguments are read only with flags that are not set, so
    // that their order, which differs between architectures, does not matter.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        // SAFETY: on success the kernel stored a new descriptor that nobody else owns.
        _ => Ok(Forked::Parent(unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Moves this process into the new namespaces `flags`.
pub(crate) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    assert!(!flags.contains(UnshareFlags::FILES), "descriptors stay shared between threads");
    // SAFETY: unsafe only for CLONE_FILES, which is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Ends this process at once: no destructors, no exit handlers, which belong to the process it was forked from.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor but 0, 1, 2 and those in `kept`. For a process that goes on to execute a program or to exit, and never
/// returns to the frames that own the others.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for last in kept.iter().map(|fd| fd.saturating_sub(1)).chain([u32::MAX]) {
        // SAFETY: no memory is touched; the owners of the descriptors are not used again.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        first = last.saturating_add(2);
    }
    Ok(())
}

/// The descriptor that [`note_signal`] writes to.
static SIGNALS: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_signal(number: libc::c_int) {
    let byte = number as u8;
    // SAFETY: write(2) may be called from a signal handler and reads one byte of this frame. It may fail with a full pipe,
    // which has enough to tell; errno is the interrupted code's and is put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(SIGNALS.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// From now on the `numbers` are written into a pipe, a byte each, instead of their usual action: the end to read, which
/// does not block. To be called once.
pub(crate) fn signals_as_bytes(numbers: &[i32]) -> io::Result<OwnedFd> {
    let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
    let (read, write) = rustix::pipe::pipe_with(flags)?;
    SIGNALS.store(write.into_raw_fd(), Ordering::Relaxed);
    for &number in numbers {
        // SAFETY: an all-zero sigaction has an empty mask; the handler has the type that is expected without SA_SIGINFO.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note_signal as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(number, &raw const action, ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(read)
}

/// Gives pages back to the kernel: free memory of the allocator, and what was read of this program's file, which is read
/// again where it is needed again. For a process that will wait for a long time.
pub(crate) fn give_memory_back() {
    // SAFETY: malloc_trim has no preconditions.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let mut ranges: Vec<(usize, usize)> = Vec::with_capacity(16);
    let mut last = None;
    for line in smaps.lines() {
        if let Some(range) = file_range(line) {
            last = range;
        } else if line.starts_with("Anonymous:") && line.ends_with(" 0 kB") {
            // What was written to, or relocated, is not in the file.
            ranges.extend(last.take());
        }
    }
    // All at once, so that little of what follows has to be read again.
    for (start, end) in ranges {
        // Not by huge pages: one instruction would bring two megabytes back.
        for advice in [libc::MADV_NOHUGEPAGE, libc::MADV_DONTNEED] {
            // SAFETY: a private mapping of a file, of which this process changed nothing, has the same content when it is
            // read again; the file is this program, which the kernel lets nobody write.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, advice) };
        }
    }
}

/// The first line of a mapping in smaps: its range, if it is a file's and cannot be written. `None` for other lines.
fn file_range(line: &str) -> Option<Option<(usize, usize)>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let mode = fields.next()?.as_bytes();
    let is_file = fields.nth(2).is_some_and(|inode| inode != "0");
    let is_plain = is_file && mode.first() == Some(&b'r') && mode.get(1) == Some(&b'-');
    Some(is_plain.then_some((start, end)))
}

/// Gives every signal its default action and blocks none: a program started from here finds what a shell would give it.
pub(crate) fn reset_signals() {
    // The C library refuses the two signals that are its own, which kiln may have been started without.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: an all-zero action installs no code, and is as long as the kernel's `struct sigaction` with its mask of eight
        // bytes. It fails for SIGKILL and SIGSTOP: nothing to do then.
        unsafe {
            let none = ptr::null_mut::<libc::c_void>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, size_of::<u64>())
        };
    }
    // SAFETY: an all-zero sigset_t is the empty set on Linux, and the kernel only reads it.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Replaces the program. Returns only if that failed.
pub(crate) fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: `path` and the strings end in NUL, both arrays end in a null pointer, and all outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Changes of a mount's attributes: `MOUNT_ATTR_*`, and `MS_PRIVATE` or 0 for its propagation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountChange {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
}

/// Changes the mount whose root `mount` is, and with `recursive` those below it (mount_setattr(2)).
pub(crate) fn change_mount(mount: impl AsFd, change: MountChange, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, and the kernel reads the struct, whose size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Filters this thread's system calls from here on. Needs CAP_SYS_ADMIN or no_new_privs.
pub(crate) fn filter_system_calls(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SPEC_ALLOW: a step is not slowed down by mitigations that protect it from itself.
    // SAFETY: the kernel copies `len` instructions from the slice and does not write to it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: an all-zero ifreq is valid: plain integers and bytes.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    let result =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens a tap device of this name in this network namespace; it is gone when all copies of the descriptor are closed.
pub(crate) fn open_tap(name: &str) -> io::Result<OwnedFd> {
    let device = std::fs::File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: an all-zero ifreq is valid: plain integers and bytes.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if result == 0 { Ok(device.into()) } else { Err(io::Error::last_os_error()) }
}
