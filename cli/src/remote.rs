//! What a URL of the command line names, and the times of what is fetched.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use kiln_cache::{Archive, Decompressor};
use kiln_core::{GitSource, HttpSource};
use kiln_executor::source::Remote;
use kiln_frontend::{EpochSource, NamedContext, git_url};

use crate::error::CommandError;

/// A git repository, or a file of a web server.
///
/// # Errors
/// What is wrong with the URL.
pub(crate) fn named(url: &str) -> Result<NamedContext, String> {
    Ok(match git_url::parse(url)? {
        Some(git) => NamedContext::Git(git.into_source()),
        None => NamedContext::Http(file(url)),
    })
}

/// The file that a URL without a git repository names.
pub(crate) fn file(url: &str) -> HttpSource {
    let filename = git_url::file_name(url);
    HttpSource { url: url.to_owned(), checksum: None, filename, mode: 0o600 }
}

/// The repository of a build context; `BUILDKIT_CONTEXT_KEEP_GIT_DIR` leaves its `.git` in.
pub(crate) fn repository(
    url: &str,
    build_args: &BTreeMap<String, String>,
) -> Result<Option<GitSource>, CommandError> {
    let wrong = |problem| CommandError::Usage(format!("invalid context `{url}`: {problem}"));
    let Some(git) = git_url::parse(url).map_err(wrong)? else { return Ok(None) };
    let mut source = git.into_source();
    let keep = build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").map(String::as_str);
    source.keep_git_dir |= matches!(keep, Some("1" | "t" | "T" | "true" | "TRUE" | "True"));
    Ok(Some(source))
}

/// The time of what `SOURCE_DATE_EPOCH` names, in seconds since 1970; `context` is that of the build context.
///
/// # Errors
/// If it cannot be fetched.
pub(crate) async fn time(
    source: &EpochSource,
    context: Option<i64>,
    remote: &Remote,
) -> Result<Option<i64>, CommandError> {
    match source {
        EpochSource::Context => Ok(context),
        EpochSource::Git(git) | EpochSource::Named(NamedContext::Git(git)) => {
            let (remote, git) = (remote.clone(), git.clone());
            let checkout = tokio::task::spawn_blocking(move || remote.checkout(&git)).await;
            Ok(Some(checkout.map_err(|_| CommandError::Panic)??.time()))
        }
        EpochSource::Http(http) | EpochSource::Named(NamedContext::Http(http)) => {
            let fetched = remote.fetch(http).await?;
            if fetched.modified.is_some() {
                return Ok(fetched.modified);
            }
            let newest = tokio::task::spawn_blocking(move || newest(BufReader::new(fetched.file)));
            newest.await.map_err(|_| CommandError::Panic)
        }
        EpochSource::Named(_) => Ok(None),
    }
}

/// The time of the newest member of an archive; none if it is no archive.
pub(crate) fn newest(from: impl BufRead + Send) -> Option<i64> {
    let mut archive = Archive::new(Decompressor::detect(from).ok()?);
    let mut newest = None;
    while let Ok(Some(member)) = archive.next_member() {
        newest = newest.max(Some(member.attributes.mtime.seconds));
    }
    newest
}
