//! `USER name[:group]` looked up in the `passwd` and `group` files of a root that may be hostile.
//!
//! The rules are those of Docker and BuildKit: a number is looked up by id, a word by name; a number that is not listed is
//! taken as it stands, with group 0 and home `/`; supplementary groups are those that list the user by name, and none if a
//! group was asked for.

use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

/// The most of an account file that is read: a bigger one is refused, not cut.
const LIMIT: u64 = 16 << 20;

/// A line of `passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The home directory.
    pub home: String,
}

/// A line of `group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its id.
    pub gid: u32,
    /// The users it lists.
    pub members: Vec<String>,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Its home, `/` if it is not listed.
    pub home: String,
}

/// A user or group that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that `passwd` does not have.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// A name that `group` does not have.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number that is no id.
    #[error("uids and gids must be in range 0-2147483647: {0}")]
    Range(String),
    /// The account file is not a plain file of reasonable size, or cannot be read.
    #[error("read {path} of the root file system")]
    Read {
        /// The path in the root.
        path: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Reads `etc/passwd` or `etc/group` under `root`, without leaving it and without waiting for a FIFO. `None` if there is none.
///
/// # Errors
/// When it is not a regular file, is larger than 16 MiB, or cannot be read.
pub fn account_file(root: impl AsFd, path: &'static str) -> Result<Option<Vec<u8>>, UserError> {
    let failed = |cause| UserError::Read { path, cause };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match crate::resolve::openat2(root, path, flags, resolve) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(cause) => return Err(failed(cause.into())),
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mut content = Vec::new();
    let read = std::fs::File::from(file).take(LIMIT + 1).read_to_end(&mut content).map_err(failed)?;
    if read as u64 > LIMIT {
        return Err(failed(io::Error::other("it is larger than 16 MiB")));
    }
    Ok(Some(content))
}

/// Reads the lines of `passwd`. Lines that are not understood are skipped, as in Docker.
pub fn parse_accounts(content: &[u8]) -> Vec<Account> {
    lines(content)
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let (_password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
            let home = fields.nth(1).unwrap_or_default().to_owned();
            Some(Account { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
        })
        .collect()
}

/// Reads the lines of `group`.
pub fn parse_groups(content: &[u8]) -> Vec<Group> {
    lines(content)
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let (_password, gid) = (fields.next()?, fields.next()?);
            let members = fields.next().unwrap_or_default();
            let members = members.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
            Some(Group { name, gid: gid.parse().ok()?, members })
        })
        .collect()
}

fn lines(content: &[u8]) -> impl Iterator<Item = &str> {
    content
        .split(|&b| b == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Resolves `user[:group]`; the empty text is root.
///
/// # Errors
/// When a name is not listed, or a number is out of range.
pub fn resolve_user(wanted: &str, accounts: &[Account], groups: &[Group]) -> Result<User, UserError> {
    let (name, group) = match wanted.split_once(':') {
        Some((name, group)) => (name, (!group.is_empty()).then_some(group)),
        None => (wanted, None),
    };
    let account = match (name, id(name)?) {
        ("", _) => accounts.iter().find(|a| a.uid == 0),
        (_, Some(uid)) => accounts.iter().find(|a| a.uid == uid),
        (_, None) => {
            let listed = accounts.iter().find(|a| a.name == name);
            Some(listed.ok_or_else(|| UserError::NoUser(name.to_owned()))?)
        }
    };
    let mut user = match account {
        Some(account) => User {
            uid: account.uid,
            gid: account.gid,
            groups: Vec::new(),
            home: if account.home.is_empty() { "/".to_owned() } else { account.home.clone() },
        },
        None => User { uid: id(name)?.unwrap_or(0), gid: 0, groups: Vec::new(), home: "/".to_owned() },
    };
    match (group, account) {
        (Some(group), _) => user.gid = resolve_group(group, groups)?,
        (None, Some(account)) => {
            let listing = groups.iter().filter(|g| g.members.contains(&account.name));
            user.groups = listing.map(|g| g.gid).collect();
        }
        (None, None) => {}
    }
    Ok(user)
}

/// Resolves a group by name or number.
///
/// # Errors
/// When a name is not listed, or a number is out of range.
pub fn resolve_group(wanted: &str, groups: &[Group]) -> Result<u32, UserError> {
    if let Some(gid) = id(wanted)? {
        return Ok(gid);
    }
    let listed = groups.iter().find(|g| g.name == wanted);
    listed.map(|g| g.gid).ok_or_else(|| UserError::NoGroup(wanted.to_owned()))
}

/// The number that `text` is, if it is one. The kernel's -1 means "no change" and ids above 2^31-1 confuse programs: both are
/// refused.
fn id(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<i32>() {
        Ok(id) if id >= 0 => Ok(Some(id.cast_unsigned())),
        _ => Err(UserError::Range(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# no\nbroken line\nbob:x:1000:1001:Bob,,,:/home/bob:/bin/sh\nnohome:x:7:7::\n";
    const GROUP: &[u8] = b"root:x:0:\nbob:x:1001:\ndocker:x:50:alice,bob\nwheel:x:51:bob\n";

    fn resolve(wanted: &str) -> Result<User, UserError> {
        resolve_user(wanted, &parse_accounts(PASSWD), &parse_groups(GROUP))
    }

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> User {
        User { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        for (wanted, found) in [
            ("", user(0, 0, &[], "/root")),
            ("root", user(0, 0, &[], "/root")),
            ("bob", user(1000, 1001, &[50, 51], "/home/bob")),
            ("1000", user(1000, 1001, &[50, 51], "/home/bob")),
            ("bob:docker", user(1000, 50, &[], "/home/bob")),
            ("bob:99", user(1000, 99, &[], "/home/bob")),
            ("4242", user(4242, 0, &[], "/")),
            ("4242:docker", user(4242, 50, &[], "/")),
            (":docker", user(0, 50, &[], "/root")),
            ("nohome", user(7, 7, &[], "/")),
        ] {
            assert_eq!(resolve(wanted).unwrap_or_else(|e| panic!("{wanted}: {e}")), found, "{wanted}");
        }
    }

    #[test]
    fn unknown_names_and_bad_numbers_are_refused() {
        assert!(matches!(resolve("eve"), Err(UserError::NoUser(name)) if name == "eve"));
        assert!(matches!(resolve("bob:eve"), Err(UserError::NoGroup(name)) if name == "eve"));
        for bad in ["-1", "4294967295", "2147483648", "99999999999999999999", "0:-1"] {
            assert!(matches!(resolve(bad), Err(UserError::Range(_))), "{bad}");
        }
    }

    #[test]
    fn account_files_do_not_lead_out_or_hang() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let open = || std::fs::File::open(root.path()).unwrap();
        let read = || account_file(open(), "etc/passwd");

        assert_eq!(read().unwrap(), None);

        // An absolute link stays inside: there is no such file there, whatever the host has.
        std::os::unix::fs::symlink("/etc/hostname-of-the-host", etc.join("passwd")).unwrap();
        std::fs::write(etc.join("hostname-of-the-host"), "inside").unwrap();
        assert_eq!(read().unwrap(), Some(b"inside".to_vec()));
        std::fs::remove_file(etc.join("passwd")).unwrap();

        std::os::unix::fs::symlink("/proc/self/environ", etc.join("passwd")).unwrap();
        assert_eq!(read().unwrap(), None);
        std::fs::remove_file(etc.join("passwd")).unwrap();

        rustix::fs::mknodat(open(), "etc/passwd", FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0)
            .unwrap();
        assert!(matches!(read(), Err(UserError::Read { .. })));
        std::fs::remove_file(etc.join("passwd")).unwrap();

        std::fs::File::create(etc.join("passwd")).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(matches!(read(), Err(UserError::Read { .. })));
        std::fs::remove_file(etc.join("passwd")).unwrap();

        std::fs::create_dir(etc.join("passwd")).unwrap();
        assert!(matches!(read(), Err(UserError::Read { .. })));
    }
}
