//! Dockerfiles: from the text to the graph, and everything that is told of them.

use kiln_core::pattern::Ignore;
use kiln_core::{Diagnostic, Diagnostics, Platform, SourceFile};
use kiln_frontend::{
    GraphFormat, MAIN_CONTEXT, Options, call, dump, lint, lower, parse, plan, resolve, show_graph,
};
use kiln_fuzz::{Campaign, Trace, corpus_files, corpus_texts};

use crate::spans::{check_findings, check_tree};
use crate::text;
use crate::world::{Images, ready};

/// Words that mean something in a Dockerfile.
pub(crate) const WORDS: &[&str] = &[
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "CMD ",
    "SHELL ",
    "VOLUME ",
    "EXPOSE ",
    "USER ",
    "WORKDIR ",
    "STOPSIGNAL ",
    "ENTRYPOINT ",
    "MAINTAINER ",
    "\nFROM scratch\n",
    "\nFROM trigger AS a\n",
    "FROM --platform=$BUILDPLATFORM a AS b\n",
    " AS ",
    " as b",
    "\nRUN <<EOF\n",
    "\nEOF\n",
    "<<EOF",
    "<<-'E O'",
    "3<<\"x\"",
    "<<",
    "EOF",
    "\n",
    "\r\n",
    "\\\n",
    "`\n",
    "\\",
    "`",
    " ",
    "\t",
    "#",
    "# escape=`\n",
    "# check=skip=all;error=true\n",
    "# syntax=docker/dockerfile:1\n",
    "# check=",
    "$",
    "${",
    "}",
    "${a",
    ":-",
    ":+",
    ":?",
    "${a:-",
    "${a##*}",
    "${a%",
    "${a/",
    "//",
    "$a",
    "ARG a=b\n",
    "ENV a=b c=$a\n",
    "[",
    "]",
    "[\"a\", \"b\"]",
    "\"",
    "'",
    ",",
    "{}",
    "null",
    "\\u12",
    "--",
    "--from=",
    "--from=a ",
    "--from=0 ",
    "--chmod=",
    "--chmod=u+x,g=o ",
    "--chown=1:2 ",
    "--link ",
    "--parents ",
    "--exclude=*.c ",
    "--checksum=sha256:",
    "--keep-git-dir=true ",
    "--unpack=false ",
    "--mount=type=",
    "--mount=type=bind,from=a,target=/x ",
    "--mount=type=cache,target=/c,sharing=locked ",
    "--mount=type=secret,id=a,env=b ",
    "--mount=type=ssh ",
    "--mount=type=tmpfs,target=/t,size=1k ",
    "--network=none ",
    "--security=insecure ",
    "--device=a,required ",
    "--interval=1s ",
    "--retries=-1 ",
    "NONE",
    "=",
    "a=",
    "*",
    "?",
    "[^a-z]",
    "**/",
    "./",
    "../",
    "/./",
    "/",
    "http://a/b",
    "https://a/b.git#c:d",
    "git@a:b.git",
    ":80",
    "80-90/tcp",
    "8080:80",
    "SIGKILL",
    "TARGETPLATFORM",
    "$TARGETARCH",
    "SOURCE_DATE_EPOCH",
    "BUILDKIT_",
    "@sha256:",
    "linux/amd64/v2",
    "\u{feff}",
    "\u{e9}",
    "\u{1f600}",
    "\u{301}",
    "\u{2028}",
    "\u{a0}",
    "\u{130}",
    "\0",
    "\u{b}",
    "-1",
    "0",
    "1",
    "99999999999999999999",
    "0x7f",
];

/// Dockerfiles of the corpus, and what its tables have that looks like one.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let is_dockerfile = |name: &str| {
        let name = name.to_lowercase();
        name.contains("dockerfile") || name.contains("containerfile")
    };
    let mut seeds = corpus_files("corpus", &is_dockerfile);
    let from = |text: &Vec<u8>| text.to_ascii_lowercase().windows(5).any(|word| word == b"from ");
    for folder in ["corpus/tables", "golden"] {
        seeds.extend(corpus_texts(folder).into_iter().filter(from));
    }
    seeds.extend(corpus_texts("corpus/tables/buildkit/parser"));
    seeds.extend(corpus_texts("corpus/tables/buildkit/instructions"));
    seeds
}

/// Whatever can be asked of a Dockerfile without a machine.
pub(crate) fn read(text: &str, trace: &mut Trace) {
    let file = SourceFile::new("Dockerfile", text);
    let parsed = parse(&file);
    check_tree(&parsed.dockerfile);
    check_findings(&parsed.diagnostics, text);
    parsed.diagnostics.iter().for_each(|problem| trace.said(&problem.message));
    for instruction in &parsed.dockerfile.instructions {
        let flags: Vec<&str> =
            instruction.flags.iter().map(|flag| flag.name.value.as_str()).take(3).collect();
        let heredocs = instruction.heredocs.len().min(2);
        trace.reached((
            std::mem::discriminant(&instruction.command),
            flags,
            heredocs,
            instruction.arguments.json,
        ));
    }
    dump(&parsed.dockerfile);
    let mut findings = lint::file(&parsed.dockerfile);
    check_findings(&findings, text);
    call::targets(&parsed.dockerfile).json();
    if parsed.is_sound() {
        match build(&parsed.dockerfile, trace) {
            Ok(warnings) => findings.extend(warnings),
            Err(error) => {
                assert_eq!(*error.file.text, *text);
                findings.extend(error.items);
            }
        }
    }
    report(&parsed.dockerfile, findings, trace);
}

fn report(file: &kiln_frontend::ast::Dockerfile, findings: Vec<Diagnostic>, trace: &mut Trace) {
    check_findings(&findings, &file.file.text);
    for finding in &findings {
        trace.said(&finding.message);
        lint::lines(file, finding);
    }
    if let Ok(checks) = lint::Checks::of(file, None) {
        let kept = checks.keep(file, findings);
        checks.verdict(&kept);
        let checked = call::check(file, &kept);
        checked.text();
        checked.json();
    }
}

fn build(file: &kiln_frontend::ast::Dockerfile, trace: &mut Trace) -> Result<Vec<Diagnostic>, Diagnostics> {
    let mut options = Options::for_platform(Platform::new("linux", "amd64", ""));
    options.all_stages = file.file.text.len().is_multiple_of(2);
    options.allow_insecure = true;
    options.build_args.insert("a".to_owned(), "b".to_owned());
    options.ignores.insert(MAIN_CONTEXT.to_owned(), Ignore::parse("x\n!x/y\n**/*.c").unwrap());
    let stages = plan(file, &options)?;
    let bases = ready(resolve(&stages, &Images))?;
    let lowered = lower(&stages, &bases)?;
    trace.counted("vertices", lowered.graph.len());
    for (_, vertex) in lowered.graph.vertices() {
        trace.reached((std::mem::discriminant(&vertex.op), vertex.inputs.len().min(4)));
    }
    let made = lowered.config.history.iter().skip(lowered.base_history).filter(|entry| !entry.empty_layer);
    trace.counted("layers", made.count());
    if lowered.graph.len() < 100 {
        for format in [GraphFormat::Text, GraphFormat::Json, GraphFormat::Dot] {
            show_graph(&lowered.graph, lowered.root, format);
        }
    }
    serde_json::to_string(&lowered.config).unwrap();
    Ok(lowered.warnings)
}

#[test]
fn dockerfiles() {
    Campaign::new("dockerfile", seeds(), WORDS).run(|input, trace| read(&text(input), trace));
}
