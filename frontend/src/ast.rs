//! The tree of a Dockerfile: every instruction as a type, every word with the place it was written at.
//!
//! Words are raw: quotes, escapes and variables stand in them as written; only line continuations and the comments between
//! them are gone. A word that was written over several lines therefore has a span that is longer than its text. Words of
//! JSON forms are decoded, their spans include the quotes. The heredocs of an instruction stand beside it, in order.

use std::time::Duration;

use kiln_core::{NetworkMode, SecurityMode, SourceFile, Span, Spanned};

pub use crate::syntax::mount::{Mount, MountError, MountField, MountFlag, MountType, parse_mount};

/// Text as written, and where.
pub type Word = Spanned<String>;

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The text that all spans point into.
    pub file: SourceFile,
    /// What the comments at the top direct.
    pub directives: Directives,
    /// The instructions, in the order of the text.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// The instructions before the first FROM: the global ARGs (anything else there is an error).
    pub fn head(&self) -> &[Instruction] {
        let end = self.instructions.iter().position(Instruction::is_from).unwrap_or(self.instructions.len());
        &self.instructions[..end]
    }

    /// The stages in order: each a FROM (whole or broken) and what follows up to the next.
    pub fn stages(&self) -> Vec<StageText<'_>> {
        let rest = &self.instructions[self.head().len()..];
        let starts: Vec<usize> =
            rest.iter().enumerate().filter(|(_, i)| i.is_from()).map(|(at, _)| at).collect();
        let ends = starts.iter().skip(1).copied().chain([rest.len()]);
        let slices = starts.iter().zip(ends).map(|(&start, end)| &rest[start..end]);
        slices.filter_map(|s| s.split_first()).map(|(from, body)| StageText { from, body }).collect()
    }
}

/// The instructions of one stage.
#[derive(Debug, Clone, Copy)]
pub struct StageText<'a> {
    /// Its FROM.
    pub from: &'a Instruction,
    /// What follows.
    pub body: &'a [Instruction],
}

/// The parser directives at the top of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`, the whole value.
    pub syntax: Option<Word>,
    /// `# escape=`; a backslash unless told otherwise.
    pub escape: char,
    /// `# check=`, the whole value.
    pub check: Option<Word>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// From the keyword to the end of its last line, heredocs included.
    pub span: Span,
    /// The first and the last line, from 1.
    pub lines: (usize, usize),
    /// `RUN`, in the case it was written.
    pub keyword: Word,
    /// The logical line: the text without continuations, comments and heredoc bodies.
    pub original: Word,
    /// The comment lines above, without `#` and outer blanks.
    pub comments: Vec<Word>,
    /// The empty lines between its continued ones.
    pub blanks: Vec<Span>,
    /// `--name=value` words, as written.
    pub flags: Vec<Flag>,
    /// What follows the flags, split as the instruction's grammar has it.
    pub arguments: Arguments,
    /// Its heredocs, in the order of their bodies.
    pub heredocs: Vec<Heredoc>,
    /// What it means.
    pub command: Command,
}

impl Instruction {
    /// Whether the keyword is FROM, however broken the rest.
    pub fn is_from(&self) -> bool {
        self.keyword.value.eq_ignore_ascii_case("from")
    }
}

/// The words of an instruction before they mean anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    /// Plain words; for ENV and LABEL name, value and separator (`=` or nothing) in turn.
    pub words: Vec<Word>,
    /// Whether they were written as a JSON array.
    pub json: bool,
    /// The instruction after ONBUILD.
    pub trigger: Option<Box<Instruction>>,
}

/// `--name` or `--name=value`, quotes and escapes removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: Word,
    /// What follows the `=`.
    pub value: Option<Word>,
    /// All of it.
    pub span: Span,
}

/// A heredoc: `<<NAME` and the lines up to `NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The name, unquoted.
    pub name: Word,
    /// The lines as written, each with its newline; leading tabs are still there for `<<-`.
    pub content: Word,
    /// Whether variables are expanded: no part of the name was quoted.
    pub expand: bool,
    /// `<<-`: leading tabs are removed.
    pub chomp: bool,
    /// The file descriptor before `<<`; 0 unless told otherwise.
    pub fd: u32,
}

impl Heredoc {
    /// The text as it is used: without leading tabs for `<<-`.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.value.clone();
        }
        self.content.value.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// What an instruction means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `FROM`.
    From(From),
    /// `ARG`, one or more names.
    Arg(Vec<ArgName>),
    /// `RUN`.
    Run(Run),
    /// `CMD`.
    Cmd(CommandLine),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<Pair>),
    /// `LABEL`.
    Label(Vec<Pair>),
    /// `COPY`.
    Copy(Copy),
    /// `ADD`.
    Add(Add),
    /// `WORKDIR`.
    Workdir(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `EXPOSE`.
    Expose(Vec<Word>),
    /// `STOPSIGNAL`.
    Stopsignal(Word),
    /// `SHELL`.
    Shell(Vec<Word>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `MAINTAINER`.
    Maintainer(Word),
    /// An instruction with an error, told of in the diagnostics.
    Invalid,
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The image or stage.
    pub image: Word,
    /// The name given to the stage.
    pub name: Option<StageName>,
    /// `--platform`.
    pub platform: Option<Word>,
    /// The comment above that describes the stage: `# NAME description`.
    pub doc: Option<String>,
}

/// `AS NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageName {
    /// The keyword, in the case it was written.
    pub keyword: Word,
    /// The name, in the case it was written.
    pub written: Word,
    /// The name in lower case: what it is known by.
    pub name: String,
}

/// One name of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgName {
    /// The name.
    pub name: Word,
    /// The default, raw; `Some` of an empty word for `ARG name=`.
    pub default: Option<Word>,
    /// The comment above that describes it: `# NAME description`.
    pub doc: Option<String>,
}

/// The command of RUN, CMD, ENTRYPOINT and HEALTHCHECK. Its heredocs are the instruction's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the shell; may be empty.
    Shell(Word),
    /// The argument vector of a JSON array; may be empty.
    Exec(Vec<Word>),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: CommandLine,
    /// `--mount`: values are raw; expand the fields, then [`MountFlag::mount`].
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Option<Spanned<NetworkMode>>,
    /// `--security`.
    pub security: Option<Spanned<SecurityMode>>,
    /// `--device`.
    pub devices: Vec<Device>,
}

/// `RUN --device=NAME[,required]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The CDI name.
    pub name: Word,
    /// Whether the build fails without it.
    pub required: bool,
}

/// A name and a value of ENV or LABEL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name, raw.
    pub name: Word,
    /// The value, raw.
    pub value: Word,
    /// Whether it was written in the legacy form, with a blank instead of `=`.
    pub legacy: bool,
}

/// Sources and destination, and the options that COPY and ADD share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// What is copied, in the order written.
    pub sources: Vec<FileSource>,
    /// Where to.
    pub destination: Word,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, each.
    pub exclude: Vec<Word>,
}

/// One source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A path, an URL or a git remote.
    Path(Word),
    /// `<<NAME`: an inline file called NAME.
    Heredoc {
        /// The word with the `<<`.
        word: Word,
        /// Index into [`Instruction::heredocs`].
        index: usize,
    },
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Sources, destination and common options.
    pub files: Files,
    /// `--from`.
    pub from: Option<Word>,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// Sources, destination and common options.
    pub files: Files,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, if given.
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`.
    Disabled,
    /// `HEALTHCHECK CMD …`. Options that were not given, or given as zero, are zero.
    Check {
        /// The command, never expanded.
        command: CommandLine,
        /// `--interval`.
        interval: Duration,
        /// `--timeout`.
        timeout: Duration,
        /// `--start-period`.
        start_period: Duration,
        /// `--start-interval`.
        start_interval: Duration,
        /// `--retries`.
        retries: u32,
    },
}

/// `ONBUILD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger's text as the image's configuration holds it, heredocs included.
    pub expression: String,
}
