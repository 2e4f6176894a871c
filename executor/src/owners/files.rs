//! Owners of files: changing them, and telling them.

use rustix::fs::FileType;
use rustix::io::Errno;

use super::caller::{Caller, Outcome, Reply};
use super::calls::Emulated;
use super::credentials::Credentials;
use super::looks::Looks;
use super::place::Place;
use crate::sandbox::capability;
use kiln_cache::{OwnerRecord, is_owner_attribute};

/// `chown` and its kin.
pub(super) fn chown(caller: &Caller<'_>, call: Emulated) -> Outcome {
    let flags = caller.word(4).cast_signed();
    let nofollow = flags & libc::AT_SYMLINK_NOFOLLOW != 0;
    let empty = flags & libc::AT_EMPTY_PATH != 0;
    let (place, first) = match call {
        Emulated::Chown => (caller.place(libc::AT_FDCWD, caller.argument(0), true, false)?, 1),
        Emulated::ChownLink => (caller.place(libc::AT_FDCWD, caller.argument(0), false, false)?, 1),
        Emulated::ChownFile => (caller.file(caller.word(0).cast_signed()), 1),
        _ if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 => return Err(Errno::INVAL),
        _ => (caller.place(caller.word(0).cast_signed(), caller.argument(1), !nofollow, empty)?, 2),
    };
    let (uid, gid) = (caller.id(first), caller.id(first + 1));
    let credentials = caller.credentials()?;
    let _root = caller.enter_root()?;
    caller.still_waits()?;
    let looks = match place.basic_looks() {
        // A descriptor that is not open has no name here.
        Err(Errno::NOENT) if call == Emulated::ChownFile => return Err(Errno::BADF),
        looks => looks?,
    };
    let record = place.record(looks.file_type()).unwrap_or_default();
    if !may_chown(&credentials, &record, uid, gid) {
        return Err(Errno::PERM);
    }
    place.chown(uid.is_some(), gid.is_some(), &looks)?;
    let changed = OwnerRecord { uid: uid.unwrap_or(record.uid), gid: gid.unwrap_or(record.gid), ..record };
    // Again even if it is the same: the kernel has taken it from what is no file.
    if changed != OwnerRecord::default() || record != changed {
        place.set_record(looks.file_type(), &changed);
    }
    Ok(Reply::Value(0))
}

fn may_chown(who: &Credentials, now: &OwnerRecord, uid: Option<u32>, gid: Option<u32>) -> bool {
    let owns = who.users.files == now.uid;
    who.may(capability::CHOWN)
        || (uid.is_none_or(|uid| owns && uid == now.uid)
            && gid.is_none_or(|gid| owns && (gid == now.gid || who.in_group(gid))))
}

/// `stat` and its kin. The kernel answers for what has no record.
pub(super) fn stat(caller: &Caller<'_>, call: Emulated) -> Outcome {
    let by_path = |follow| caller.place(libc::AT_FDCWD, caller.argument(0), follow, false);
    let at = |flags: i32| {
        let (follow, empty) = (flags & libc::AT_SYMLINK_NOFOLLOW == 0, flags & libc::AT_EMPTY_PATH != 0);
        caller.place(caller.word(0).cast_signed(), caller.argument(1), follow, empty)
    };
    let mut mask = libc::STATX_BASIC_STATS;
    let mut flags = 0;
    let (place, into) = match call {
        Emulated::Stat => (by_path(true), 1),
        Emulated::StatLink => (by_path(false), 1),
        Emulated::StatFile => (Ok(caller.file(caller.word(0).cast_signed())), 1),
        Emulated::StatAt => (at(caller.word(3).cast_signed()), 2),
        _ => {
            mask = caller.word(3) | libc::STATX_TYPE | libc::STATX_MODE;
            flags = caller.word(2).cast_signed() & (libc::AT_STATX_SYNC_TYPE | libc::AT_NO_AUTOMOUNT);
            (at(caller.word(2).cast_signed()), 4)
        }
    };
    let Ok(place) = place else { return Ok(Reply::Continue) };
    let found = {
        let _root = caller.enter_root()?;
        recorded(&place, flags, mask)
    };
    let Some(looks) = found else { return Ok(Reply::Continue) };
    let address = caller.argument(into);
    match call {
        Emulated::Statx => caller.write(address, looks.statx())?,
        _ if caller.is_narrow() => caller.write(address, &looks.narrow_stat())?,
        _ => caller.write(address, &looks.stat())?,
    }
    Ok(Reply::Value(0))
}

fn recorded(place: &Place, flags: i32, mask: u32) -> Option<Looks> {
    let looks = place.looks(flags, mask).ok()?;
    let record = place.record(looks.file_type())?;
    Some(looks.owned(&record))
}

/// The names of attributes, without ours.
pub(super) fn list_attributes(caller: &Caller<'_>, call: Emulated) -> Outcome {
    let place = match call {
        Emulated::ListFileAttributes => Ok(caller.file(caller.word(0).cast_signed())),
        _ => caller.place(libc::AT_FDCWD, caller.argument(0), call == Emulated::ListAttributes, false),
    };
    let Ok(place) = place else { return Ok(Reply::Continue) };
    let Some(names) = ({
        let _root = caller.enter_root()?;
        other_names(&place)
    }) else {
        return Ok(Reply::Continue);
    };
    let room = usize::try_from(caller.argument(2)).unwrap_or(usize::MAX);
    if room > 0 {
        if room < names.len() {
            return Err(Errno::RANGE);
        }
        caller.write(caller.argument(1), &names)?;
    }
    Ok(Reply::Value(names.len() as i64))
}

/// `None` if there is nothing to leave out.
fn other_names(place: &Place) -> Option<Vec<u8>> {
    // XATTR_LIST_MAX
    let mut buffer = vec![0; 65_536];
    let length = match place.follow {
        true => rustix::fs::listxattr(place.c_str(), &mut buffer[..]),
        false => rustix::fs::llistxattr(place.c_str(), &mut buffer[..]),
    };
    let names = &buffer[..length.ok().filter(|length| *length > 0)?];
    let file_type = place.basic_looks().ok()?.file_type();
    let parts = names.split_inclusive(|byte| *byte == 0);
    let others: Vec<u8> = parts
        .filter(|name| !is_owner_attribute(name.strip_suffix(b"\0").unwrap_or(name), file_type))
        .flatten()
        .copied()
        .collect();
    (others.len() < names.len()).then_some(others)
}

/// Setting and removing attributes: ours are not there.
pub(super) fn set_attribute(caller: &Caller<'_>) -> Outcome {
    let Ok(name) = caller.text(caller.argument(1)) else { return Ok(Reply::Continue) };
    // What kind of file it is does not matter: nobody sets capabilities of links.
    match is_owner_attribute(name.as_bytes(), FileType::RegularFile) {
        true => Err(Errno::PERM),
        false => Ok(Reply::Continue),
    }
}
