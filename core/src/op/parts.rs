//! An operation as named texts, for telling people in what two of them differ. Whatever goes into a key is here: two
//! ops with different keys differ in a part.

use super::{
    Access, Chmod, Copy, CopySource, Exec, FileAction, FileEdit, ImageLocator, InlineFile, MountKind, Op,
    Source, Unpack,
};
use crate::ContentHash;

/// One thing that an operation says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is, unique within the op: `command`, `variable VERSION`.
    pub name: String,
    /// Its value as text.
    pub value: String,
}

/// The parts gathered so far.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    #[expect(clippy::needless_pass_by_value, reason = "numbers, texts and references alike")]
    fn add(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.push(Part { name: name.into(), value: value.to_string() });
    }

    /// What most ops leave out is a part only where it is there.
    #[expect(clippy::needless_pass_by_value, reason = "numbers, texts and references alike")]
    fn add_some(&mut self, name: impl Into<String>, value: impl ToString) {
        let value = value.to_string();
        if !value.is_empty() {
            self.add(name, value);
        }
    }
}

impl Op {
    /// What the op consists of, for people.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Parts::default();
        match self {
            Self::Source(source) => of_source(source, &mut parts),
            Self::Exec(exec) => of_exec(exec, &mut parts),
            Self::File(edit) => of_edit(edit, &mut parts),
        }
        parts.0
    }

    /// The sort of work, so that like is compared with like.
    pub fn sort(&self) -> &'static str {
        match self {
            Self::Source(Source::Scratch) => "scratch",
            Self::Source(Source::Image(_)) => "image",
            Self::Source(Source::Local(_)) => "context",
            Self::Source(Source::Http(_)) => "download",
            Self::Source(Source::Git(_)) => "repository",
            Self::Exec(_) => "run",
            Self::File(edit) if edit.actions.iter().any(|a| matches!(a, FileAction::Copy(_))) => "copy",
            Self::File(_) => "directory",
        }
    }
}

fn of_source(source: &Source, parts: &mut Parts) {
    match source {
        Source::Scratch => {}
        Source::Image(image) => {
            parts.add("image", &image.name);
            match &image.locator {
                ImageLocator::Store { id } => parts.add("image in the store", id),
                ImageLocator::Registry { reference: _, manifest }
                | ImageLocator::Layout { path: _, manifest } => parts.add("image digest", manifest),
            }
            parts.add("platform", &image.platform);
        }
        Source::Local(local) => {
            parts.add("context", &local.name);
            parts.add("paths", local.wanted.join(" "));
        }
        Source::Http(http) => {
            parts.add("url", &http.url);
            parts.add_some("checksum", http.checksum.map(|c| c.to_string()).unwrap_or_default());
            parts.add("file name", &http.filename);
            parts.add("mode", format!("{:04o}", http.mode));
        }
        Source::Git(git) => {
            parts.add("repository", &git.remote);
            parts.add_some("ref", &git.reference);
            parts.add_some("directory", &git.subdir);
            parts.add_some("checksum", git.checksum.as_deref().unwrap_or_default());
            parts.add("keep git directory", git.keep_git_dir);
            parts.add("submodules", git.submodules);
        }
    }
}

fn of_exec(exec: &Exec, parts: &mut Parts) {
    // Named one by one, so that a new field is asked about here. Proxy variables are in no key.
    let Exec {
        args,
        env,
        proxy_env: _,
        cwd,
        user,
        mounts,
        secret_env,
        files,
        network,
        security,
        surroundings,
        devices,
        platform,
    } = exec;
    parts.add("command", command(args));
    for (name, value) in env {
        parts.add(format!("variable {name}"), value);
    }
    parts.add("working directory", cwd);
    parts.add_some("user", user);
    for mount in mounts {
        parts.add(format!("mount {}", mount.target), of_mount(&mount.kind));
    }
    for secret in secret_env {
        let required = if secret.required { ", required" } else { "" };
        parts.add(format!("secret variable {}", secret.name), format!("id {}{required}", secret.id));
    }
    for file in files {
        parts.add(format!("file {}", file.path), inline(file));
    }
    parts.add("network", format!("{network:?}").to_lowercase());
    parts.add("security", format!("{security:?}").to_lowercase());
    let super::Surroundings { hostname, add_hosts, shm_size, ulimits, cgroup_parent } = surroundings;
    parts.add_some("host name", hostname);
    for (name, address) in add_hosts {
        parts.add(format!("host {name}"), address);
    }
    parts.add("size of /dev/shm", shm_size);
    for limit in ulimits {
        parts.add(format!("limit {}", limit.name), format!("{}:{}", limit.soft, limit.hard));
    }
    parts.add_some("control group", cgroup_parent);
    for (name, required) in devices {
        parts.add(format!("device {name}"), if *required { "required" } else { "optional" });
    }
    parts.add("platform", platform);
}

/// A command as it was written: what the shell is given, or the words.
fn command(args: &[String]) -> String {
    match args {
        [shell, flag, script] if flag == "-c" && shell.ends_with("sh") => script.clone(),
        words => words.join(" "),
    }
}

fn of_mount(kind: &MountKind) -> String {
    match kind {
        MountKind::Bind { input, source, writable } => {
            format!("bind from input {input} {source}{}", if *writable { " writable" } else { "" })
        }
        MountKind::Cache(cache) => format!(
            "cache {} {:?} from input {:?} {} {}{}",
            cache.id,
            cache.sharing,
            cache.input,
            cache.source,
            access(cache.access),
            if cache.read_only { " read-only" } else { "" }
        ),
        MountKind::Tmpfs { size } => format!("tmpfs {size:?}"),
        MountKind::Secret { id, required, access: a } => {
            format!("secret {id}{} {}", if *required { " required" } else { "" }, access(*a))
        }
        MountKind::Ssh { id, required, access: a } => {
            format!("ssh {id}{} {}", if *required { " required" } else { "" }, access(*a))
        }
    }
}

fn access(access: Access) -> String {
    format!("{}:{} {:04o}", access.uid, access.gid, access.mode)
}

/// A text of the Dockerfile: short ones as they are, long ones by their hash.
fn inline(file: &InlineFile) -> String {
    const SHOWN: usize = 200;
    let text = match std::str::from_utf8(&file.data) {
        Ok(text) if text.len() <= SHOWN => format!("{text:?}"),
        _ => format!("{} bytes, blake3 {}", file.data.len(), ContentHash::of(&file.data)),
    };
    format!("{text} {:04o}", file.mode)
}

fn of_edit(edit: &FileEdit, parts: &mut Parts) {
    let FileEdit { actions, link, created } = edit;
    for (number, action) in actions.iter().enumerate() {
        let which = if number == 0 { String::new() } else { format!(" {}", number + 1) };
        match action {
            FileAction::Copy(copy) => of_copy(copy, &which, parts),
            FileAction::MakeDir { path, owner, mode } => {
                parts.add(format!("directory{which}"), path);
                parts.add_some(format!("owner{which}"), owner);
                parts.add(format!("mode{which}"), format!("{mode:04o}"));
            }
        }
    }
    parts.add("--link", link);
    parts.add_some("SOURCE_DATE_EPOCH", created.map(|c| c.to_string()).unwrap_or_default());
}

fn of_copy(copy: &Copy, which: &str, parts: &mut Parts) {
    let Copy { sources, destination, chown, chmod, parents, exclude, unpack } = copy;
    for (number, source) in sources.iter().enumerate() {
        // A dot, because a blank numbers the copies.
        let name = if number == 0 { String::new() } else { format!(".{}", number + 1) };
        match source {
            CopySource::Path { input, path, required } => parts.add(
                format!("source{name}{which}"),
                format!("{path} of input {input}{}", if *required { "" } else { " if there" }),
            ),
            CopySource::Inline(file) => parts.add(format!("text of {}{which}", file.path), inline(file)),
        }
    }
    parts.add(format!("destination{which}"), destination);
    parts.add_some(format!("--chown{which}"), chown.as_deref().unwrap_or_default());
    let mode = chmod.as_ref().map(|chmod| match chmod {
        Chmod::Octal(mode) => format!("{mode:04o}"),
        Chmod::Symbolic(text) => text.clone(),
    });
    parts.add_some(format!("--chmod{which}"), mode.unwrap_or_default());
    parts.add(format!("--parents{which}"), parents);
    parts.add_some(format!("--exclude{which}"), exclude.join(" "));
    parts.add(format!("--unpack{which}"), *unpack == Unpack::IfArchive);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_copy_has_a_name_of_its_own() {
        let source = |path: &str| CopySource::Path { input: 1, path: path.into(), required: true };
        let copy = Copy {
            sources: vec![source("/a"), source("/b")],
            destination: "/to/".into(),
            chown: Some("1:1".into()),
            chmod: Some(Chmod::Octal(0o600)),
            parents: false,
            exclude: vec!["*.o".into()],
            unpack: Unpack::Never,
        };
        let edit = FileEdit {
            actions: vec![FileAction::Copy(copy.clone()), FileAction::Copy(copy)],
            link: false,
            created: Some(1),
        };
        let parts = Op::File(edit).parts();
        let names: std::collections::BTreeSet<&str> = parts.iter().map(|part| &*part.name).collect();
        assert_eq!(names.len(), parts.len(), "{parts:?}");
    }
}
