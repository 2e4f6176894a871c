//! Who a process believes to be. The kernel knows one user; the rules of credentials(7) and capabilities(7) are kept here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::calls::Change;
use crate::sandbox::capability::{
    CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, LINUX_IMMUTABLE, MAC_OVERRIDE, MKNOD, SETGID,
    SETUID,
};

/// What a change of the file system's user id takes away and gives back.
const OF_FILES: u64 =
    CHOWN | DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER | FSETID | LINUX_IMMUTABLE | MAC_OVERRIDE | MKNOD;

/// Four ids of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FourIds {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    pub(super) files: u32,
}

impl FourIds {
    pub(super) fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, files: id }
    }

    fn has(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// After `setuid` and its like with these arguments. `any` is whether the caller may become anybody.
    fn changed(self, change: Change, arguments: [Option<u32>; 3], any: bool) -> Result<Self, Errno> {
        let mut new = self;
        let [first, second, third] = arguments;
        let allowed = |id: Option<u32>, own: &[u32]| any || id.is_none_or(|id| own.contains(&id));
        let Self { real, effective, saved, files } = self;
        match change {
            Change::One => {
                let id = first.ok_or(Errno::INVAL)?;
                if any {
                    (new.real, new.saved) = (id, id);
                } else if id != real && id != saved {
                    return Err(Errno::PERM);
                }
                new.effective = id;
            }
            Change::Two => {
                if !allowed(first, &[real, effective]) || !allowed(second, &[real, effective, saved]) {
                    return Err(Errno::PERM);
                }
                new.real = first.unwrap_or(real);
                new.effective = second.unwrap_or(effective);
                if first.is_some() || second.is_some_and(|id| id != real) {
                    new.saved = new.effective;
                }
            }
            Change::Three => {
                let own = [real, effective, saved];
                if ![first, second, third].into_iter().all(|id| allowed(id, &own)) {
                    return Err(Errno::PERM);
                }
                new.real = first.unwrap_or(real);
                new.effective = second.unwrap_or(effective);
                new.saved = third.unwrap_or(saved);
            }
            // It has no way to fail: it only tells the old one.
            Change::Files => {
                if let Some(id) = first.filter(|id| any || self.has(*id) || *id == files) {
                    new.files = id;
                }
                return Ok(new);
            }
        }
        new.files = new.effective;
        Ok(new)
    }
}

/// Who a process believes to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Credentials {
    pub(super) users: FourIds,
    pub(super) groups: FourIds,
    pub(super) more_groups: Vec<u32>,
    pub(super) permitted: u64,
    pub(super) effective: u64,
    pub(super) inheritable: u64,
    pub(super) keep_capabilities: bool,
}

impl Credentials {
    /// A user's with these groups and capabilities.
    pub(crate) fn new(uid: u32, gid: u32, more_groups: &[u32], permitted: u64, effective: u64) -> Self {
        Self {
            users: FourIds::all(uid),
            groups: FourIds::all(gid),
            more_groups: more_groups.to_vec(),
            permitted,
            effective: effective & permitted,
            inheritable: 0,
            keep_capabilities: false,
        }
    }

    pub(super) fn may(&self, capability: u64) -> bool {
        self.effective & capability != 0
    }

    pub(super) fn in_group(&self, gid: u32) -> bool {
        self.groups.files == gid || self.more_groups.contains(&gid)
    }

    /// After a change of user ids.
    pub(super) fn with_users(&self, change: Change, arguments: [Option<u32>; 3]) -> Result<Self, Errno> {
        let old = self.users;
        let new = old.changed(change, arguments, self.may(SETUID))?;
        let mut after = Self { users: new, ..self.clone() };
        if change == Change::Files {
            if old.files == 0 && new.files != 0 {
                after.effective &= !OF_FILES;
            } else if old.files != 0 && new.files == 0 {
                after.effective |= after.permitted & OF_FILES;
            }
            return Ok(after);
        }
        if old.has(0) && !new.has(0) && !self.keep_capabilities {
            (after.permitted, after.effective) = (0, 0);
        }
        if old.effective == 0 && new.effective != 0 {
            after.effective = 0;
        } else if old.effective != 0 && new.effective == 0 {
            after.effective = after.permitted;
        }
        Ok(after)
    }

    /// After a change of group ids.
    pub(super) fn with_groups(&self, change: Change, arguments: [Option<u32>; 3]) -> Result<Self, Errno> {
        let groups = self.groups.changed(change, arguments, self.may(SETGID))?;
        Ok(Self { groups, ..self.clone() })
    }

    /// After the execution of a file with these set-id owners. `bounding` is what root may have.
    pub(super) fn after_execution(&self, user: Option<u32>, group: Option<u32>, bounding: u64) -> Self {
        let mut after = self.clone();
        after.users.effective = user.unwrap_or(self.users.effective);
        after.groups.effective = group.unwrap_or(self.groups.effective);
        for ids in [&mut after.users, &mut after.groups] {
            ids.saved = ids.effective;
            ids.files = ids.effective;
        }
        let root = after.users.effective == 0 || after.users.real == 0;
        after.permitted = if root { bounding } else { 0 };
        after.effective = if after.users.effective == 0 { after.permitted } else { 0 };
        after.keep_capabilities = false;
        after
    }
}

/// All credentials that processes of one sandbox have, each with a number that a process can carry.
#[derive(Debug)]
pub(super) struct Table {
    base: Credentials,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    list: Vec<Credentials>,
    numbers: HashMap<Credentials, u64>,
}

/// The number of the first credentials in the table: no limit on file locks that anybody sets.
const FIRST: u64 = 0x6b69_6c6e_0000;
/// RLIM64_INFINITY: the sandbox's own credentials, which its first process has.
const NONE: u64 = u64::MAX;

impl Table {
    pub(super) fn new(base: Credentials) -> Self {
        Self { base, known: Mutex::default() }
    }

    pub(super) fn get(&self, number: u64) -> Credentials {
        let index = number.checked_sub(FIRST).and_then(|index| usize::try_from(index).ok());
        let known = self.lock();
        index.and_then(|index| known.list.get(index)).unwrap_or(&self.base).clone()
    }

    pub(super) fn number(&self, credentials: &Credentials) -> u64 {
        if *credentials == self.base {
            return NONE;
        }
        let mut known = self.lock();
        if let Some(number) = known.numbers.get(credentials) {
            return *number;
        }
        let number = FIRST + known.list.len() as u64;
        known.list.push(credentials.clone());
        known.numbers.insert(credentials.clone(), number);
        number
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABILITIES: u64 = CHOWN | SETUID | SETGID;

    fn root() -> Credentials {
        Credentials::new(0, 0, &[], CAPABILITIES, CAPABILITIES)
    }

    #[test]
    fn a_full_drop_of_root_is_final() {
        let bob = root().with_users(Change::One, [Some(1000), None, None]).unwrap();
        assert_eq!((bob.users, bob.permitted, bob.effective), (FourIds::all(1000), 0, 0));
        assert_eq!(bob.with_users(Change::One, [Some(0), None, None]), Err(Errno::PERM));
        assert_eq!(bob.with_groups(Change::One, [Some(5), None, None]), Err(Errno::PERM));
    }

    #[test]
    fn an_effective_id_goes_there_and_back() {
        let away = root().with_users(Change::Three, [None, Some(1000), None]).unwrap();
        assert_eq!((away.users.files, away.effective, away.permitted), (1000, 0, CAPABILITIES));
        let back = away.with_users(Change::Three, [None, Some(0), None]).unwrap();
        assert_eq!(back, root());
    }

    #[test]
    fn capabilities_can_be_kept_until_the_next_program() {
        let keeping = Credentials { keep_capabilities: true, ..root() };
        let bob = keeping.with_users(Change::Three, [Some(7), Some(7), Some(7)]).unwrap();
        assert_eq!((bob.permitted, bob.effective), (CAPABILITIES, 0));
        let ran = bob.after_execution(None, None, CAPABILITIES);
        assert_eq!((ran.permitted, ran.keep_capabilities), (0, false));
    }

    #[test]
    fn a_set_user_id_program_is_its_owners() {
        let bob = root().with_users(Change::One, [Some(1000), None, None]).unwrap();
        let sudo = bob.after_execution(Some(0), None, CAPABILITIES);
        assert_eq!((sudo.users.real, sudo.users.effective, sudo.effective), (1000, 0, CAPABILITIES));
        assert_eq!(sudo.with_users(Change::One, [Some(0), None, None]).unwrap().users, FourIds::all(0));
    }

    #[test]
    fn numbers_lead_back_to_credentials() {
        let table = Table::new(root());
        let bob = root().with_users(Change::One, [Some(1000), None, None]).unwrap();
        assert_eq!(table.get(table.number(&bob)), bob);
        assert_eq!(table.number(&bob), table.number(&bob));
        for other in [NONE, 0, 42, FIRST + 7] {
            assert_eq!(table.get(other), root(), "{other}");
        }
    }
}
