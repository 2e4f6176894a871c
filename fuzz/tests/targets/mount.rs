//! `--mount` and the other flags of RUN.

use kiln_frontend::ast::parse_mount;
use kiln_fuzz::{Campaign, Trace, corpus_texts};

use crate::{dockerfile, text};

const WORDS: &[&str] = &[
    "type=",
    "bind",
    "cache",
    "tmpfs",
    "secret",
    "ssh",
    "target=",
    "dst=",
    "destination=",
    "source=",
    "src=",
    "from=",
    "id=",
    "ro",
    "rw",
    "readonly",
    "readwrite=false",
    "sharing=",
    "shared",
    "private",
    "locked",
    "required",
    "mode=",
    "uid=",
    "gid=",
    "size=",
    "1k",
    "env=",
    ",",
    "=",
    "\"",
    "\"\"",
    "'",
    "$a",
    "${a",
    "}",
    "/",
    "/x",
    "..",
    " ",
    "\n",
    "\\",
    "true",
    "0",
    "-1",
    "0777",
    "99999999999999999999",
    "1e9",
    "18446744073709551615",
    "\u{e9}",
    "TYPE=CACHE",
    "from=b",
    "from=0",
    "from=scratch",
    "--mount=",
    " --network=host ",
];

fn read(input: &str, trace: &mut Trace) {
    match parse_mount(input) {
        Ok(mount) => trace.reached(format!("{:?}", mount.kind)),
        Err(error) => {
            trace.said(&error.message);
            assert!(input.get(error.span.range()).is_some(), "{:?} is no place of the text", error.span);
        }
    }
    dockerfile::read(&format!("FROM a AS b\nARG a=x\nFROM a\nARG a\nRUN --mount={input} c"), trace);
}

#[test]
fn mounts() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for text in dockerfile::seeds() {
        let text = String::from_utf8_lossy(&text).into_owned();
        for rest in text.split("--mount=").skip(1) {
            seeds.push(rest.split([' ', '\n']).next().unwrap_or_default().as_bytes().to_vec());
        }
    }
    seeds.sort();
    seeds.dedup();
    seeds.extend(corpus_texts("corpus/tables/buildkit/instructions"));
    Campaign::new("mount", seeds, WORDS).run(|input, trace| read(&text(input), trace));
}
