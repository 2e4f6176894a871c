//! System calls that are answered by another process (seccomp_unotify(2)), and what that process needs of the caller.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::sock_filter;

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) id: u64,
    /// The calling thread, as the listener's holder sees it.
    pub(crate) thread: i32,
    /// `AUDIT_ARCH_*` of the entry it came through.
    pub(crate) arch: u32,
    pub(crate) number: i32,
    pub(crate) arguments: [u64; 6],
}

/// What a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The kernel performs it.
    Continue,
    /// It returns this.
    Value(i64),
    /// It fails with this number.
    Error(i32),
}

/// Loads a filter some of whose calls wait for the holder of the descriptor that is given back.
pub(crate) fn listen_to_system_calls(program: &[sock_filter]) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        filter: program.as_ptr().cast_mut(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // Before Linux 5.19 a signal could end the wait of a call that is being performed, which would then be performed twice.
    let flags = flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the kernel copies `len` instructions from the slice and does not write to it.
    let fd =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match RawFd::try_from(fd) {
        // SAFETY: on success the kernel made a new descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for a call. `None` if the caller was killed meanwhile.
pub(crate) fn receive_call(listener: impl AsFd) -> io::Result<Option<Call>> {
    // SAFETY: plain integers, and the kernel demands that all are zero.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one seccomp_notif.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut notification)
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR) => Ok(None),
            _ => Err(error),
        };
    }
    let data = notification.data;
    Ok(Some(Call {
        id: notification.id,
        thread: notification.pid.cast_signed(),
        arch: data.arch,
        number: data.nr,
        arguments: data.args,
    }))
}

/// Answers a call. A caller that is gone is no error.
pub(crate) fn answer_call(listener: impl AsFd, id: u64, answer: Answer) -> io::Result<()> {
    // SAFETY: plain integers.
    let mut response: libc::seccomp_notif_resp = unsafe { std::mem::zeroed() };
    response.id = id;
    match answer {
        Answer::Continue => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        Answer::Value(value) => response.val = value,
        Answer::Error(errno) => response.error = -errno,
    }
    // SAFETY: the kernel reads one seccomp_notif_resp.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw mut response)
    };
    gone_is_fine(result)
}

/// Whether the call still waits, so that what is known of its thread's number is of that thread.
pub(crate) fn call_waits(listener: impl AsFd, id: u64) -> bool {
    // SAFETY: the kernel reads one u64.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const id)
    };
    result == 0
}

/// Gives the caller a copy of `file` and answers the call with its number there.
pub(crate) fn answer_with_file(
    listener: impl AsFd,
    id: u64,
    file: impl AsFd,
    close_on_exec: bool,
) -> io::Result<()> {
    // SAFETY: plain integers.
    let mut request: libc::seccomp_notif_addfd = unsafe { std::mem::zeroed() };
    request.id = id;
    request.flags = libc::SECCOMP_ADDFD_FLAG_SEND as u32;
    request.srcfd = file.as_fd().as_raw_fd().cast_unsigned();
    request.newfd_flags = if close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 };
    // SAFETY: the kernel reads one seccomp_notif_addfd and copies the descriptor, which is open.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD as _, &raw const request)
    };
    if result >= 0 { Ok(()) } else { gone_is_fine(result) }
}

fn gone_is_fine(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) }
}

/// Reads memory of another process: how many bytes came. It must not cross from a mapped page into an unmapped one.
pub(crate) fn read_memory(thread: i32, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as usize as *mut _, iov_len: into.len() };
    // SAFETY: the kernel writes at most `len` bytes into the slice; the other address is not ours and is checked by it.
    let count = unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Writes memory of another process, all of `bytes` or nothing that counts.
pub(crate) fn write_memory(thread: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as usize as *mut _, iov_len: bytes.len() };
    // SAFETY: the kernel only reads the slice; the other address is not ours and is checked by it.
    let count = unsafe { libc::process_vm_writev(thread, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(count) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// The soft limit on file locks of a process, which the kernel does not enforce (getrlimit(2)): inherited by children, kept
/// over execve, and ours to use. With `new` it is set.
pub(crate) fn lock_limit(thread: i32, new: Option<u64>) -> io::Result<u64> {
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit64.
    let result = unsafe { libc::prlimit64(thread, libc::RLIMIT_LOCKS as _, std::ptr::null(), &raw mut old) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if let Some(new) = new {
        let wanted = libc::rlimit64 { rlim_cur: new.min(old.rlim_max), rlim_max: old.rlim_max };
        // SAFETY: the kernel reads one rlimit64.
        let result = unsafe {
            libc::prlimit64(thread, libc::RLIMIT_LOCKS as _, &raw const wanted, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(old.rlim_cur)
}

/// `struct statx` as the kernel writes it: what a caller asked for is given to it byte by byte.
pub(crate) type StatxBytes = [u8; 256];

/// statx(2) of a path relative to the working directory.
pub(crate) fn statx_bytes(path: &std::ffi::CStr, flags: i32, mask: u32) -> io::Result<StatxBytes> {
    let mut bytes: StatxBytes = [0; 256];
    // SAFETY: the path ends in NUL; the kernel writes one struct statx, which has 256 bytes.
    let result = unsafe {
        libc::syscall(libc::SYS_statx, libc::AT_FDCWD, path.as_ptr(), flags, mask, bytes.as_mut_ptr())
    };
    if result == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}
