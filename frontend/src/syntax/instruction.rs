//! What an instruction means: its flags and arguments as a [`Command`].

use kiln_core::{Diagnostic, NetworkMode, SecurityMode, Span, Spanned};

use super::flags::{Flags, Kind};
use super::mount::MountFlag;
use super::{device, go, healthcheck, heredoc, suggest};
use crate::ast::{
    Add, ArgName, Command, CommandLine, Copy, FileSource, Files, From, Instruction, Onbuild, Pair, Run,
    StageName, Word,
};

/// Understands `node`, whose heredocs are read. What is wrong goes to `problems`, and makes the command invalid.
pub(super) fn command(node: &Instruction, problems: &mut Vec<Diagnostic>) -> Command {
    let before = problems.len();
    let understood = understand(node, problems);
    match understood {
        Ok(command) if problems.len() == before => command,
        Ok(_) => Command::Invalid,
        Err(problem) => {
            problems.push(problem);
            Command::Invalid
        }
    }
}

/// A part of a word, if the word was not written over several lines; otherwise all of it.
pub(super) fn part(word: &Word, start: usize, end: usize) -> Span {
    if word.span.end - word.span.start == word.value.len() {
        Span::new(word.span.start + start, word.span.start + end)
    } else {
        word.span
    }
}

fn understand(node: &Instruction, problems: &mut Vec<Diagnostic>) -> Result<Command, Diagnostic> {
    let keyword = node.keyword.value.to_ascii_uppercase();
    let flags = |known: &[(&str, Kind)], problems: &mut Vec<Diagnostic>| {
        Flags::check(&node.flags, known, problems);
    };
    let needs_one = || match node.arguments.words.as_slice() {
        [word] => Ok(word.clone()),
        _ => Err(Diagnostic::error(format!("{keyword} requires exactly one argument"), node.span)),
    };
    let needs_some = || {
        if node.arguments.words.is_empty() {
            return Err(Diagnostic::error(format!("{keyword} requires at least one argument"), node.span));
        }
        Ok(node.arguments.words.clone())
    };
    match keyword.as_str() {
        "FROM" => from(node, problems),
        "RUN" => run(node, problems),
        "COPY" => copy(node, problems),
        "ADD" => add(node, problems),
        "HEALTHCHECK" => healthcheck::understand(node, problems).map(Command::Healthcheck),
        "ONBUILD" => onbuild(node, problems).map(Command::Onbuild),
        "ARG" => {
            flags(&[], problems);
            needs_some()?;
            arg(node).map(Command::Arg)
        }
        "ENV" | "LABEL" => {
            flags(&[], problems);
            needs_some()?;
            let pairs = pairs(node, &keyword)?;
            Ok(if keyword == "ENV" { Command::Env(pairs) } else { Command::Label(pairs) })
        }
        "CMD" => {
            flags(&[], problems);
            Ok(Command::Cmd(command_line(node)))
        }
        "ENTRYPOINT" => {
            flags(&[], problems);
            Ok(Command::Entrypoint(command_line(node)))
        }
        "SHELL" => {
            flags(&[], problems);
            let words = needs_some()?;
            if !node.arguments.json {
                return Err(json_needed(node, &keyword));
            }
            Ok(Command::Shell(words))
        }
        "EXPOSE" => {
            flags(&[], problems);
            needs_some().map(Command::Expose)
        }
        "VOLUME" => {
            flags(&[], problems);
            let words = needs_some()?;
            volume(words).map(Command::Volume)
        }
        "WORKDIR" | "USER" | "STOPSIGNAL" | "MAINTAINER" => {
            flags(&[], problems);
            let word = needs_one()?;
            Ok(match keyword.as_str() {
                "WORKDIR" => Command::Workdir(word),
                "USER" => Command::User(word),
                "STOPSIGNAL" => Command::Stopsignal(word),
                _ => Command::Maintainer(word),
            })
        }
        _ => {
            let message = format!("unknown instruction: {}", node.keyword.value);
            let help = suggest::help(&node.keyword.value, &super::KEYWORDS);
            Err(Diagnostic { help, ..Diagnostic::error(message, node.keyword.span) })
        }
    }
}

fn json_needed(node: &Instruction, keyword: &str) -> Diagnostic {
    let message = format!("{keyword} requires the arguments to be in JSON form");
    let span = node.arguments.words.first().map_or(node.span, |word| word.span);
    Diagnostic::error(message, span).with_help(format!("write {keyword} [\"/bin/sh\", \"-c\"]"))
}

/// The words from `words` on as a command: a vector if they are JSON, else text for the shell.
pub(super) fn command_line_of(node: &Instruction, words: &[Word]) -> CommandLine {
    if node.arguments.json {
        return CommandLine::Exec(words.to_vec());
    }
    let nothing = || Spanned::new(String::new(), Span::new(node.original.span.end, node.original.span.end));
    CommandLine::Shell(words.first().cloned().unwrap_or_else(nothing))
}

fn command_line(node: &Instruction) -> CommandLine {
    command_line_of(node, &node.arguments.words)
}

fn from(node: &Instruction, problems: &mut Vec<Diagnostic>) -> Result<Command, Diagnostic> {
    let flags = Flags::check(&node.flags, &[("platform", Kind::Text)], problems);
    let (image, name) = match node.arguments.words.as_slice() {
        [image] => (image, None),
        [image, keyword, name] if keyword.value.eq_ignore_ascii_case("as") => {
            let lower = name.value.to_lowercase();
            if !is_stage_name(&lower) {
                let message = format!(
                    "invalid name for build stage: {}, name can't start with a number or contain symbols",
                    go::quote(&name.value)
                );
                return Err(Diagnostic::error(message, name.span)
                    .with_help("use letters, digits, `-`, `_` and `.`, a letter first"));
            }
            (image, Some(StageName { keyword: keyword.clone(), written: name.clone(), name: lower }))
        }
        _ => {
            return Err(Diagnostic::error("FROM requires either one or three arguments", node.span)
                .with_help("write FROM IMAGE or FROM IMAGE AS NAME"));
        }
    };
    let doc = name.as_ref().and_then(|name| doc_comment(node, &name.name));
    Ok(Command::From(From { image: image.clone(), name, platform: flags.text("platform"), doc }))
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

/// The description of `name` in the comments above: a line `NAME description`.
fn doc_comment(node: &Instruction, name: &str) -> Option<String> {
    let mut lines = node.comments.iter().filter_map(|line| line.value.strip_prefix(name)?.strip_prefix(' '));
    lines.next().map(str::to_owned).filter(|_| !name.is_empty())
}

fn arg(node: &Instruction) -> Result<Vec<ArgName>, Diagnostic> {
    let mut names = Vec::with_capacity(node.arguments.words.len());
    for word in &node.arguments.words {
        let (name, default) = match word.value.split_once('=') {
            Some((name, value)) => {
                let place = part(word, name.len() + 1, word.value.len());
                (name, Some(Spanned::new(value.to_owned(), place)))
            }
            None => (word.value.as_str(), None),
        };
        if name.is_empty() {
            return Err(Diagnostic::error("ARG names can not be blank", word.span));
        }
        names.push(ArgName {
            name: Spanned::new(name.to_owned(), part(word, 0, name.len())),
            default,
            doc: doc_comment(node, name),
        });
    }
    Ok(names)
}

fn pairs(node: &Instruction, keyword: &str) -> Result<Vec<Pair>, Diagnostic> {
    let mut pairs = Vec::with_capacity(node.arguments.words.len() / 3);
    for triple in node.arguments.words.chunks_exact(3) {
        let [name, value, separator] = triple else { continue };
        if name.value.is_empty() {
            return Err(Diagnostic::error(format!("{keyword} names can not be blank"), separator.span));
        }
        pairs.push(Pair { name: name.clone(), value: value.clone(), legacy: separator.value.is_empty() });
    }
    Ok(pairs)
}

fn volume(words: Vec<Word>) -> Result<Vec<Word>, Diagnostic> {
    let mut volumes = Vec::with_capacity(words.len());
    for word in words {
        let path = word.value.trim();
        if path.is_empty() {
            return Err(Diagnostic::error("VOLUME specified can not be an empty string", word.span));
        }
        volumes.push(Spanned::new(path.to_owned(), word.span));
    }
    Ok(volumes)
}

fn run(node: &Instruction, problems: &mut Vec<Diagnostic>) -> Result<Command, Diagnostic> {
    let known =
        [("mount", Kind::List), ("network", Kind::Text), ("security", Kind::Text), ("device", Kind::List)];
    let flags = Flags::check(&node.flags, &known, problems);
    let mut mounts = Vec::new();
    for value in flags.list("mount") {
        let whole = value.clone();
        match MountFlag::parse(value, |range| part(&whole, range.start, range.end)) {
            Ok(mount) => mounts.push(mount),
            Err(error) => {
                problems
                    .push(Diagnostic { help: error.help, ..Diagnostic::error(error.message, error.span) });
            }
        }
    }
    let mut devices = Vec::new();
    for value in flags.list("device") {
        match device::parse(&value) {
            Ok(device) => devices.push(device),
            Err(problem) => problems.push(problem),
        }
    }
    let network = flags.text("network").map(|value| choice(&value, NETWORKS, "network mode"));
    let security = flags.text("security").map(|value| choice(&value, SECURITIES, "security"));
    Ok(Command::Run(Run {
        command: command_line(node),
        mounts,
        network: network.transpose()?,
        security: security.transpose()?,
        devices,
    }))
}

const NETWORKS: &[(&str, NetworkMode)] = &[
    ("default", NetworkMode::Default),
    ("none", NetworkMode::None),
    ("host", NetworkMode::Host),
    ("private", NetworkMode::Private),
];
const SECURITIES: &[(&str, SecurityMode)] =
    &[("sandbox", SecurityMode::Sandbox), ("insecure", SecurityMode::Insecure)];

/// The value that `word` names among `choices`.
fn choice<T: Clone>(word: &Word, choices: &[(&str, T)], what: &str) -> Result<Spanned<T>, Diagnostic> {
    let found = choices.iter().find(|(name, _)| *name == word.value);
    found.map(|(_, value)| Spanned::new(value.clone(), word.span)).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = match what {
            "security" => format!("security {} is not valid", go::quote(&word.value)),
            _ => format!("invalid {what} {}", go::quote(&word.value)),
        };
        let help =
            suggest::help(&word.value, &names).unwrap_or_else(|| format!("use one of {}", names.join(", ")));
        Diagnostic::error(message, word.span).with_help(help)
    })
}

fn copy(node: &Instruction, problems: &mut Vec<Diagnostic>) -> Result<Command, Diagnostic> {
    let known = [
        ("from", Kind::Text),
        ("chown", Kind::Text),
        ("chmod", Kind::Text),
        ("link", Kind::Bool),
        ("parents", Kind::Bool),
        ("exclude", Kind::List),
    ];
    let flags = Flags::check(&node.flags, &known, problems);
    let parents = flags.switch("parents").unwrap_or(false);
    Ok(Command::Copy(Copy { files: files(node, "COPY", &flags)?, from: flags.text("from"), parents }))
}

fn add(node: &Instruction, problems: &mut Vec<Diagnostic>) -> Result<Command, Diagnostic> {
    let known = [
        ("chown", Kind::Text),
        ("chmod", Kind::Text),
        ("link", Kind::Bool),
        ("keep-git-dir", Kind::Bool),
        ("checksum", Kind::Text),
        ("unpack", Kind::Bool),
        ("exclude", Kind::List),
    ];
    let flags = Flags::check(&node.flags, &known, problems);
    Ok(Command::Add(Add {
        files: files(node, "ADD", &flags)?,
        checksum: flags.text("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
    }))
}

fn files(node: &Instruction, keyword: &str, flags: &Flags<'_>) -> Result<Files, Diagnostic> {
    let Some((destination, words)) = node.arguments.words.split_last().filter(|(_, rest)| !rest.is_empty())
    else {
        let message = format!(
            "{keyword} requires at least two arguments, but only one was provided. \
             Destination could not be determined"
        );
        return Err(Diagnostic::error(message, node.span));
    };
    let begins_heredoc = |word: &Word| heredoc::in_word(&word.value).ok().flatten();
    if begins_heredoc(destination).is_some() {
        let message = format!("{keyword} cannot accept a heredoc as a destination");
        return Err(Diagnostic::error(message, destination.span));
    }
    let sources = words.iter().map(|word| {
        let Some(name) = begins_heredoc(word) else { return FileSource::Path(word.clone()) };
        // Of two heredocs with one name, the later one counts, for both words (BuildKit).
        match node.heredocs.iter().rposition(|heredoc| heredoc.name.value == name.name) {
            Some(index) => FileSource::Heredoc { word: word.clone(), index },
            None => FileSource::Path(word.clone()),
        }
    });
    Ok(Files {
        sources: sources.collect(),
        destination: destination.clone(),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        exclude: flags.list("exclude").collect(),
    })
}

fn onbuild(node: &Instruction, problems: &mut Vec<Diagnostic>) -> Result<Onbuild, Diagnostic> {
    Flags::check(&node.flags, &[], problems);
    let Some(trigger) = &node.arguments.trigger else {
        return Err(Diagnostic::error("ONBUILD requires at least one argument", node.span));
    };
    let keyword = trigger.keyword.value.to_uppercase();
    match keyword.as_str() {
        "ONBUILD" => {
            let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
            return Err(Diagnostic::error(message, trigger.keyword.span));
        }
        "FROM" | "MAINTAINER" => {
            let message = format!("{keyword} isn't allowed as an ONBUILD trigger");
            return Err(Diagnostic::error(message, trigger.keyword.span));
        }
        _ => {}
    }
    let line = node.original.value.trim_start();
    let mut expression = line.get("ONBUILD".len()..).unwrap_or_default().trim_start().to_owned();
    for heredoc in &node.heredocs {
        expression.push('\n');
        expression.push_str(&heredoc.content.value);
        expression.push_str(&heredoc.name.value);
    }
    Ok(Onbuild { expression })
}
