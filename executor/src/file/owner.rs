//! Owners by name or number, as `--chown` and WORKDIR's USER give them.

use super::FileError;

/// A user and a group id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Where names of users and groups are looked up.
#[derive(Debug, Clone)]
pub(crate) enum Accounts {
    /// Nowhere: the base has no layers.
    Scratch,
    /// In the account files of the base; empty if there are none.
    Files { passwd: Vec<u8>, group: Vec<u8> },
}

impl Accounts {
    /// What `user[:group]` means. BuildKit's rules: a number stands for itself, a group that is not given is the number
    /// of the user (or the user's own group by name), and a name that the files do not have is 0.
    ///
    /// # Errors
    /// A name where there is nothing to look it up in.
    pub(crate) fn resolve(&self, text: &str) -> Result<Owner, FileError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let missing = || FileError::UnknownOwner { owner: text.to_owned() };
        let (uid, own_gid) = match user.parse::<u32>() {
            Ok(uid) => (uid, uid),
            Err(_) if user.is_empty() => (0, 0),
            Err(_) => {
                let Self::Files { passwd, .. } = self else { return Err(missing()) };
                let line = find(passwd, user);
                (number(line.as_deref(), 2), number(line.as_deref(), 3))
            }
        };
        let gid = match group {
            None => own_gid,
            Some("") => 0,
            Some(group) => match group.parse::<u32>() {
                Ok(gid) => gid,
                Err(_) => {
                    let Self::Files { group: groups, .. } = self else { return Err(missing()) };
                    number(find(groups, group).as_deref(), 2)
                }
            },
        };
        Ok(Owner { uid, gid })
    }
}

/// The fields of the line of `name`.
fn find<'a>(file: &'a [u8], name: &str) -> Option<Vec<&'a [u8]>> {
    file.split(|&b| b == b'\n')
        .map(|line| line.split(|&b| b == b':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name.as_bytes() && fields.len() > 2)
}

fn number(fields: Option<&[&[u8]]>, at: usize) -> u32 {
    fields.and_then(|fields| std::str::from_utf8(fields.get(at)?).ok()?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::Files {
            passwd: b"root:x:0:0:root:/root:/bin/sh\nbin:x:1:7:bin:/:/sbin/nologin\n".to_vec(),
            group: b"root:x:0:\nwheel:x:10:bin\n".to_vec(),
        }
    }

    #[test]
    fn names_and_numbers_are_found_as_buildkit_does() {
        for (text, uid, gid) in [
            ("bin", 1, 7),
            ("bin:wheel", 1, 10),
            ("77", 77, 77),
            ("77:5", 77, 5),
            ("1:wheel", 1, 10),
            ("nosuch", 0, 0),
            ("nosuch:nosuch", 0, 0),
        ] {
            assert_eq!(accounts().resolve(text).unwrap(), Owner { uid, gid }, "{text}");
        }
    }

    #[test]
    fn a_name_without_a_file_to_look_in_is_an_error() {
        let error = Accounts::Scratch.resolve("app").unwrap_err();
        assert!(error.to_string().contains("invalid user index: -1"), "{error}");
        assert_eq!(Accounts::Scratch.resolve("3:4").unwrap(), Owner { uid: 3, gid: 4 });
    }
}
