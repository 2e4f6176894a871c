//! The parser against the corpus: trees of 646 Dockerfiles, tables of the parser and of instructions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use kiln_core::{Severity, SourceFile};
use kiln_frontend::ast::{Command, CommandLine, Dockerfile, FileSource, Healthcheck};
use kiln_frontend::{Parsed, dump, parse};
use serde_json::Value;

/// Rows that cannot apply.
const SKIP: &[(&str, &str)] = &[];

fn shared() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus"));
    if !path.exists() {
        eprintln!("skipped: ../shared is absent");
        return None;
    }
    Some(path.to_owned())
}

fn rows(name: &str) -> Vec<Value> {
    let Some(shared) = shared() else { return Vec::new() };
    let text = std::fs::read_to_string(shared.join(name)).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.into_iter().filter(|row| !SKIP.iter().any(|(id, _)| row["id"] == *id)).collect()
}

fn parse_text(text: &str) -> Parsed {
    parse(&SourceFile::new("Dockerfile", text))
}

fn errors(parsed: &Parsed) -> Vec<&str> {
    let errors = parsed.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    errors.map(|d| d.message.as_str()).collect()
}

/// Runs `check` on each row and tells of all that fail.
fn each(name: &str, check: impl Fn(&Value) -> Result<(), String>) {
    let failures: Vec<String> = rows(name)
        .iter()
        .filter_map(|row| check(row).err().map(|why| format!("{}: {why}", row["id"])))
        .collect();
    assert!(failures.is_empty(), "{} rows fail:\n{}", failures.len(), failures.join("\n"));
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, wanted: &T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{what}\n     got {got:?}\n  wanted {wanted:?}")) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().map(|list| list.iter().map(text).collect()).unwrap_or_default()
}

fn tree(row: &Value) -> Result<(), String> {
    let source = match row["path"].as_str() {
        Some(path) => {
            let bytes =
                std::fs::read(shared().expect("rows were read").join(path)).map_err(|e| e.to_string())?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        None => text(&row["dockerfile"]),
    };
    let parsed = parse_text(&source);
    if let Some(error) = row["error"].as_str() {
        let found = errors(&parsed);
        return if found.iter().any(|e| error.contains(e)) {
            Ok(())
        } else {
            Err(format!("{error}: {found:?}"))
        };
    }
    let Dockerfile { instructions, directives, .. } = &parsed.dockerfile;
    same("tree", &dump(&parsed.dockerfile), &text(&row["ast"]))?;
    same("escape", &directives.escape.to_string(), &text(&row["escape"]))?;
    let warned = instructions.iter().filter(|i| !i.blanks.is_empty()).count();
    let wanted = row["warnings"].as_array().map_or(0, Vec::len);
    same("empty continuations", &warned, &wanted)?;
    for (got, wanted) in instructions.iter().zip(row["instructions"].as_array().into_iter().flatten()) {
        let lines = (wanted["start"].as_u64().unwrap(), wanted["end"].as_u64().unwrap());
        same("lines", &(got.lines.0 as u64, got.lines.1 as u64), &lines)?;
        same("keyword", &got.keyword.value, &text(&wanted["instruction"]))?;
        same("json", &got.arguments.json, &wanted["json"].as_bool().unwrap())?;
        let comments: Vec<String> = got.comments.iter().map(|c| c.value.clone()).collect();
        same("comments", &comments, &texts(&wanted["comments"]))?;
        let heredocs: Vec<(String, String, bool, bool, u64)> = got
            .heredocs
            .iter()
            .map(|h| (h.name.value.clone(), h.content.value.clone(), h.expand, h.chomp, u64::from(h.fd)))
            .collect();
        let expected: Vec<_> = wanted["heredocs"].as_array().into_iter().flatten().map(heredoc).collect();
        same("heredocs", &heredocs, &expected)?;
    }
    Ok(())
}

fn heredoc(value: &Value) -> (String, String, bool, bool, u64) {
    (
        text(&value["name"]),
        text(&value["content"]),
        value["expand"].as_bool().unwrap_or(false),
        value["chomp"].as_bool().unwrap_or(false),
        value["fd"].as_u64().unwrap_or(0),
    )
}

#[test]
fn trees_agree_with_buildkits_parser() {
    for name in ["real-dockerfiles", "buildah", "kaniko", "buildkit_integration", "moby"] {
        each(&format!("oracle/ast_{name}.json"), tree);
    }
}

#[test]
fn parser_golden_files_agree() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("buildkit/frontend/dockerfile/parser/testfiles");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(wanted) = std::fs::read_to_string(folder.join("result")) else { continue };
        let source = std::fs::read_to_string(folder.join("Dockerfile")).unwrap();
        assert_eq!(dump(&parse_text(&source).dockerfile), wanted.trim_end(), "{}", folder.display());
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} files in {}", folder.display());
}

#[test]
fn refused_files_are_refused() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("buildkit/frontend/dockerfile/parser/testfiles-negative");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path().join("Dockerfile");
        let source = std::fs::read_to_string(&path).unwrap();
        assert!(!parse_text(&source).is_sound(), "{}", path.display());
    }
}

#[test]
fn real_dockerfiles_have_no_problems() {
    let Some(shared) = shared() else { return };
    for row in rows("oracle/ast_real-dockerfiles.json") {
        let path = text(&row["path"]);
        let source = std::fs::read_to_string(shared.join(&path)).unwrap();
        assert_eq!(errors(&parse_text(&source)), Vec::<&str>::new(), "{path}");
    }
}

#[test]
fn directives_agree() {
    each("tables/buildkit/parser/directives.json", |row| {
        let directives = parse_text(&text(&row["input"])).dockerfile.directives;
        let word = match row["fn"].as_str() {
            Some("syntax") => directives.syntax,
            Some("check") => directives.check,
            _ => {
                for pair in row["expected"].as_array().into_iter().flatten() {
                    let pair = texts(pair);
                    let got = match pair[0].as_str() {
                        "escape" => Some(directives.escape.to_string()),
                        "syntax" => directives.syntax.as_ref().map(|w| w.value.clone()),
                        _ => directives.check.as_ref().map(|w| w.value.clone()),
                    };
                    same(&pair[0], &got, &Some(pair[1].clone()))?;
                }
                return Ok(());
            }
        };
        same("found", &word.is_some(), &row["found"].as_bool().unwrap())?;
        let Some(word) = word else { return Ok(()) };
        let first = word.value.split(' ').next().unwrap_or_default().to_owned();
        same("ref", &first, &text(&row["ref"]))?;
        if let Some(whole) = row["cmdline"].as_str() {
            same("cmdline", &word.value, &whole.to_owned())?;
        }
        Ok(())
    });
}

#[test]
fn heredocs_agree() {
    each("tables/buildkit/parser/heredoc_extract.json", |row| {
        let parsed = parse_text(&text(&row["dockerfile"]));
        let got: Vec<Vec<_>> = parsed.dockerfile.instructions[1..]
            .iter()
            .map(|i| {
                let one = |h: &kiln_frontend::ast::Heredoc| {
                    (h.name.value.clone(), h.content.value.clone(), h.expand, h.chomp, u64::from(h.fd))
                };
                i.heredocs.iter().map(one).collect()
            })
            .collect();
        let wanted: Vec<Vec<_>> = row["instructions_after_from"]
            .as_array()
            .unwrap()
            .iter()
            .map(|list| list.as_array().into_iter().flatten().map(heredoc).collect())
            .collect();
        same("heredocs", &got, &wanted)
    });
    each("tables/buildkit/parser/heredoc_chomp.json", |row| {
        let source = format!("FROM x\nRUN <<-EOF\n{}EOF\n", text(&row["input"]));
        let parsed = parse_text(&source);
        same("text", &parsed.dockerfile.instructions[1].heredocs[0].text(), &text(&row["expected"]))
    });
    each("tables/buildkit/parser/heredocs_from_line.json", |row| {
        let wanted = texts(&row["expected"]);
        let bodies: String = wanted.iter().map(|name| format!("{name}\n")).collect();
        let parsed = parse_text(&format!("FROM x\n{}\n{bodies}", text(&row["input"])));
        let got: Vec<String> =
            parsed.dockerfile.instructions[1].heredocs.iter().map(|h| h.name.value.clone()).collect();
        same("names", &got, &wanted)
    });
}

#[test]
fn line_numbers_and_limits_agree() {
    let Some(shared) = shared() else { return };
    each("tables/buildkit/parser/line_numbers.json", |row| {
        let path = shared.join("buildkit/frontend/dockerfile").join(text(&row["dockerfile"]));
        let source = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let got: Vec<Vec<u64>> = parse_text(&source)
            .dockerfile
            .instructions
            .iter()
            .map(|i| vec![i.lines.0 as u64, i.lines.1 as u64])
            .collect();
        let wanted: Vec<Vec<u64>> = serde_json::from_value(row["children"].clone()).unwrap();
        same("lines", &got, &wanted)
    });
    each("tables/buildkit/parser/limits.json", |row| {
        let filler = text(&row["repeat"]).repeat(row["repeat_count"].as_u64().unwrap() as usize);
        let parsed = parse_text(&text(&row["dockerfile_template"]).replace("%s", &filler));
        same("error", &errors(&parsed).join("\n"), &text(&row["error_equals"]))
    });
    each("tables/buildkit/parser/empty_continuation.json", |row| {
        let parsed = parse_text(&text(&row["dockerfile"]));
        let warned = parsed.dockerfile.instructions.iter().filter(|i| !i.blanks.is_empty());
        same("warnings", &(warned.count() as u64), &row["warnings"].as_u64().unwrap())
    });
}

#[test]
fn words_agree() {
    let arguments = |line: &str| {
        let parsed = parse_text(&format!("FROM x\n{line}\n"));
        let found = errors(&parsed).first().map(|e| (*e).to_owned());
        let words = &parsed.dockerfile.instructions[1].arguments.words;
        (words.iter().map(|w| w.value.clone()).collect::<Vec<_>>(), found)
    };
    each("tables/buildkit/parser/parse_words.json", |row| {
        same("words", &arguments(&format!("ARG {}", text(&row["input"]))).0, &texts(&row["expected"]))
    });
    each("tables/buildkit/parser/name_val.json", |row| {
        let line = format!("{} {}", text(&row["instruction"]), text(&row["input"]));
        let (words, error) = arguments(&line);
        same("error", &error.is_some(), &row["error"].as_bool().unwrap())?;
        match row["error_text"].as_str() {
            Some(wanted) => same("error", &error.unwrap_or_default(), &wanted.to_owned()),
            None => same("words", &words, &texts(&row["expected"])),
        }
    });
    each("tables/buildkit/parser/json_array.json", |row| {
        let parsed = parse_text(&format!("FROM x\nCMD {}\n", text(&row["input"])));
        let instruction = &parsed.dockerfile.instructions[1];
        same("valid", &instruction.arguments.json, &!row["error"].as_bool().unwrap())?;
        let words: Vec<String> = instruction.arguments.words.iter().map(|w| w.value.clone()).collect();
        if instruction.arguments.json { same("words", &words, &texts(&row["expected"])) } else { Ok(()) }
    });
}

#[test]
fn instruction_errors_agree() {
    each("tables/buildkit/instructions/errors.json", |row| {
        let input = text(&row["input"]);
        let source = if input.starts_with("FROM") { input } else { format!("FROM x\n{input}\n") };
        let parsed = parse_text(&source);
        let found = errors(&parsed);
        let Some(first) = found.first() else { return Err("no error".into()) };
        match (row["error_equals"].as_str(), row["error_contains"].as_str()) {
            (Some(wanted), _) => same("error", first, &wanted),
            (_, Some(wanted)) if first.contains(wanted) => Ok(()),
            (_, Some(wanted)) => Err(format!("{first} has no {wanted}")),
            _ => Ok(()),
        }
    });
}

fn second(source: &str) -> (Command, Vec<kiln_frontend::ast::Heredoc>, Vec<String>) {
    let parsed = parse_text(&format!("FROM x\n{source}\n"));
    let found = errors(&parsed).into_iter().map(str::to_owned).collect();
    let instruction = parsed.dockerfile.instructions[1].clone();
    (instruction.command, instruction.heredocs, found)
}

#[test]
fn copies_and_runs_with_heredocs_agree() {
    each("tables/buildkit/instructions/copy_heredoc.json", |row| {
        let (command, heredocs, found) = second(&text(&row["input"]));
        same("error", &!found.is_empty(), &row["error"].as_bool().unwrap())?;
        let Command::Copy(copy) = command else { return Ok(()) };
        same("dest", &copy.files.destination.value, &text(&row["dest"]))?;
        let (mut paths, mut contents) = (Vec::new(), Vec::new());
        for source in &copy.files.sources {
            match source {
                FileSource::Path(word) => paths.push(word.value.clone()),
                FileSource::Heredoc { index, .. } => {
                    let heredoc = &heredocs[*index];
                    contents.push((heredoc.name.value.clone(), heredoc.text(), heredoc.expand));
                }
            }
        }
        same("paths", &paths, &texts(&row["source_paths"]))?;
        let wanted = row["source_contents"].as_array().into_iter().flatten();
        let wanted: Vec<_> =
            wanted.map(|c| (text(&c["path"]), text(&c["data"]), c["expand"].as_bool().unwrap())).collect();
        same("contents", &contents, &wanted)
    });
    each("tables/buildkit/instructions/run_heredoc.json", |row| {
        let (command, heredocs, found) = second(&text(&row["input"]));
        same("error", &!found.is_empty(), &row["error"].as_bool().unwrap())?;
        let Command::Run(run) = command else { return Err("no RUN".into()) };
        let (shell, words) = match &run.command {
            CommandLine::Shell(word) => (true, vec![word.value.clone()]),
            CommandLine::Exec(words) => (false, words.iter().map(|w| w.value.clone()).collect()),
        };
        same("shell", &shell, &row["shell"].as_bool().unwrap())?;
        same("cmdline", &words, &texts(&row["cmdline"]))?;
        let files: Vec<_> =
            heredocs.iter().map(|h| (h.name.value.clone(), h.content.value.clone(), h.chomp)).collect();
        let wanted = row["files"].as_array().into_iter().flatten();
        let wanted: Vec<_> =
            wanted.map(|f| (text(&f["name"]), text(&f["data"]), f["chomp"].as_bool().unwrap())).collect();
        same("files", &files, &wanted)
    });
}

#[test]
fn run_devices_agree() {
    each("tables/buildkit/instructions/run_device.json", |row| {
        let (command, _, found) = second(&format!("RUN --device={} true", text(&row["input"])));
        same("error", &!found.is_empty(), &row["error"].as_bool().unwrap())?;
        if let Some(wanted) = row["error_equals"].as_str() {
            return same("error", &found[0], &wanted.to_owned());
        }
        let Command::Run(run) = command else { return Ok(()) };
        same("name", &run.devices[0].name.value, &text(&row["expected"]["name"]))?;
        same("required", &run.devices[0].required, &row["expected"]["required"].as_bool().unwrap())
    });
}

#[test]
fn healthchecks_and_json_arguments_agree() {
    each("tables/buildkit/instructions/healthcheck.json", |row| {
        let flag = text(&row["kind"]);
        let (command, _, found) = second(&format!("HEALTHCHECK --{flag}={} CMD true", text(&row["input"])));
        same("error", &!found.is_empty(), &row["error"].as_bool().unwrap())?;
        match row["error_contains"].as_str() {
            Some(wanted) if !found[0].contains(wanted) => Err(found[0].clone()),
            Some(_) => Ok(()),
            None => same("check", &matches!(command, Command::Healthcheck(Healthcheck::Check { .. })), &true),
        }
    });
}

#[test]
fn doc_comments_agree() {
    each("tables/buildkit/instructions/doc_comments.json", |row| {
        let parsed = parse_text(&text(&row["dockerfile"]));
        let docs = |instruction: &kiln_frontend::ast::Instruction| -> Vec<(String, String)> {
            match &instruction.command {
                Command::Arg(names) => {
                    names.iter().map(|n| (n.name.value.clone(), n.doc.clone().unwrap_or_default())).collect()
                }
                _ => Vec::new(),
            }
        };
        let file = &parsed.dockerfile;
        for (name, wanted) in file.head().iter().flat_map(docs) {
            same(&name, &wanted, &text(&row["global_arg_comments"][&name]))?;
        }
        let stages = file.stages();
        let Command::From(from) = &stages[0].from.command else { return Err("no FROM".into()) };
        let name = &from.name.as_ref().unwrap().name;
        same("stage", &from.doc.clone().unwrap_or_default(), &text(&row["stage_comments"][name]))?;
        let got: Vec<Vec<String>> =
            stages[0].body.iter().flat_map(docs).map(|(name, doc)| vec![name, doc]).collect();
        let wanted: Vec<Vec<String>> = serde_json::from_value(row["stage_arg_comments"].clone()).unwrap();
        same("args", &got, &wanted)
    });
}

/// The reference's table declares flags of its own; what it says of one string and one boolean holds for any.
fn own_flag(argument: &str, declared: &str) -> (String, bool) {
    let name: String = argument.trim_start_matches("--").chars().take_while(|c| c.is_alphabetic()).collect();
    let whole = argument.trim_start_matches("--").split('=').next().unwrap_or_default();
    let kind = if name == "bool" { "--link" } else { "--from" };
    // `bool1..3` and `bool4,5` declare several.
    let digit = whole[name.len()..].parse::<u32>().unwrap();
    let known =
        declared.split(' ').filter_map(|flag| flag.split(':').next()?.strip_prefix(&*name)).any(|digits| {
            match digits.split_once("..") {
                Some((first, last)) => (first.parse().unwrap()..=last.parse().unwrap()).contains(&digit),
                None => digits.split(',').any(|one| one == digit.to_string()),
            }
        });
    let rest = &argument[2 + whole.len()..];
    let rest = rest.replace(' ', "\\ ");
    (format!("{}{rest}", if known { kind.to_owned() } else { format!("--{whole}") }), known)
}

#[test]
fn flags_agree() {
    each("tables/buildkit/instructions/flags.json", |row| {
        let mut failed = false;
        for argument in texts(&row["args"]) {
            if argument == "--" {
                let (command, _, found) = second("COPY -- --a b");
                failed |= !found.is_empty();
                let Command::Copy(copy) = command else { return Err("no COPY".into()) };
                let FileSource::Path(path) = &copy.files.sources[0] else { return Err("no path".into()) };
                same("first word after --", &path.value.as_str(), &"--a")?;
                continue;
            }
            let (flag, _) = own_flag(&argument, &text(&row["flags"]));
            let (command, _, found) = second(&format!("COPY {flag} a b"));
            failed |= !found.is_empty();
            let Command::Copy(copy) = command else { continue };
            let (name, value) =
                argument.trim_start_matches("--").split_once('=').unwrap_or((&argument[2..], "true"));
            match &row["values"][name] {
                Value::String(wanted) => {
                    let from = copy.from.as_ref().map(|word| word.value.clone()).unwrap_or_default();
                    same(name, &from, wanted)?;
                }
                Value::Bool(wanted) => same(name, &copy.files.link, wanted)?,
                _ if name.starts_with("bool") && found.is_empty() => {
                    same(name, &copy.files.link, &(value == "true"))?;
                }
                _ => {}
            }
        }
        same("error", &failed, &row["error"].as_bool().unwrap())
    });
}

#[test]
fn words_are_joined_unless_they_are_json() {
    each("tables/buildkit/instructions/json_args.json", |row| {
        let words = texts(&row["args"]);
        let json = row["json"].as_bool().unwrap();
        let written = if json { serde_json::to_string(&words).unwrap() } else { words.join(" ") };
        let (command, _, _) = second(&format!("ENTRYPOINT {written}"));
        let Command::Entrypoint(line) = command else { return Err("no ENTRYPOINT".into()) };
        let got: Vec<String> = match line {
            CommandLine::Exec(words) => words.into_iter().map(|word| word.value).collect(),
            CommandLine::Shell(word) => {
                Some(word.value).filter(|text| !text.is_empty()).into_iter().collect()
            }
        };
        same("words", &got, &texts(&row["expected"]))
    });
}
