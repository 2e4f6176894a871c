//! Symbolic file modes, as `--chmod=u=rwX,go=rX` has them (POSIX chmod, with no umask).

/// A parsed symbolic mode: clauses applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SymbolicMode(Vec<Clause>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    /// The classes it is about, as the mask of all bits that they own.
    who: u32,
    operator: u8,
    permissions: Permissions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Permissions {
    /// Bits for every class, `X` kept apart because it depends on the file.
    Bits { bits: u32, execute_if_any: bool },
    /// `u`, `g` or `o`: the shift to that class's three bits.
    CopiedFrom(u32),
}

/// A text that is no symbolic mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid chmod parameter: '{0}'")]
pub struct ModeError(pub String);

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;
const ALL: u32 = 0o7777;

impl SymbolicMode {
    /// Parses `u=rwX,go=rX`.
    pub(crate) fn parse(text: &str) -> Result<Self, ModeError> {
        let error = || ModeError(text.to_owned());
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let bytes = clause.as_bytes();
            let classes = bytes.iter().take_while(|b| b"ugoa".contains(b)).count();
            let who = bytes[..classes].iter().fold(0, |mask, class| {
                mask | match class {
                    b'u' => USER,
                    b'g' => GROUP,
                    b'o' => OTHER,
                    _ => ALL,
                }
            });
            let who = if classes == 0 { ALL } else { who };
            let mut rest = &bytes[classes..];
            if rest.is_empty() {
                return Err(error());
            }
            while let Some((&operator, after)) = rest.split_first() {
                if !b"+-=".contains(&operator) {
                    return Err(error());
                }
                let length = after.iter().take_while(|b| !b"+-=".contains(b)).count();
                let permissions = permissions(&after[..length]).ok_or_else(error)?;
                clauses.push(Clause { who, operator, permissions });
                rest = &after[length..];
            }
        }
        Ok(Self(clauses))
    }

    /// The permission bits that a file with `mode` gets.
    pub(crate) fn apply(&self, mode: u32, directory: bool) -> u32 {
        self.0.iter().fold(mode & ALL, |mode, clause| {
            let bits = match clause.permissions {
                Permissions::Bits { bits, execute_if_any } => {
                    let execute = execute_if_any && (directory || mode & 0o111 != 0);
                    bits | if execute { 0o111 } else { 0 }
                }
                Permissions::CopiedFrom(shift) => (mode >> shift & 0o7) * 0o111,
            } & clause.who;
            match clause.operator {
                b'+' => mode | bits,
                b'-' => mode & !bits,
                _ => mode & !clause.who | bits,
            }
        })
    }
}

fn permissions(letters: &[u8]) -> Option<Permissions> {
    match letters {
        b"u" => return Some(Permissions::CopiedFrom(6)),
        b"g" => return Some(Permissions::CopiedFrom(3)),
        b"o" => return Some(Permissions::CopiedFrom(0)),
        _ => {}
    }
    let mut bits = 0;
    let mut execute_if_any = false;
    for letter in letters {
        match letter {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= 0o111,
            b'X' => execute_if_any = true,
            b's' => bits |= 0o6000,
            b't' => bits |= 0o1000,
            _ => return None,
        }
    }
    Some(Permissions::Bits { bits, execute_if_any })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_apply_in_order() {
        for (text, mode, directory, expected) in [
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o777, false, 0o700),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("+t", 0o755, true, 0o1755),
            ("g=u", 0o640, false, 0o660),
            ("u=rwx,g=u-w", 0o000, false, 0o750),
            ("=", 0o6755, false, 0),
        ] {
            let parsed = SymbolicMode::parse(text).unwrap();
            assert_eq!(parsed.apply(mode, directory), expected, "{text} on {mode:o}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "u", "z+x", "u+q", "u=rw,", "755"] {
            assert!(SymbolicMode::parse(text).is_err(), "{text}");
        }
    }
}
