//! The nearest valid word to a mistyped one.

/// `did you mean X?`, if one of `words` is near to `typed`, whatever their case.
pub(crate) fn help(typed: &str, words: &[&str]) -> Option<String> {
    nearest(typed, words).map(|word| format!("did you mean {word}?"))
}

/// The word of `words` that is at most three edits from `typed` and not it; the first of equally near ones.
pub(crate) fn nearest<'a>(typed: &str, words: &[&'a str]) -> Option<&'a str> {
    let typed: Vec<char> = typed.to_lowercase().chars().collect();
    let farthest = 3.min(typed.len().saturating_sub(1));
    let mut best: Option<(usize, &str)> = None;
    for word in words {
        let letters: Vec<char> = word.to_lowercase().chars().collect();
        if letters.len().abs_diff(typed.len()) > farthest {
            continue;
        }
        let distance = distance(&typed, &letters);
        if distance == 0 {
            return None;
        }
        if distance <= farthest && best.is_none_or(|(least, _)| distance < least) {
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
        assert_eq!(nearest("FORM", &words), Some("FROM"));
        assert_eq!(nearest("cpoy", &words), Some("COPY"));
        assert_eq!(nearest("ENTRYPIONT", &words), Some("ENTRYPOINT"));
        assert_eq!(nearest("BADCMD", &words), None);
        assert_eq!(nearest("x", &words), None);
        assert_eq!(nearest("run", &words), None);
        assert_eq!(nearest("", &words), None);
    }
}
