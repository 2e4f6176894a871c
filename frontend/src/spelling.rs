//! The nearest name among those that are known, as the reference's checks choose it.

/// The name of `known` that is at most two edits from `typed` and not it: the first of the nearest.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = typed.chars().collect();
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let letters: Vec<char> = name.chars().collect();
        if letters.len().abs_diff(typed.len()) > 2 {
            continue;
        }
        let distance = distance(&typed, &letters);
        if distance == 0 {
            return None;
        }
        if distance <= 2 && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// The same without regard to case.
pub(crate) fn nearest_in_any_case<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let known: Vec<(&str, String)> = known.into_iter().map(|name| (name, name.to_lowercase())).collect();
    let found = nearest(&typed.to_lowercase(), known.iter().map(|(_, lower)| lower.as_str()))?;
    known.iter().find(|(_, lower)| lower == found).map(|(name, _)| *name)
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
    fn two_edits_are_near_and_three_are_not() {
        let known = ["FOO", "TARGETARCH", "PATH"];
        assert_eq!(nearest("TARGETARC", known), Some("TARGETARCH"));
        assert_eq!(nearest("foo", known), None);
        assert_eq!(nearest_in_any_case("fo", known), Some("FOO"));
        assert_eq!(nearest("PATH", known), None);
        assert_eq!(nearest("PAXXYH", known), None);
    }
}
