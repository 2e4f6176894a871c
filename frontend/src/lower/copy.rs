//! COPY and ADD.

use kiln_core::pattern::wildcard;
use kiln_core::{
    About, Chmod, Copy, CopySource, Diagnostic, Digest, FileAction, FileEdit, HttpSource, InlineFile, Op,
    Source, Span, Unpack, path,
};

use super::builder::NodeId;
use super::state::State;
use super::{Context, Lowering, Outcome, chmod};
use crate::ast::{self, FileSource, Files, Heredoc};
use crate::expand::Rules;
use crate::git_url::{self, GitUrl};
use crate::lint::copy_ignored_file;
use crate::options::{MAIN_CONTEXT, NamedContext};
use crate::plan::Step;

/// What COPY and ADD have in common once their words are expanded.
struct Request<'a> {
    files: &'a Files,
    add: Option<&'a ast::Add>,
    parents: bool,
    /// Where plain paths come from.
    origin: Option<NodeId>,
    /// The local source whose ignore file matters.
    ignored_by: Option<String>,
    chown: Option<String>,
    chmod: Option<(String, Chmod)>,
    checksum: Option<String>,
    exclude: Vec<String>,
}

/// The parts of one copy, as they come together.
struct Parts {
    inputs: Vec<NodeId>,
    copies: Vec<Copy>,
    template: Copy,
}

impl Parts {
    fn input(&mut self, id: NodeId) -> usize {
        let known = self.inputs.iter().position(|input| *input == id);
        known.unwrap_or_else(|| {
            self.inputs.push(id);
            self.inputs.len() - 1
        })
    }

    /// Adds a source; those that are unpacked and those that are not stand in different actions.
    fn push(&mut self, source: CopySource, unpack: Unpack) {
        match self.copies.last_mut() {
            Some(copy) if copy.unpack == unpack => copy.sources.push(source),
            _ => self.copies.push(Copy { sources: vec![source], unpack, ..self.template.clone() }),
        }
    }
}

impl Lowering<'_> {
    pub(super) fn copy(
        &mut self,
        copy: &ast::Copy,
        step: &Step,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Outcome<()> {
        let (origin, ignored_by) = match step.sources.first() {
            Some(Some(id)) => match self.source_root(*id) {
                Some(root) => (Some(root), None),
                None => return Err(self.not_before(copy, step, context)),
            },
            _ => (None, Some(MAIN_CONTEXT.to_owned())),
        };
        let request = self.request(&copy.files, None, copy.parents, step, state)?;
        self.files(&Request { origin, ignored_by, ..request }, step, state, context)
    }

    pub(super) fn add(
        &mut self,
        add: &ast::Add,
        step: &Step,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Outcome<()> {
        let request = self.request(&add.files, Some(add), false, step, state)?;
        let ignored_by = Some(MAIN_CONTEXT.to_owned());
        self.files(&Request { ignored_by, ..request }, step, state, context)
    }

    fn not_before(&self, copy: &ast::Copy, step: &Step, context: &Context<'_>) -> Diagnostic {
        let from = copy.from.as_ref().map(|word| word.value.as_str()).unwrap_or_default();
        let message = format!(
            "cannot copy from stage {}, it needs to be defined before current stage {}",
            super::go_text::quoted(from),
            super::go_text::quoted(&context.stage.label)
        );
        let span = copy.from.as_ref().map_or(step.instruction.span, |word| word.span);
        Diagnostic::error(message, step.place(span))
    }

    fn request<'f>(
        &mut self,
        files: &'f Files,
        add: Option<&'f ast::Add>,
        parents: bool,
        step: &Step,
        state: &State,
    ) -> Outcome<Request<'f>> {
        let mut optional = |word: Option<&ast::Word>| match word {
            Some(word) => self.expand(word, step, state).map(|text| Some(text).filter(|t| !t.is_empty())),
            None => Ok(None),
        };
        let chown = optional(files.chown.as_ref())?;
        let chmod = match optional(files.chmod.as_ref())? {
            Some(text) => {
                let span = files.chmod.as_ref().map_or(step.instruction.span, |word| word.span);
                let mode = chmod::parse(&text).map_err(|m| Diagnostic::error(m, step.place(span)))?;
                Some((text, mode))
            }
            None => None,
        };
        let checksum = optional(add.and_then(|add| add.checksum.as_ref()))?;
        let exclude =
            files.exclude.iter().map(|word| self.expand(word, step, state)).collect::<Outcome<Vec<_>>>()?;
        Ok(Request { files, add, parents, origin: None, ignored_by: None, chown, chmod, checksum, exclude })
    }

    fn files(
        &mut self,
        request: &Request<'_>,
        step: &Step,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Outcome<()> {
        let mut sources = Vec::new();
        let mut inline = Vec::new();
        for source in &request.files.sources {
            match source {
                FileSource::Path(word) => {
                    sources.push((self.expand(word, step, state)?, step.place(word.span)));
                }
                FileSource::Heredoc { index, .. } => {
                    if let Some(heredoc) = step.instruction.heredocs.get(*index) {
                        inline.push(self.inline(heredoc, step, state)?);
                    }
                }
            }
        }
        let written = self.expand(&request.files.destination, step, state)?;
        self.check_checksum(request, &sources, step)?;

        let name = self.step_name(step, state, context);
        let template = Copy {
            sources: Vec::new(),
            destination: destination(state, &written),
            chown: request.chown.clone(),
            chmod: request.chmod.as_ref().map(|(_, mode)| mode.clone()),
            parents: request.parents,
            exclude: request.exclude.clone(),
            unpack: Unpack::Never,
        };
        let root = state.root;
        let mut parts = Parts { inputs: vec![root], copies: Vec::new(), template };
        for (source, place) in &sources {
            let about = self.about(name.clone(), step, context);
            self.source(request, source, *place, about, &mut parts)?;
        }
        for file in &inline {
            parts.push(CopySource::Inline(file.clone()), Unpack::Never);
        }
        let link = request.files.link && request.chmod.is_none();
        let actions = parts.copies.into_iter().map(FileAction::Copy).collect();
        let about = self.about(name, step, context);
        state.root = self.builder.add(
            Op::File(FileEdit { actions, link, created: self.plan.epoch }),
            parts.inputs,
            about,
        );
        let history = history(request, &sources, &inline, &written);
        self.commit(state, history, false);
        Ok(())
    }

    fn inline(&mut self, heredoc: &Heredoc, step: &Step, state: &State) -> Outcome<InlineFile> {
        let text = heredoc.text();
        let data = if heredoc.expand {
            let word = ast::Word::new(text, heredoc.content.span);
            self.expand_by(Rules::heredoc(), &word, step, state)?.text
        } else {
            text
        };
        Ok(InlineFile { path: heredoc.name.value.clone(), data: data.into_bytes(), mode: 0o644 })
    }

    /// Lowers one source that is no heredoc.
    fn source(
        &mut self,
        request: &Request<'_>,
        source: &str,
        place: Span,
        about: About,
        parts: &mut Parts,
    ) -> Outcome<()> {
        let error = |message: String| Diagnostic::error(message, place);
        if let Some(git) = git_url::parse_known(source, known_git(request)).map_err(&error)?
            && !git.local_form
        {
            let Some(add) = request.add else {
                return Err(error("source can't be a git ref for COPY".to_owned()).with_help("use ADD"));
            };
            let git = git_source(git, add, request.checksum.as_deref()).map_err(&error)?;
            let node = self.builder.add(Op::Source(Source::Git(git)), Vec::new(), about);
            let input = parts.input(node);
            parts.push(CopySource::Path { input, path: "/".to_owned(), required: true }, Unpack::Never);
            return Ok(());
        }
        if is_http(source) {
            let Some(add) = request.add else {
                return Err(error("source can't be a URL for COPY".to_owned()).with_help("use ADD"));
            };
            let checksum = match &request.checksum {
                Some(text) => Some(checksum(text).map_err(&error)?),
                None => None,
            };
            let filename = git_url::file_name(source);
            let http =
                HttpSource { url: source.to_owned(), checksum, filename: filename.clone(), mode: 0o600 };
            let node = self.builder.add(Op::Source(Source::Http(http)), Vec::new(), about);
            let input = parts.input(node);
            let unpack = if add.unpack == Some(true) { Unpack::IfArchive } else { Unpack::Never };
            let path = format!("/{}", super::base::literal(&filename));
            parts.push(CopySource::Path { input, path, required: true }, unpack);
            return Ok(());
        }
        self.check_ignored(request, source, place);
        let origin = match request.origin {
            Some(origin) => origin,
            None => {
                let main: NamedContext = self.plan.options.context.clone();
                self.context(MAIN_CONTEXT, &main)
            }
        };
        let (path, required) = if request.parents { parents_path(source) } else { plain_path(source) };
        wildcard::check(&path).map_err(|cause| error(format!("{cause}: {source}")))?;
        let unpack = match request.add {
            Some(add) if add.unpack != Some(false) => Unpack::IfArchive,
            _ => Unpack::Never,
        };
        let input = parts.input(origin);
        parts.push(CopySource::Path { input, path, required }, unpack);
        Ok(())
    }

    fn check_checksum(&self, request: &Request<'_>, sources: &[(String, Span)], step: &Step) -> Outcome<()> {
        if request.checksum.is_none() {
            return Ok(());
        }
        let span = request.add.and_then(|add| add.checksum.as_ref()).map(|word| word.span);
        let place = step.place(span.unwrap_or(step.instruction.span));
        let [(source, _)] = sources else {
            return Err(Diagnostic::error("checksum can't be specified for multiple sources", place));
        };
        let is_git = matches!(git_url::parse_known(source, known_git(request)), Ok(Some(_)));
        if is_git || is_http(source) {
            Ok(())
        } else {
            Err(Diagnostic::error("checksum requires HTTP(S) or Git sources", place))
        }
    }

    /// Warns of a source that the ignore file keeps out of the context. With exceptions in it nobody can tell.
    fn check_ignored(&mut self, request: &Request<'_>, source: &str, place: Span) {
        let Some(ignore) = request.ignored_by.as_ref().and_then(|name| self.plan.options.ignores.get(name))
        else {
            return;
        };
        if ignore.rules().iter().any(|rule| rule.exception) {
            return;
        }
        let cleaned = path::clean(source);
        let relative = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
        let whole = cleaned == "." || cleaned == "/";
        let everything =
            || ignore.rules().iter().any(|rule| ["*", "**", "**/*"].contains(&rule.text.as_str()));
        if whole && !everything() {
            return;
        }
        let decision = ignore.decide(relative);
        if decision.excluded {
            let verb = if request.add.is_some() { "Add" } else { "Copy" };
            self.warnings.push(copy_ignored_file::finding(verb, &cleaned, place));
        }
    }
}

/// Where the files go: an absolute path, with a slash at its end if it was written as a directory.
fn destination(state: &State, written: &str) -> String {
    let directory = written.is_empty() || written == "." || written.ends_with('/') || written.ends_with("/.");
    let absolute =
        if written.starts_with('/') { path::clean(written) } else { path::join(state.dir(), written) };
    if directory && absolute != "/" { format!("{absolute}/") } else { absolute }
}

/// A path in the source's root, and whether it must be there.
fn plain_path(source: &str) -> (String, bool) {
    (path::join("/", source), !wildcard::has_wildcards(source))
}

/// The same for `--parents`: the part after the pivot `/./` is made under the destination.
fn parents_path(source: &str) -> (String, bool) {
    let (parent, pattern) = source.split_once("/./").unwrap_or(("", source));
    let parent = path::join("/", parent);
    let parent = if parent == "/" { "" } else { &parent };
    let pattern = path::join("/", pattern);
    let required = !wildcard::has_wildcards(parent) && !wildcard::has_wildcards(&pattern);
    (format!("{parent}/.{pattern}"), required)
}

fn is_http(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// `--keep-git-dir` says that the source is a repository, whatever its name.
fn known_git(request: &Request<'_>) -> bool {
    request.add.is_some_and(|add| add.keep_git_dir.is_some())
}

/// The `--checksum` of a download.
fn checksum(text: &str) -> Result<Digest, String> {
    match text.split_once(':') {
        None => Err(format!("invalid checksum digest format `{text}`: expected sha256: and 64 hex digits")),
        Some((algorithm, _)) if algorithm != "sha256" => {
            Err(format!("unsupported digest algorithm `{algorithm}` of the checksum: expected sha256"))
        }
        Some(_) => text.parse().map_err(|cause| format!("{cause}")),
    }
}

/// The checkout of an ADD: the URL's own settings and the flags must not contradict each other.
fn git_source(url: GitUrl, add: &ast::Add, checksum: Option<&str>) -> Result<kiln_core::GitSource, String> {
    if let (Some(flag), Some(query)) = (add.keep_git_dir, url.keep_git_dir)
        && flag != query
    {
        return Err("inconsistent keep-git-dir configuration".to_owned());
    }
    if let (Some(flag), Some(query)) = (checksum, &url.checksum)
        && flag != query
    {
        return Err(format!(
            "checksum mismatch {} != {}",
            super::go_text::quoted(flag),
            super::go_text::quoted(query)
        ));
    }
    let keep = url.keep_git_dir.or(add.keep_git_dir);
    let flag = checksum.map(str::to_owned);
    let mut source = url.into_source();
    source.keep_git_dir = keep.unwrap_or(false);
    source.checksum = source.checksum.or(flag);
    Ok(source)
}

/// `COPY --chown=1:1 a b /dir/ # buildkit`: of the flags only some are told.
fn history(
    request: &Request<'_>,
    sources: &[(String, Span)],
    inline: &[InlineFile],
    written: &str,
) -> String {
    let mut text = String::from(if request.add.is_some() { "ADD" } else { "COPY" });
    if request.parents {
        text.push_str(" --parents");
    }
    if let Some(chown) = &request.chown {
        text.push_str(&format!(" --chown={chown}"));
    }
    if let Some((chmod, _)) = &request.chmod {
        text.push_str(&format!(" --chmod={chmod}"));
    }
    for (source, _) in sources {
        text.push_str(&format!(" {source}"));
    }
    for file in inline {
        text.push_str(&format!(" <<{}", file.path));
    }
    format!("{text} {written} # buildkit")
}
