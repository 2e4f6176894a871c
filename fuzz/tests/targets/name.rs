//! Short texts with a meaning: image references, digests, platforms, addresses of git repositories.

use kiln_core::{Digest, Platform, Reference};
use kiln_frontend::git_url;
use kiln_fuzz::{Campaign, Trace, corpus_texts};

use crate::text;

const WORDS: &[&str] = &[
    "/",
    ":",
    "@",
    ".",
    "-",
    "_",
    "__",
    "--",
    "sha256:",
    "sha512:",
    "docker.io/",
    "library/",
    "localhost:5000/",
    "[::1]:5000/",
    "a",
    "b",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "latest",
    "A",
    "\u{e9}",
    "linux",
    "amd64",
    "arm/v7",
    "arm64/v8",
    "(10.0)",
    "+",
    "\\",
    " ",
    "https://",
    "http://",
    "git://",
    "ssh://",
    "git@",
    "github.com/",
    ".git",
    "#",
    "?",
    "&",
    "ref=",
    "subdir=",
    "checksum=",
    "tag=",
    "%2f",
    "%",
    "..",
    "=",
    "\0",
    "\n",
    "65536",
    "submodules=0",
    "keep-git-dir=",
];

fn read(input: &str, trace: &mut Trace) {
    match input.parse::<Reference>() {
        Ok(reference) => {
            trace.reached((reference.tag().is_some(), reference.digest().is_some()));
            // What it is called in full, and to people, means the same.
            let again: Reference = reference.to_string().parse().unwrap();
            assert_eq!(again.name(), reference.name());
            assert_eq!(again.digest(), reference.digest());
            assert_eq!(again.tag_or_latest(), reference.tag_or_latest());
            assert_eq!(reference.familiar().parse::<Reference>().unwrap().name(), reference.name());
        }
        Err(error) => trace.said(&error.to_string()),
    }
    match input.parse::<Digest>() {
        Ok(digest) => assert_eq!(digest.to_string(), input),
        Err(error) => trace.said(&error.to_string()),
    }
    match input.parse::<Platform>() {
        Ok(platform) => {
            trace.reached(("platform", platform.variant.is_empty()));
            assert_eq!(platform.to_string().parse::<Platform>().as_ref(), Ok(&platform), "as {platform}");
        }
        Err(error) => trace.said(&error.to_string()),
    }
    match git_url::parse(input) {
        Ok(None) => {}
        Ok(Some(url)) => {
            let source = url.into_source();
            trace.reached(("git", source.remote.split(':').next().map(|scheme| scheme.len().min(8))));
            assert!(!source.remote.starts_with('-'), "an address that is an option: {:?}", source.remote);
        }
        Err(error) => trace.said(&error),
    }
}

#[test]
fn names() {
    let mut seeds = corpus_texts("corpus/tables/buildkit/git");
    seeds.extend(corpus_texts("corpus/tables/buildkit/util"));
    seeds.extend(corpus_texts("corpus/tables/buildkit/policy"));
    let ready = [
        "busybox",
        "a/b:c",
        "localhost:5000/a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ];
    seeds.extend(ready.map(|name| name.as_bytes().to_vec()));
    Campaign::new("name", seeds, WORDS).run(|input, trace| read(&text(input), trace));
}
