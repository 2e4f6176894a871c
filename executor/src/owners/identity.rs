//! Who a process is: told from its credentials, changed by its wish.

use rustix::io::Errno;

use super::caller::{Caller, Outcome, Reply};
use super::calls::{Change, Ids, Which};
use super::credentials::{Credentials, FourIds};
use crate::sandbox::capability;

/// NGROUPS_MAX
const MOST_GROUPS: usize = 65_536;

fn ids(credentials: &Credentials, which: Ids) -> FourIds {
    match which {
        Ids::Users => credentials.users,
        Ids::Groups => credentials.groups,
    }
}

/// `setuid`, `setresgid` and the others.
pub(super) fn set(caller: &Caller<'_>, which: Ids, change: Change) -> Outcome {
    let arguments = [0, 1, 2].map(|index| caller.id(index));
    let now = caller.credentials()?;
    let new = match which {
        Ids::Users => now.with_users(change, arguments)?,
        Ids::Groups => now.with_groups(change, arguments)?,
    };
    if new != now {
        caller.become_other(&new)?;
    }
    // The file system's ids cannot fail to be changed: the old one is told.
    Ok(Reply::Value(if change == Change::Files { ids(&now, which).files.into() } else { 0 }))
}

/// `setgroups`
pub(super) fn set_groups(caller: &Caller<'_>) -> Outcome {
    let now = caller.credentials()?;
    if !now.may(capability::SETGID) {
        return Err(Errno::PERM);
    }
    let count = caller.word(0) as usize;
    if count > MOST_GROUPS {
        return Err(Errno::INVAL);
    }
    let mut more_groups = caller.read_words(caller.argument(1), count)?;
    more_groups.sort_unstable();
    caller.become_other(&Credentials { more_groups, ..now })?;
    Ok(Reply::Value(0))
}

/// `getuid`, `getegid` and the others.
pub(super) fn get(caller: &Caller<'_>, which: Ids, one: Which) -> Outcome {
    let ids = ids(&caller.credentials()?, which);
    Ok(Reply::Value(match one {
        Which::Real => ids.real.into(),
        Which::Effective => ids.effective.into(),
    }))
}

/// `getresuid`, `getresgid`
pub(super) fn get_all(caller: &Caller<'_>, which: Ids) -> Outcome {
    let ids = ids(&caller.credentials()?, which);
    for (index, id) in [ids.real, ids.effective, ids.saved].into_iter().enumerate() {
        caller.write_word(caller.argument(index), id)?;
    }
    Ok(Reply::Value(0))
}

/// `getgroups`
pub(super) fn get_groups(caller: &Caller<'_>) -> Outcome {
    let groups = caller.credentials()?.more_groups;
    let room = caller.word(0).cast_signed();
    if room < 0 || (room > 0 && (room as usize) < groups.len()) {
        return Err(Errno::INVAL);
    }
    if room > 0 && !groups.is_empty() {
        let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_le_bytes()).collect();
        caller.write(caller.argument(1), &bytes)?;
    }
    Ok(Reply::Value(groups.len() as i64))
}

/// _LINUX_CAPABILITY_VERSION_3, and 2, which is the same.
const VERSIONS: [u32; 2] = [0x2008_0522, 0x2007_1026];

/// Whether a process number means the caller, which knows itself by another one than the supervisor does.
fn is_itself(caller: &Caller<'_>, number: u32) -> Result<bool, Errno> {
    Ok(number == 0 || number == caller.status("NSpid:", 10)?)
}

/// `capget` of the caller itself.
pub(super) fn get_capabilities(caller: &Caller<'_>) -> Outcome {
    let header = caller.read_words(caller.argument(0), 2)?;
    // Old versions, the question for the version, other processes: the kernel's.
    if !VERSIONS.contains(&header[0]) || !is_itself(caller, header[1])? || caller.argument(1) == 0 {
        return Ok(Reply::Continue);
    }
    let now = caller.credentials()?;
    let sets = [now.effective, now.permitted, now.inheritable];
    let words = sets.map(|set| set as u32).into_iter().chain(sets.map(|set| (set >> 32) as u32));
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    caller.write(caller.argument(1), &bytes)?;
    Ok(Reply::Value(0))
}

/// `capset`: what the process believes it may. The kernel's own sets stay as they are, since a set-user-id program has to get
/// them back.
pub(super) fn set_capabilities(caller: &Caller<'_>) -> Outcome {
    let header = caller.read_words(caller.argument(0), 2)?;
    if !VERSIONS.contains(&header[0]) || !is_itself(caller, header[1])? {
        return Ok(Reply::Continue);
    }
    let words = caller.read_words(caller.argument(1), 6)?;
    let set = |index: usize| u64::from(words[index]) | u64::from(words[index + 3]) << 32;
    let (effective, permitted, inheritable) = (set(0), set(1), set(2));
    let now = caller.credentials()?;
    let may_inherit = if now.may(capability::SETPCAP) {
        now.inheritable | now.permitted | caller.shared.bounding
    } else {
        now.inheritable | now.permitted
    };
    if permitted & !now.permitted != 0 || effective & !permitted != 0 || inheritable & !may_inherit != 0 {
        return Err(Errno::PERM);
    }
    caller.become_other(&Credentials { permitted, effective, inheritable, ..now })?;
    Ok(Reply::Value(0))
}

/// `prctl(PR_SET_KEEPCAPS)`
pub(super) fn keep_capabilities(caller: &Caller<'_>) -> Outcome {
    let keep_capabilities = match caller.argument(1) {
        0 => false,
        1 => true,
        _ => return Err(Errno::INVAL),
    };
    caller.become_other(&Credentials { keep_capabilities, ..caller.credentials()? })?;
    Ok(Reply::Value(0))
}
