//! Which files of a tree a copy means: wildcards, `--parents`, `--exclude`.

use std::path::{Path, PathBuf};

use kiln_core::Copy;
use kiln_core::pattern::{Ignore, Matched, wildcard};

use super::FileError;
use super::tree::{Tree, resolve};

/// What a source of a copy comes down to: where it begins, and what below that is taken.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The paths in the source tree that are copied one by one, links not followed yet.
    pub(crate) roots: Vec<PathBuf>,
    /// With `--parents`, what below the root is taken.
    pub(crate) include: Option<Ignore>,
    /// `--exclude`.
    pub(crate) exclude: Option<Ignore>,
}

/// The state of both lists in one directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    include: Matched,
    exclude: Matched,
}

impl Selection {
    /// Finds what `path` of `copy` names in `tree`.
    ///
    /// # Errors
    /// If a plain path, or a pattern that must match, names nothing.
    pub(crate) fn new(tree: &dyn Tree, copy: &Copy, path: &str, required: bool) -> Result<Self, FileError> {
        let exclude = match copy.exclude.as_slice() {
            [] => None,
            patterns => Some(Ignore::from_patterns(patterns).map_err(FileError::Exclude)?),
        };
        if copy.parents {
            let (root, pattern) = pivot(path);
            // A plain path must be there: a pattern may match nothing.
            let target = Path::new(&root).join(&pattern);
            if !wildcard::has_wildcards(path) && tree.node(&resolve(tree, &target)?).is_none() {
                return Err(not_found(path));
            }
            let include = match pattern.as_str() {
                "" => None,
                pattern => Some(Ignore::from_patterns(&[pattern]).map_err(FileError::Exclude)?),
            };
            let roots = if wildcard::has_wildcards(&root) {
                matches(tree, &root)?
            } else {
                vec![PathBuf::from(root)]
            };
            return Ok(Self { roots, include, exclude });
        }
        let roots = if wildcard::has_wildcards(path) {
            let roots = matches(tree, path)?;
            if roots.is_empty() && required {
                return Err(not_found(path));
            }
            roots
        } else {
            vec![plain(tree, path)?]
        };
        for root in &roots {
            if tree.node(&resolve(tree, root)?).is_none() {
                return Err(not_found(&root.to_string_lossy()));
            }
        }
        Ok(Self { roots, include: None, exclude })
    }

    /// Whether the entry at `path` below the root is taken, and what its children need to know.
    pub(crate) fn takes(&self, place: &Place, path: &str) -> (bool, Place) {
        let mut inner = Place::default();
        let mut taken = true;
        if let Some(include) = &self.include {
            let (decision, matched) = include.enter(&place.include, path);
            taken = decision.excluded;
            inner.include = matched;
        }
        if let Some(exclude) = &self.exclude {
            let (decision, matched) = exclude.enter(&place.exclude, path);
            taken &= !decision.excluded;
            inner.exclude = matched;
        }
        (taken, inner)
    }

    /// Whether a directory that is not taken itself can have something below that is.
    pub(crate) fn may_take_below(&self, path: &str) -> bool {
        self.include.is_some() || self.exclude.as_ref().is_none_or(|exclude| !exclude.can_skip(path))
    }

    /// Whether everything below a root is taken.
    pub(crate) fn is_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }
}

/// The part of a `--parents` source before `/./`, and the pattern behind it.
fn pivot(path: &str) -> (String, String) {
    let clean = |text: &str| kiln_core::path::clean(&format!("/{text}")).trim_start_matches('/').to_owned();
    match path.split_once("/./") {
        Some((root, pattern)) => (clean(root), clean(pattern)),
        None => (String::new(), clean(path)),
    }
}

fn relative(path: &str) -> PathBuf {
    PathBuf::from(kiln_core::path::clean(&format!("/{path}")).trim_start_matches('/'))
}

fn not_found(path: &str) -> FileError {
    let path = kiln_core::path::clean(&format!("/{path}"));
    FileError::NotFound { path, left_out: None }
}

/// A path without wildcards. A backslash in it stands for itself if that is a file, otherwise it quotes what follows.
fn plain(tree: &dyn Tree, path: &str) -> Result<PathBuf, FileError> {
    let written = relative(path);
    if !path.contains('\\') || tree.node(&resolve(tree, &written)?).is_some() {
        return Ok(written);
    }
    let mut unquoted = String::with_capacity(path.len());
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        unquoted.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    Ok(relative(&unquoted))
}

/// The paths that match a pattern, in order: the components before the first wildcard are followed, the rest is matched as
/// Go's `filepath.Match` does. What is below a match is not looked at.
fn matches(tree: &dyn Tree, pattern: &str) -> Result<Vec<PathBuf>, FileError> {
    let cleaned = relative(pattern);
    let text = cleaned.to_string_lossy();
    let components: Vec<&str> = text.split('/').collect();
    let plain = components.iter().take_while(|part| !wildcard::has_wildcards(part)).count();
    let start = resolve(tree, &components[..plain].iter().collect::<PathBuf>())?;
    let mut found = Vec::new();
    expand(tree, &start, &components[plain..], &mut found);
    Ok(found)
}

/// Matches one component a level: a wildcard never matches a slash. Links on the way are not followed.
fn expand(tree: &dyn Tree, directory: &Path, components: &[&str], found: &mut Vec<PathBuf>) {
    let Some((component, rest)) = components.split_first() else {
        found.push(directory.to_path_buf());
        return;
    };
    if !tree.node(directory).is_some_and(|node| node.is_dir()) {
        return;
    }
    for name in tree.names(directory) {
        if wildcard::matches(component, &name.to_string_lossy()).unwrap_or(false) {
            expand(tree, &directory.join(&name), rest, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pivot_divides_root_and_pattern() {
        for (path, root, pattern) in [
            ("x/y/a.txt", "", "x/y/a.txt"),
            ("/test/a/b/./c/d", "test/a/b", "c/d"),
            ("./x", "", "x"),
            ("./x/./z/", "x", "z"),
            ("/test/a/./b/./c", "test/a", "b/c"),
        ] {
            assert_eq!(pivot(path), (root.to_owned(), pattern.to_owned()), "{path}");
        }
    }
}
