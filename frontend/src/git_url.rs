//! Git repositories by URL, in the forms that ADD and contexts take: `https://…/name.git#ref:subdir`, the same with a query,
//! `git@host:path`, `ssh://…`, `git://…`, and for contexts `github.com/owner/name`.

use std::collections::BTreeMap;

use kiln_core::{GitSource, path};

use crate::syntax::go;

/// A repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitUrl {
    /// What `git` is given: without fragment and query.
    pub remote: String,
    /// The repository's own name.
    pub short_name: String,
    /// A branch, tag or commit; empty for the remote's HEAD.
    pub reference: String,
    /// The commit that it must be.
    pub checksum: Option<String>,
    /// The directory of the repository that is wanted; empty for all of it.
    pub subdir: String,
    /// `github.com/owner/name`, which for ADD is a path.
    pub local_form: bool,
    /// Whether anyone on the way can change what is fetched.
    pub unencrypted: bool,
    /// `?keep-git-dir=`.
    pub keep_git_dir: Option<bool>,
    /// `?submodules=`.
    pub submodules: Option<bool>,
    /// `?mtime=commit|checkout`.
    pub mtime: Option<String>,
    /// `?fetch-by-commit=`.
    pub fetch_by_commit: bool,
}

impl GitUrl {
    /// The source that it is.
    pub fn into_source(self) -> GitSource {
        let remote = if self.local_form { format!("https://{}", self.remote) } else { self.remote };
        GitSource {
            remote,
            reference: match (&self.checksum, self.reference.is_empty()) {
                // The beginning of a commit's id is no name that a remote knows: its HEAD must have it.
                (Some(commit), true) if matches!(commit.len(), 40 | 64) => commit.clone(),
                _ => self.reference,
            },
            subdir: self.subdir,
            checksum: self.checksum,
            keep_git_dir: self.keep_git_dir.unwrap_or(false),
            submodules: self.submodules.unwrap_or(true),
        }
    }
}

/// Reads `text` if it is the URL of a git repository; `None` if it is something else. An HTTP URL is one if its path ends in
/// `.git`.
///
/// # Errors
/// If it is one, and its query makes no sense.
pub fn parse(text: &str) -> Result<Option<GitUrl>, String> {
    parse_known(text, false)
}

/// The same; if the text is `known` to mean a repository (`--keep-git-dir` says so), any HTTP URL is one.
///
/// # Errors
/// If it is one, and its query makes no sense.
pub fn parse_known(text: &str, known: bool) -> Result<Option<GitUrl>, String> {
    if text.starts_with("./") || text.starts_with("../") {
        return Ok(None);
    }
    if text.starts_with("github.com/") {
        return read(text, "", true).map(Some);
    }
    if let Some((scheme, rest)) = text.split_once("://")
        && !scheme.is_empty()
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        let scheme = scheme.to_ascii_lowercase();
        let is_git = match scheme.as_str() {
            "http" | "https" => {
                let place = rest.split(['?', '#']).next().unwrap_or_default();
                let path = place.find('/').map_or("", |at| &place[at..]);
                known || percent_decoded(path).is_some_and(|path| path.ends_with(".git"))
            }
            "git" | "ssh" => true,
            _ => false,
        };
        return if is_git { read(rest, &format!("{scheme}://"), false).map(Some) } else { Ok(None) };
    }
    if is_scp(text) { read(text, "", false).map(Some) } else { Ok(None) }
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    word(user, "-_") && word(host, "-.")
}

/// Takes `rest` apart; `scheme` goes back in front of the remote.
fn read(rest: &str, scheme: &str, local_form: bool) -> Result<GitUrl, String> {
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let fragment = percent_decoded(fragment).unwrap_or_else(|| fragment.to_owned());
    let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
    let remote = format!("{scheme}{place}");
    let last = remote.rsplit('/').next().unwrap_or_default();
    let mut url = GitUrl {
        short_name: last.strip_suffix(".git").unwrap_or(last).to_owned(),
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        local_form,
        unencrypted: ["http://", "git://"].contains(&scheme),
        remote,
        ..GitUrl::default()
    };
    url.take_query(query)?;
    if !url.subdir.is_empty() {
        let cleaned = path::join("/", &url.subdir);
        url.subdir = cleaned.trim_start_matches('/').to_owned();
    }
    Ok(url)
}

impl GitUrl {
    fn take_query(&mut self, query: &str) -> Result<(), String> {
        let mut tag = String::new();
        let mut branch = String::new();
        for (key, value) in values(query)? {
            let flag = || match value.as_str() {
                "" => Ok(true),
                text => {
                    go::parse_bool(text).ok_or_else(|| format!("invalid {key} value: {}", go::quote(text)))
                }
            };
            match key.as_str() {
                "submodules" => self.submodules = Some(flag()?),
                "keep-git-dir" => self.keep_git_dir = Some(flag()?),
                "fetch-by-commit" => self.fetch_by_commit = flag()?,
                _ if value.is_empty() => return Err(format!("query {} has no value", go::quote(&key))),
                "ref" => agree("ref", &mut self.reference, value)?,
                "subdir" => agree("subdir", &mut self.subdir, value)?,
                "tag" => tag = value,
                "branch" => branch = value,
                "checksum" | "commit" => self.checksum = Some(value),
                "mtime" if ["commit", "checkout"].contains(&value.as_str()) => self.mtime = Some(value),
                "mtime" => return Err(format!("invalid mtime value: {}", go::quote(&value))),
                _ => return Err(format!("unexpected query {}", go::quote(&key))),
            }
        }
        let full = |prefix: &str, name: String| {
            if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
        };
        if !tag.is_empty() && !branch.is_empty() {
            return Err("branch conflicts with tag".to_owned());
        }
        if !tag.is_empty() {
            agree("ref", &mut self.reference, full("refs/tags/", tag))?;
        }
        if !branch.is_empty() {
            agree("ref", &mut self.reference, full("refs/heads/", branch))?;
        }
        Ok(())
    }
}

/// Sets `field` to `value`, unless it says something else already.
fn agree(name: &str, field: &mut String, value: String) -> Result<(), String> {
    if !field.is_empty() && *field != value {
        return Err(format!("{name} conflicts: {} vs {}", go::quote(field), go::quote(&value)));
    }
    *field = value;
    Ok(())
}

fn values(query: &str) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| {
            percent_decoded(&text.replace('+', " "))
                .ok_or_else(|| format!("invalid query {}", go::quote(pair)))
        };
        let key = decoded(key)?;
        if values.insert(key.clone(), decoded(value)?).is_some() {
            return Err(format!("query {} has multiple values", go::quote(&key)));
        }
    }
    Ok(values)
}

/// The name of the file that an URL gives: the last part of its path.
pub fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let place = rest.find('/').map_or("", |at| &rest[at..]);
    let decoded = percent_decoded(place).unwrap_or_else(|| place.to_owned());
    match path::base(&path::clean(&decoded)) {
        "." | "/" | "" => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}

/// The text with `%41` as `A`; `None` if an escape is malformed or the result is no text.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn table(name: &str) -> Option<Value> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/tables/buildkit/git/");
        let Ok(text) = std::fs::read_to_string(format!("{path}{name}.json")) else {
            println!("skipped: ../shared is absent");
            return None;
        };
        Some(serde_json::from_str(&text).expect("the corpus is JSON"))
    }

    #[test]
    fn urls_are_taken_apart_as_in_the_references_table() {
        let Some(rows) = table("parse_git_ref") else { return };
        for row in rows.as_array().unwrap() {
            let result = parse(row["input"].as_str().unwrap());
            let Some(expected) = row["expected"].as_object() else {
                match (&row["error_contains"], result) {
                    (Value::String(part), Err(error)) => assert!(error.contains(part), "{row}: {error}"),
                    (Value::Null, Ok(None) | Err(_)) => {}
                    (_, other) => panic!("{row}: {other:?}"),
                }
                continue;
            };
            let url = result.unwrap().unwrap_or_else(|| panic!("{row}"));
            let text = |key: &str| expected.get(key).and_then(Value::as_str).unwrap_or_default();
            let flag = |key: &str| expected.get(key).and_then(Value::as_bool);
            assert_eq!(url.remote, text("remote"), "{row}");
            assert_eq!(url.short_name, text("shortName"), "{row}");
            assert_eq!(url.reference, text("ref"), "{row}");
            assert_eq!(url.subdir, text("subDir").trim_start_matches('/'), "{row}");
            assert_eq!(url.checksum.as_deref().unwrap_or_default(), text("checksum"), "{row}");
            assert_eq!(url.mtime.as_deref().unwrap_or_default(), text("mTime"), "{row}");
            assert_eq!(url.local_form, flag("indistinguishableFromLocal").unwrap_or(false), "{row}");
            assert_eq!(url.unencrypted, flag("unencryptedTCP").unwrap_or(false), "{row}");
            assert_eq!(url.keep_git_dir, flag("keepGitDir"), "{row}");
            assert_eq!(url.submodules, flag("submodules"), "{row}");
            assert_eq!(url.fetch_by_commit, flag("fetchByCommit").unwrap_or(false), "{row}");
        }
    }

    #[test]
    fn references_and_directories_are_the_references() {
        let Some(rows) = table("fragment_format") else { return };
        for row in rows.as_array().unwrap() {
            let parsed = parse(row["input"].as_str().unwrap()).ok().flatten();
            assert_eq!(parsed.is_some(), row["ok"].as_bool().unwrap(), "{row}");
            let Some(url) = parsed else { continue };
            let mut fragment = url.reference.clone();
            if row["subdir"] == true && !url.subdir.is_empty() {
                fragment = format!("{fragment}:{}", url.subdir);
            }
            let mark = if fragment.is_empty() { "" } else { "#" };
            assert_eq!(format!("{}{mark}{fragment}", url.remote), row["expected"], "{row}");
        }
    }
}
