//! Advice for a mistyped word.

use crate::spelling;

/// `did you mean X?`, if one of `words` is near to `typed`, whatever their case. A word of one or two letters is near to
/// everything, and so to nothing.
pub(crate) fn help(typed: &str, words: &[&str]) -> Option<String> {
    if typed.chars().count() <= 2 {
        return None;
    }
    let nearest = spelling::nearest_in_any_case(typed, words.iter().copied())?;
    Some(format!("did you mean {nearest}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let help = |typed: &str| help(typed, &["FROM", "COPY", "RUN", "ENTRYPOINT"]);
        assert_eq!(help("FORM").unwrap(), "did you mean FROM?");
        assert_eq!(help("cpoy").unwrap(), "did you mean COPY?");
        assert_eq!(help("ENTRYPIONT").unwrap(), "did you mean ENTRYPOINT?");
        for typed in ["BADCMD", "x", "run", ""] {
            assert_eq!(help(typed), None, "{typed}");
        }
    }
}
