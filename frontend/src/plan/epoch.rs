//! `SOURCE_DATE_EPOCH`: a number, or the name of something whose time it is.

use kiln_core::{Diagnostic, GitSource, HttpSource};

use super::{Environment, GlobalArgs, Names, from_of};
use crate::ast::{Add, Command, FileSource, StageText, Word};
use crate::expand::{Rules, Variables};
use crate::git_url;
use crate::options::{NamedContext, Options};

pub(super) const NAME: &str = "SOURCE_DATE_EPOCH";

/// Something whose time is the build's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochSource {
    /// The build context: the commit of a git context, the time of a download.
    Context,
    /// A named context.
    Named(NamedContext),
    /// A checkout, the only source of a stage: the time of the commit.
    Git(GitSource),
    /// A download, the only source of a stage: its Last-Modified, or the newest file in it.
    Http(HttpSource),
}

/// What the build argument, else the global ARG, else the environment says.
pub(super) fn epoch(
    options: &Options,
    args: &GlobalArgs,
    names: &Names,
    texts: &[StageText<'_>],
    escape: char,
) -> Result<(Option<i64>, Option<EpochSource>), Diagnostic> {
    let written = match options.build_args.get(NAME) {
        Some(value) => value.as_str(),
        None => args.values.get(NAME).unwrap_or_default(),
    };
    if written.is_empty() {
        let unset = !options.build_args.contains_key(NAME);
        return Ok((options.epoch.filter(|_| unset), None));
    }
    if let Ok(seconds) = written.parse() {
        return Ok((Some(seconds), None));
    }
    if written == "context" {
        return Ok((None, Some(EpochSource::Context)));
    }
    if let Some((_, context)) = names.context(written, None) {
        return Ok((None, Some(EpochSource::Named(context))));
    }
    let stage = texts.iter().find(|text| {
        let name = from_of(text).and_then(|from| from.name.as_ref());
        name.is_some_and(|name| name.written.value.eq_ignore_ascii_case(written))
    });
    match stage {
        Some(text) => Ok((None, Some(only_source(text, args, options, escape)?))),
        None => {
            let message = format!("invalid {NAME}: {written}");
            Err(Diagnostic::error(message, place(texts))
                .with_help("give seconds since 1970, `context`, or the name of a stage with one remote ADD"))
        }
    }
}

fn place(texts: &[StageText<'_>]) -> kiln_core::Span {
    texts.first().map(|text| text.from.keyword.span).unwrap_or_default()
}

/// The one remote ADD that a stage consists of.
fn only_source(
    text: &StageText<'_>,
    args: &GlobalArgs,
    options: &Options,
    escape: char,
) -> Result<EpochSource, Diagnostic> {
    let mut env = args.values.clone();
    env.remove(NAME);
    let expand = |word: &Word, env: &Environment| {
        let expanded = Rules::words(escape).expand(&word.value, env);
        expanded.map(|e| e.text).map_err(|error| Diagnostic::error(error.to_string(), word.span))
    };
    let image = from_of(text).map(|from| expand(&from.image, &env)).transpose()?;
    if image.as_deref() != Some("scratch") {
        return Err(Diagnostic::error(format!("{NAME} stage must use FROM scratch"), text.from.span));
    }
    let one = |span| Diagnostic::error(format!("{NAME} stage must contain exactly one remote ADD"), span);
    let mut source = None;
    for instruction in text.body {
        match &instruction.command {
            Command::Arg(names) => {
                for arg in names {
                    let name = &arg.name.value;
                    match (options.build_args.get(name), &arg.default) {
                        (Some(given), _) => env.set(name, given),
                        (None, Some(default)) => env.set(name, &expand(default, &env)?),
                        (None, None) => {}
                    }
                }
            }
            Command::Add(add) if source.is_none() => {
                let [FileSource::Path(word)] = add.files.sources.as_slice() else {
                    let message = format!("{NAME} stage must contain exactly one remote ADD source");
                    return Err(Diagnostic::error(message, instruction.span));
                };
                let url = expand(word, &env)?;
                let checksum = add.checksum.as_ref().map(|word| expand(word, &env)).transpose()?;
                source = Some(remote(&url, add, checksum).map_err(|m| Diagnostic::error(m, word.span))?);
            }
            Command::Add(_) => return Err(one(instruction.span)),
            _ => {
                let keyword = &instruction.keyword.value;
                let message = format!(
                    "{NAME} stage does not meet source-only requirements: unsupported {keyword} instruction"
                );
                return Err(Diagnostic::error(message, instruction.span));
            }
        }
    }
    source.ok_or_else(|| one(text.from.span))
}

fn remote(url: &str, add: &Add, checksum: Option<String>) -> Result<EpochSource, String> {
    if let Some(git) = git_url::parse_known(url, add.keep_git_dir.is_some())?
        && !git.local_form
    {
        let mut source = git.into_source();
        source.keep_git_dir |= add.keep_git_dir == Some(true);
        source.checksum = checksum.or(source.checksum);
        return Ok(EpochSource::Git(source));
    }
    if url.starts_with("http://") || url.starts_with("https://") {
        let checksum = checksum.map(|text| text.parse()).transpose().map_err(|error| format!("{error}"))?;
        let filename = git_url::file_name(url);
        return Ok(EpochSource::Http(HttpSource { url: url.to_owned(), checksum, filename, mode: 0o600 }));
    }
    Err(format!("{NAME} stage source must be a single HTTP(S) or Git ADD"))
}
