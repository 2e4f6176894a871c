//! Where COPY, ADD and `--from` read: the build context and those of `--build-context`, as frontend and executor want them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::pattern::Ignore;
use kiln_core::{Diagnostic, Diagnostics, SourceFile, Span};
use kiln_executor::context::LocalContext;
use kiln_frontend::{LayoutName, MAIN_CONTEXT, NamedContext};

use crate::error::CommandError;
use crate::remote;
use crate::request::{UsageError, is_remote};
use crate::source::{BuildSource, ignore_file};

/// All contexts of a build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contexts {
    /// What the names of `--build-context` stand for.
    pub(crate) named: BTreeMap<String, NamedContext>,
    /// The directories, by the name of their local source.
    pub(crate) directories: BTreeMap<String, LocalContext>,
}

impl Contexts {
    /// Understands `--build-context` and compiles the ignore files.
    ///
    /// # Errors
    /// A context that is none, or an ignore file with a malformed pattern.
    pub(crate) fn open(source: &BuildSource, typed: &BTreeMap<String, String>) -> Result<Self, CommandError> {
        let mut contexts = Self::default();
        contexts.add(MAIN_CONTEXT, &source.directory, source.ignore.as_ref())?;
        for (name, value) in typed {
            let named = named(name, value)?;
            if let NamedContext::Directory(source) = &named {
                let path = PathBuf::from(value);
                let fail = |cause| CommandError::File {
                    verb: "open",
                    what: "build context",
                    path: path.clone(),
                    cause,
                };
                let directory = path.canonicalize().map_err(fail)?;
                if !directory.is_dir() {
                    return Err(fail(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
                }
                let ignore = ignore_file(&directory, None)?;
                contexts.add(source, &directory, ignore.as_ref())?;
            }
            contexts.named.insert(name.to_ascii_lowercase(), named);
        }
        Ok(contexts)
    }

    /// The ignore files by context, for the checks.
    pub(crate) fn ignores(&self) -> BTreeMap<String, Ignore> {
        self.directories.iter().map(|(name, context)| (name.clone(), (*context.ignore).clone())).collect()
    }

    fn add(&mut self, name: &str, directory: &Path, ignore: Option<&SourceFile>) -> Result<(), CommandError> {
        let ignore = match ignore {
            None => Ignore::default(),
            Some(file) => Ignore::parse(&file.text).map_err(|error| malformed(file, &error))?,
        };
        let context = LocalContext { directory: directory.to_owned(), ignore: Arc::new(ignore) };
        self.directories.insert(name.to_owned(), context);
        Ok(())
    }
}

fn malformed(file: &SourceFile, error: &kiln_core::pattern::IgnoreError) -> CommandError {
    let start: usize =
        file.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let end = file.text[start..].find('\n').map_or(file.text.len(), |at| start + at);
    let item = Diagnostic::error(error.to_string(), Span::new(start, end));
    Diagnostics { file: file.clone(), items: vec![item] }.into()
}

/// What the value of `--build-context NAME=VALUE` is.
fn named(name: &str, value: &str) -> Result<NamedContext, CommandError> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(match image {
            "scratch" => NamedContext::Scratch,
            image => NamedContext::Image(image.parse()?),
        });
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return layout_name(layout).map(NamedContext::Layout);
    }
    if is_remote(value) {
        let wrong =
            |problem: String| UsageError::value("build-context", &format!("{name}={value}"), &problem);
        return Ok(remote::named(value).map_err(wrong)?);
    }
    if let Some((scheme, _)) = value.split_once("://") {
        let problem = format!(
            "unknown kind of context `{scheme}://`: expected a directory, docker-image://, oci-layout://, or a URL"
        );
        return Err(UsageError::value("build-context", &format!("{name}={value}"), &problem).into());
    }
    Ok(NamedContext::Directory(name.to_ascii_lowercase()))
}

/// `PATH`, `PATH:TAG`, `PATH@DIGEST`, `PATH:TAG@DIGEST`.
///
/// # Errors
/// If there is no such directory.
pub(crate) fn layout_name(text: &str) -> Result<LayoutName, CommandError> {
    let (path, reference) = match text.split_once('@') {
        Some((path, digest)) => (path.rsplit_once(':').map_or(path, |(path, _)| path), digest),
        None => match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, ""),
        },
    };
    let directory = PathBuf::from(path);
    let fail =
        |cause| CommandError::File { verb: "open", what: "OCI layout", path: directory.clone(), cause };
    let absolute = directory.canonicalize().map_err(fail)?;
    Ok(LayoutName { path: absolute.display().to_string(), reference: reference.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_what_its_scheme_says() {
        assert_eq!(named("a", "docker-image://scratch").unwrap(), NamedContext::Scratch);
        assert_eq!(named("A", "dir").unwrap(), NamedContext::Directory("a".into()));
        assert!(matches!(named("a", "docker-image://busybox").unwrap(), NamedContext::Image(_)));
        assert!(named("a", "nonsense://x").is_err());
        let directory = std::env::temp_dir().display().to_string();
        let layout = |text: &str| layout_name(&format!("{directory}{text}")).unwrap().reference;
        assert_eq!(
            (layout(""), layout(":v1"), layout("@sha256:1")),
            (String::new(), "v1".into(), "sha256:1".into())
        );
    }
}
