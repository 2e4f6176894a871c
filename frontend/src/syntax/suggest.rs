//! The nearest valid word to a mistyped one.

/// The most edits between a word and what was meant.
const FARTHEST: usize = 2;

/// `did you mean X?`, if one of `words` is near to `typed`, whatever their case. A word of which nothing would be left is near
/// to nothing.
pub(crate) fn help(typed: &str, words: &[&str]) -> Option<String> {
    let lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    if typed.chars().count() <= FARTHEST {
        return None;
    }
    let found = nearest(&typed.to_lowercase(), lower.iter().map(String::as_str))?;
    let index = lower.iter().position(|word| word == found)?;
    Some(format!("did you mean {}?", words[index]))
}

/// The word of `words` that is at most two edits from `typed` and not it; the first of equally near ones. BuildKit's choice.
pub(crate) fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = typed.chars().collect();
    let mut best: Option<(usize, &str)> = None;
    for word in words {
        let letters: Vec<char> = word.chars().collect();
        if letters.len().abs_diff(typed.len()) > FARTHEST {
            continue;
        }
        let distance = distance(&typed, &letters);
        if distance == 0 {
            return None;
        }
        if distance <= FARTHEST && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, word));
        }
    }
    best.map(|(_, word)| word)
}

/// How many letters have to be inserted, removed or replaced (Levenshtein).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["FROM", "COPY", "RUN", "ENTRYPOINT"];
        let help = |typed: &str| help(typed, &words);
        assert_eq!(help("FORM").unwrap(), "did you mean FROM?");
        assert_eq!(help("cpoy").unwrap(), "did you mean COPY?");
        assert_eq!(help("ENTRYPIONT").unwrap(), "did you mean ENTRYPOINT?");
        for typed in ["BADCMD", "x", "run", ""] {
            assert_eq!(help(typed), None, "{typed}");
        }
        assert_eq!(nearest("a", ["b"]), Some("b"));
        assert_eq!(nearest("A", ["a", "bcd"]), Some("a"));
    }
}
