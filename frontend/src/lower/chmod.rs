//! `--chmod`: octal, or clauses as chmod(1) has them.

use kiln_core::Chmod;

/// Reads the value of `--chmod`.
///
/// # Errors
/// BuildKit's message.
pub(super) fn parse(text: &str) -> Result<Chmod, String> {
    let not_octal =
        || format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
    let digits = !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if digits {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        return mode.map(Chmod::Octal).ok_or_else(not_octal);
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(not_octal());
    }
    if text.split(',').all(is_clause) {
        Ok(Chmod::Symbolic(text.to_owned()))
    } else {
        Err(format!(
            "invalid chmod parameter: '{text}'. expected clauses such as u=rwX,go=rX or an octal mode"
        ))
    }
}

/// `[ugoa…][[-+=][perms…]…]`, where perms is letters of `rwxXst` or one of `ugo`.
fn is_clause(clause: &str) -> bool {
    let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if !rest.starts_with(['-', '+', '=']) {
        return false;
    }
    let actions = rest.split(['-', '+', '=']).skip(1);
    actions
        .into_iter()
        .all(|perms| ["u", "g", "o"].contains(&perms) || perms.chars().all(|c| "rwxXst".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_or_clauses() {
        assert_eq!(parse("755"), Ok(Chmod::Octal(0o755)));
        assert_eq!(parse("07777"), Ok(Chmod::Octal(0o7777)));
        for good in
            ["go-w", "o-rwx,g+x", "u+rw,g+r,o-x,o+w", "a+X", "u=rwX,go=rX", "+x", "g=u", "u=", "a=r+w"]
        {
            assert_eq!(parse(good), Ok(Chmod::Symbolic(good.to_owned())), "{good}");
        }
        for bad in ["64a", "10000", "8", ""] {
            let error = parse(bad).unwrap_err();
            assert!(error.starts_with(&format!("invalid chmod parameter: '{bad}'.")), "{error}");
        }
        for bad in ["foo", "u", "u+q", "u=rwx,", "rwx"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
