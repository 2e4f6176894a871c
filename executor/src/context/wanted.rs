//! Which part of a context the graph reads, so that the walk goes no further.

use kiln_core::pattern::wildcard;

/// The paths and patterns that copies name, by component.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// `None`: all of the context.
    patterns: Option<Vec<Vec<String>>>,
}

/// What the walk does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It and all below it are read.
    Whole,
    /// It lies on the way to something that is read.
    Through,
    /// Nothing reads it.
    Not,
}

impl Wanted {
    /// What `sources` name; all of the context if there are none, or one of them is the root.
    pub(crate) fn new(sources: &[String]) -> Self {
        let mut wanted = Self { patterns: Some(Vec::new()) };
        if sources.is_empty() {
            return Self::default();
        }
        for source in sources {
            wanted.add(source);
        }
        wanted
    }

    /// Adds one more source; tells whether that changed anything.
    pub(crate) fn add(&mut self, source: &str) -> bool {
        let Some(patterns) = &mut self.patterns else { return false };
        let mut components: Vec<String> = Vec::new();
        for part in source.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    components.pop();
                }
                name => components.push(name.to_owned()),
            }
        }
        if components.is_empty() {
            self.patterns = None;
            return true;
        }
        if patterns.contains(&components) {
            return false;
        }
        patterns.push(components);
        true
    }

    /// Whether the whole context is read.
    pub(crate) fn is_all(&self) -> bool {
        self.patterns.is_none()
    }

    /// How far the entry at `path` (relative, no dots) is read.
    pub(crate) fn reach(&self, path: &str) -> Reach {
        let Some(patterns) = &self.patterns else { return Reach::Whole };
        let mut reach = Reach::Not;
        for pattern in patterns {
            match one(pattern, path) {
                Reach::Whole => return Reach::Whole,
                Reach::Through => reach = Reach::Through,
                Reach::Not => {}
            }
        }
        reach
    }

    /// What a symbolic link at `path` adds: for every source that is the link itself or goes through it, the path with
    /// the link's target in its place.
    pub(crate) fn through_link(&self, path: &str, target: &str) -> Vec<String> {
        let Some(patterns) = &self.patterns else { return Vec::new() };
        let depth = path.split('/').count();
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let resolved = match target.strip_prefix('/') {
            Some(absolute) => kiln_core::path::clean(&format!("/{absolute}")),
            None => kiln_core::path::clean(&format!("/{parent}/{target}")),
        };
        let mut added = Vec::new();
        for pattern in patterns {
            if pattern.len() >= depth && one(&pattern[..depth], path) == Reach::Whole {
                let rest = &pattern[depth..];
                added.push(
                    std::iter::once(&resolved).chain(rest).map(String::as_str).collect::<Vec<_>>().join("/"),
                );
            }
        }
        added
    }
}

fn one(pattern: &[String], path: &str) -> Reach {
    let mut parts = path.split('/');
    for component in pattern {
        // Copies with --parents know `**`: from there on anything may be meant.
        if component == "**" {
            return Reach::Whole;
        }
        match parts.next() {
            None => return Reach::Through,
            Some(name) if component == name => {}
            Some(name) if wildcard::matches(component, name).unwrap_or(false) => {}
            Some(_) => return Reach::Not,
        }
    }
    Reach::Whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(sources: &[&str]) -> Wanted {
        Wanted::new(&sources.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_walk_goes_no_further_than_the_sources() {
        let some = wanted(&["src/*.c", "/lib/", "a/./b/**/x"]);
        for (path, reach) in [
            ("src", Reach::Through),
            ("src/main.c", Reach::Whole),
            ("src/main.h", Reach::Not),
            ("lib/deep/down", Reach::Whole),
            ("a", Reach::Through),
            ("a/b", Reach::Whole),
            ("a/b/any/thing", Reach::Whole),
            ("other", Reach::Not),
        ] {
            assert_eq!(some.reach(path), reach, "{path}");
        }
        assert!(wanted(&["x", "."]).is_all());
        assert!(wanted(&[]).is_all());
    }

    #[test]
    fn links_on_the_way_are_followed() {
        let some = wanted(&["current/bin/*", "file"]);
        assert_eq!(some.through_link("current", "releases/../v1"), ["/v1/bin/*"]);
        assert_eq!(some.through_link("file", "/data/file.1"), ["/data/file.1"]);
        assert!(some.through_link("elsewhere", "x").is_empty());
    }
}
