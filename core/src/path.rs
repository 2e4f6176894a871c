//! Slash-separated paths as text, cleaned as Go's `path` package does: Dockerfiles and ignore files are written for it.

/// The shortest path with the same meaning: no `.`, no double slashes, `..` resolved against what stands before it.
///
/// An empty path is `.`; `..` above the root of an absolute path vanishes, above a relative one it stays.
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if absolute => {}
                _ => parts.push(".."),
            },
            name => parts.push(name),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// `base` and `rest` as one cleaned path. Unlike `std::path::Path::join`, an absolute `rest` goes below `base`.
pub fn join(base: &str, rest: &str) -> String {
    match (base.is_empty(), rest.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(rest),
        (false, true) => clean(base),
        (false, false) => clean(&format!("{base}/{rest}")),
    }
}

/// Everything before the last slash, cleaned; `.` for a name alone.
pub fn parent(path: &str) -> String {
    match path.rfind('/') {
        Some(at) => clean(&path[..=at]),
        None => ".".to_owned(),
    }
}

/// What stands after the last slash, trailing slashes aside; `.` for the empty path, `/` for the root.
pub fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return "/";
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (written, cleaned) in [
            ("", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("a/../b", "b"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("./.", "."),
            ("..", ".."),
            ("../..", "../.."),
            ("a/./b", "a/b"),
        ] {
            assert_eq!(clean(written), cleaned, "{written}");
        }
        assert_eq!(join("/a", "/b/../c"), "/a/c");
        assert_eq!(join("", ""), "");
        assert_eq!(parent("/a/b"), "/a");
        assert_eq!(parent("a"), ".");
        assert_eq!(parent("/a"), "/");
        assert_eq!((base("/a/b/"), base("/"), base("")), ("b", "/", "."));
    }
}
