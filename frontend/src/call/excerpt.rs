//! Some lines of a source, as BuildKit shows them.

use kiln_core::SourceFile;

/// The lines from `first` to `last`, marked, with some around them: four for a single line, two for more.
pub fn excerpt(file: &SourceFile, (first, last): (usize, usize)) -> String {
    let count = file.lines();
    if first < 1 || first > count {
        return String::new();
    }
    let last = last.clamp(first, count);
    let (mut start, mut end) = (first, last);
    let wanted = if first == last { 4 } else { 2 };
    let mut added = 0;
    while added < wanted {
        if start > 1 {
            start -= 1;
            added += 1;
        }
        if end != count {
            end += 1;
            added += 1;
        }
        added += 1;
    }
    let mut text = format!("{}:{first}\n--------------------\n", file.name);
    for (number, line) in (start..=end).filter_map(|number| Some((number, file.line(number)?))) {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        text.push_str(&format!(" {number:3} | {mark} {line}\n"));
    }
    text.push_str("--------------------\n");
    text
}
