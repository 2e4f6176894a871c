//! Programs that run as the owner of their file.

use kiln_cache::OwnerRecord;
use rustix::fs::FileType;

use super::caller::{Caller, Outcome, Reply};
use super::calls::Emulated;
use super::place::Place;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o010;
const EXECUTABLE: u32 = 0o111;

/// `execve`, `execveat`: the kernel executes; the credentials are changed before, if it looks as if it will succeed.
pub(super) fn execute(caller: &Caller<'_>, call: Emulated) -> Outcome {
    let place = match call {
        Emulated::Execute => caller.place(libc::AT_FDCWD, caller.argument(0), true, false),
        _ => {
            let flags = caller.word(4).cast_signed();
            let (follow, empty) = (flags & libc::AT_SYMLINK_NOFOLLOW == 0, flags & libc::AT_EMPTY_PATH != 0);
            caller.place(caller.word(0).cast_signed(), caller.argument(1), follow, empty)
        }
    };
    let Ok(place) = place else { return Ok(Reply::Continue) };
    let set_ids = {
        let _root = caller.enter_root()?;
        set_ids(&place)
    };
    let Some((user, group)) = set_ids else { return Ok(Reply::Continue) };
    let (user, group) = if caller.shared.no_new_privileges { (None, None) } else { (user, group) };
    let now = caller.credentials()?;
    let new = now.after_execution(user, group, caller.shared.bounding);
    if new != now {
        caller.become_other(&new)?;
    }
    Ok(Reply::Continue)
}

/// Whom a program runs as. `None` if it cannot be executed.
fn set_ids(place: &Place) -> Option<(Option<u32>, Option<u32>)> {
    let looks = place.basic_looks().ok()?;
    let mode = looks.mode();
    if looks.file_type() != FileType::RegularFile || mode & EXECUTABLE == 0 {
        return None;
    }
    if mode & (SET_USER | SET_GROUP) == 0 {
        return Some((None, None));
    }
    // A script runs as its interpreter, which is asked for with no bits of its own.
    if is_script(place) {
        return Some((None, None));
    }
    let OwnerRecord { uid, gid, .. } = place.record(FileType::RegularFile).unwrap_or_default();
    let by_group = mode & SET_GROUP != 0 && mode & GROUP_EXECUTES != 0;
    Some(((mode & SET_USER != 0).then_some(uid), by_group.then_some(gid)))
}

fn is_script(place: &Place) -> bool {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::openat(rustix::fs::CWD, place.c_str(), flags, rustix::fs::Mode::empty());
    let mut start = [0; 2];
    file.is_ok_and(|file| rustix::io::read(&file, &mut start).is_ok_and(|count| &start[..count] == b"#!"))
}
