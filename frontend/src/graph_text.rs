//! A graph for people: as lines of text, as JSON, as DOT.

use std::collections::HashMap;
use std::fmt::Write as _;

use kiln_core::{
    Chmod, Copy, CopySource, Exec, FileAction, FileEdit, Graph, MountKind, Op, Source, Unpack, Vertex,
    VertexId,
};
use serde_json::{Value, json};

/// A form to show a graph in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphFormat {
    /// A line a vertex, and indented ones for what it does.
    Text,
    /// `{"root": …, "vertices": [{"id", "inputs", "name", "stage", "op": […]}]}`.
    Json,
    /// For Graphviz.
    Dot,
}

/// Shows what `root` needs of `graph`.
pub fn show_graph(graph: &Graph, root: VertexId, format: GraphFormat) -> String {
    let needed = graph.needed(root);
    let numbers: HashMap<VertexId, usize> = needed.iter().enumerate().map(|(n, id)| (*id, n)).collect();
    let shown = needed.iter().map(|id| {
        let vertex = graph.vertex(*id);
        let inputs: Vec<usize> = vertex.inputs.iter().map(|input| numbers[input]).collect();
        let lines = op(&vertex.op, &inputs);
        (vertex, inputs, lines)
    });
    match format {
        GraphFormat::Text => text(shown),
        GraphFormat::Json => json(shown, numbers[&root]),
        GraphFormat::Dot => dot(shown),
    }
}

fn text<'g>(vertices: impl Iterator<Item = (&'g Vertex, Vec<usize>, Vec<String>)>) -> String {
    let mut out = String::new();
    for (number, (vertex, _, lines)) in vertices.enumerate() {
        let mut lines = lines.into_iter();
        let first = lines.next().unwrap_or_default();
        let name =
            if vertex.about.name == first { String::new() } else { format!("  # {}", vertex.about.name) };
        let no_cache = if vertex.about.no_cache { " no-cache" } else { "" };
        let _ = writeln!(out, "{number} {first}{no_cache}{name}");
        for line in lines {
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}

fn json<'g>(vertices: impl Iterator<Item = (&'g Vertex, Vec<usize>, Vec<String>)>, root: usize) -> String {
    let vertices: Vec<Value> = vertices
        .enumerate()
        .map(|(number, (vertex, inputs, lines))| {
            let line = vertex.about.place.as_ref().map(|(file, span)| file.position(span.start).0);
            json!({
                "id": number, "inputs": inputs, "name": vertex.about.name, "stage": vertex.about.stage,
                "line": line, "op": lines,
            })
        })
        .collect();
    format!("{:#}\n", json!({ "root": root, "vertices": vertices }))
}

fn dot<'g>(vertices: impl Iterator<Item = (&'g Vertex, Vec<usize>, Vec<String>)>) -> String {
    let mut out = String::from("digraph build {\n    node [shape=box];\n");
    for (number, (vertex, inputs, _)) in vertices.enumerate() {
        let label = vertex.about.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(out, "    {number} [label=\"{label}\"];");
        for input in inputs {
            let _ = writeln!(out, "    {input} -> {number};");
        }
    }
    out.push_str("}\n");
    out
}

fn op(op: &Op, inputs: &[usize]) -> Vec<String> {
    match op {
        Op::Source(source) => vec![self::source(source)],
        Op::Exec(exec) => self::exec(exec, inputs),
        Op::File(edit) => file(edit, inputs),
    }
}

fn source(source: &Source) -> String {
    match source {
        Source::Scratch => "scratch".to_owned(),
        Source::Image(image) => format!("image {} {}", image.name, image.platform),
        Source::Local(local) if local.wanted.is_empty() => format!("local {} all", local.name),
        Source::Local(local) => format!("local {} {}", local.name, local.wanted.join(" ")),
        Source::Http(http) => {
            let checksum = http.checksum.as_ref().map(|digest| format!(" {digest}")).unwrap_or_default();
            format!("http {} as {} mode {:o}{checksum}", http.url, http.filename, http.mode)
        }
        Source::Git(git) => {
            let mut text = format!("git {}", git.remote);
            for (mark, part) in [('#', &git.reference), (':', &git.subdir)] {
                if !part.is_empty() {
                    let _ = write!(text, "{mark}{part}");
                }
            }
            let checksum = git.checksum.as_ref().map(|commit| format!(" commit {commit}"));
            text.push_str(&checksum.unwrap_or_default());
            text.push_str(if git.keep_git_dir { " keep-git-dir" } else { "" });
            text.push_str(if git.submodules { "" } else { " no-submodules" });
            text
        }
    }
}

fn exec(exec: &Exec, inputs: &[usize]) -> Vec<String> {
    let mut lines = vec![format!("exec on {}", inputs.first().copied().unwrap_or_default())];
    lines.push(format!("args {}", json!(exec.args)));
    let env: Vec<String> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    lines.push(format!("env {}", json!(env)));
    if !exec.proxy_env.is_empty() {
        let names: Vec<&str> = exec.proxy_env.iter().map(|(name, _)| name.as_str()).collect();
        lines.push(format!("proxies {}", names.join(" ")));
    }
    lines.push(format!("in {} as {}", exec.cwd, if exec.user.is_empty() { "root" } else { &exec.user }));
    for mount in &exec.mounts {
        lines.push(format!("mount {} at {}", self::mount(&mount.kind, inputs), mount.target));
    }
    for secret in &exec.secret_env {
        let required = if secret.required { " required" } else { "" };
        lines.push(format!("secret {} as ${}{required}", secret.id, secret.name));
    }
    for file in &exec.files {
        lines.push(format!("file {} mode {:o}, {} bytes", file.path, file.mode, file.data.len()));
    }
    if exec.network != kiln_core::NetworkMode::Default {
        lines.push(format!("network {:?}", exec.network).to_lowercase());
    }
    if exec.security != kiln_core::SecurityMode::Sandbox {
        lines.push("security insecure".to_owned());
    }
    for (name, required) in &exec.devices {
        lines.push(format!("device {name}{}", if *required { " required" } else { "" }));
    }
    lines
}

fn mount(kind: &MountKind, inputs: &[usize]) -> String {
    let required = |required: bool| if required { " required" } else { "" };
    let of = |input: usize| inputs.get(input).copied().unwrap_or_default();
    match kind {
        MountKind::Bind { input, source, writable } => {
            format!("bind {}:{source}{}", of(*input), if *writable { " rw" } else { "" })
        }
        MountKind::Cache(cache) => {
            let from = cache.input.map(|input| format!(" from {}:", of(input))).unwrap_or_default();
            let read_only = if cache.read_only { " ro" } else { "" };
            let access = cache.access;
            format!(
                "cache {} {:?}{from}{} {}:{} {:o}{read_only}",
                cache.id, cache.sharing, cache.source, access.uid, access.gid, access.mode
            )
        }
        MountKind::Tmpfs { size } => {
            format!("tmpfs{}", size.map(|size| format!(" {size}")).unwrap_or_default())
        }
        MountKind::Secret { id, required: needed, access } => {
            format!("secret {id} {}:{} {:o}{}", access.uid, access.gid, access.mode, required(*needed))
        }
        MountKind::Ssh { id, required: needed, access } => {
            format!("ssh {id} {}:{} {:o}{}", access.uid, access.gid, access.mode, required(*needed))
        }
    }
}

fn file(edit: &FileEdit, inputs: &[usize]) -> Vec<String> {
    let link = if edit.link { " linked" } else { "" };
    let mut lines = vec![format!("file on {}{link}", inputs.first().copied().unwrap_or_default())];
    for action in &edit.actions {
        match action {
            FileAction::Copy(copy) => copy_lines(copy, inputs, &mut lines),
            FileAction::MakeDir { path, owner, mode } => {
                let owner = if owner.is_empty() { "root" } else { owner };
                lines.push(format!("mkdir {path} {owner} {mode:o}"));
            }
        }
    }
    lines
}

fn copy_lines(copy: &Copy, inputs: &[usize], lines: &mut Vec<String>) {
    let mut settings = String::new();
    if let Some(chown) = &copy.chown {
        let _ = write!(settings, " chown {chown}");
    }
    match &copy.chmod {
        Some(Chmod::Octal(mode)) => {
            let _ = write!(settings, " chmod {mode:o}");
        }
        Some(Chmod::Symbolic(mode)) => {
            let _ = write!(settings, " chmod {mode}");
        }
        None => {}
    }
    if copy.parents {
        settings.push_str(" parents");
    }
    if copy.unpack == Unpack::IfArchive {
        settings.push_str(" unpack");
    }
    for pattern in &copy.exclude {
        let _ = write!(settings, " exclude {pattern}");
    }
    for source in &copy.sources {
        let source = match source {
            CopySource::Path { input, path, required } => {
                let number = inputs.get(*input).copied().unwrap_or_default();
                format!("{number}:{path}{}", if *required { "" } else { " if any" })
            }
            CopySource::Inline(file) => {
                format!("<<{} mode {:o}, {} bytes", file.path, file.mode, file.data.len())
            }
        };
        lines.push(format!("copy {source} -> {}{settings}", copy.destination));
    }
}
