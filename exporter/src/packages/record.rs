//! Records of `Name: value` lines, one a paragraph: dpkg's, Python's, and with one letter names apk's.

/// The paragraphs of a text, each as names and values. Lines that go on (they begin with a blank) belong to the value before.
pub(super) fn paragraphs(text: &str) -> Vec<Vec<(&str, &str)>> {
    let mut all = Vec::new();
    let mut paragraph: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() {
            all.extend((!paragraph.is_empty()).then(|| std::mem::take(&mut paragraph)));
        } else if !line.starts_with([' ', '\t'])
            && let Some((name, value)) = line.split_once(':')
        {
            paragraph.push((name, value.trim()));
        }
    }
    all.extend((!paragraph.is_empty()).then_some(paragraph));
    all
}

/// The first value of a name, or nothing.
pub(super) fn value<'a>(paragraph: &[(&'a str, &'a str)], name: &str) -> &'a str {
    paragraph.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}
