//! What a stage has come to so far: its root, its variables, its image's configuration.

use std::collections::{HashMap, HashSet};

use kiln_core::{History, ImageConfig, Platform, path};

use super::builder::NodeId;
use crate::expand::Variables;
use crate::lint::StageChecks;
use crate::plan::Environment;

/// BuildKit's comment in every history entry it writes.
const COMMENT: &str = "buildkit.dockerfile.v0";
/// The PATH of an image that sets none.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage has come to so far. A stage that stands on another begins with a copy of its last.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) root: NodeId,
    pub(super) platform: Platform,
    /// ENV and ARG, in the order they were last set.
    pub(super) env: Environment,
    pub(super) image: ImageConfig,
    /// The names of ARG in the order declared, with the values they were given.
    build_args: Vec<(String, Option<String>)>,
    /// The same names.
    declared: HashSet<String>,
    /// What the checks remember.
    pub(super) checks: StageChecks,
    /// Where each variable stands in the configuration.
    places: HashMap<String, usize>,
    /// About how much memory the history takes.
    history_bytes: usize,
}

impl State {
    pub(super) fn new(root: NodeId, platform: Platform, image: ImageConfig) -> Self {
        Self {
            root,
            platform,
            env: Environment::default(),
            build_args: Vec::new(),
            declared: HashSet::new(),
            checks: StageChecks::on_image(!image.config.shell.is_empty()),
            image,
            places: HashMap::new(),
            history_bytes: 0,
        }
    }

    /// Takes up what the image's configuration says, before the first instruction of a stage.
    pub(super) fn begin(&mut self) {
        let config = &mut self.image.config;
        if config.variable("PATH").is_none() && self.platform.os != "windows" {
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for (place, entry) in config.env.iter().enumerate() {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.env.set(name, value);
            self.places.entry(name.to_owned()).or_insert(place);
        }
        if !config.working_dir.is_empty() {
            config.working_dir = absolute(&config.working_dir, &config.working_dir);
        }
    }

    /// Sets a variable, for the steps that follow and in the configuration; there it keeps its place if it was set before.
    pub(super) fn set_variable(&mut self, name: &str, value: &str) {
        self.env.set(name, value);
        let entry = format!("{name}={value}");
        let list = &mut self.image.config.env;
        match self.places.get(name) {
            Some(place) => list[*place] = entry,
            None => {
                self.places.insert(name.to_owned(), list.len());
                list.push(entry);
            }
        }
    }

    /// Notes an ARG.
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        self.declared.insert(name.to_owned());
        self.build_args.push((name.to_owned(), value));
    }

    /// Whether an ARG declares `name`.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    /// About how much memory a copy takes.
    pub(super) fn bytes(&self) -> usize {
        let config = &self.image.config;
        let labels = config.labels.iter().map(|(name, value)| name.len() + value.len());
        let commands = config.cmd.iter().chain(&config.entrypoint);
        let commands = commands.chain(config.healthcheck.as_ref().map(|check| &check.test));
        let lists = commands.chain([&config.on_build, &config.shell]).flatten().map(String::len);
        let sets = config.volumes.keys().chain(config.exposed_ports.keys()).map(String::len);
        // The variables stand in the environment and in the configuration.
        2 * self.env.bytes() + self.history_bytes + labels.chain(lists).chain(sets).sum::<usize>()
    }

    /// About how much of it each step takes along, variables apart.
    pub(super) fn carried(&self) -> usize {
        let config = &self.image.config;
        config.working_dir.len() + config.user.len() + config.shell.iter().map(String::len).sum::<usize>()
    }

    /// The working directory, never empty.
    pub(super) fn dir(&self) -> &str {
        let dir = self.image.config.working_dir.as_str();
        if dir.is_empty() { "/" } else { dir }
    }

    /// Adds a line to the history.
    pub(super) fn commit(&mut self, created_by: String, empty_layer: bool, created: Option<String>) {
        self.history_bytes += created_by.len() + size_of::<History>();
        self.image.history.push(History {
            created,
            created_by,
            author: String::new(),
            comment: COMMENT.to_owned(),
            empty_layer,
        });
    }

    /// The shell form of a command as an argument vector.
    pub(super) fn with_shell(&self, command: &str) -> Vec<String> {
        let shell = &self.image.config.shell;
        let mut args: Vec<String> = match shell.as_slice() {
            [] if self.image.os == "windows" => vec!["cmd".into(), "/S".into(), "/C".into()],
            [] => vec!["/bin/sh".into(), "-c".into()],
            shell => shell.to_vec(),
        };
        args.push(command.to_owned());
        args
    }

    /// `|2 A=1 B=2` and the arguments: a RUN step in the history.
    pub(super) fn run_text(&self, args: &[String]) -> String {
        // Each name once, at its first place; the value is the same at all.
        let mut seen = HashSet::new();
        let declared = self.build_args.iter().filter(|(name, _)| seen.insert(name.as_str()));
        let texts: Vec<String> = declared
            .map(|(name, value)| {
                let value = self.env.get(name).or(value.as_deref()).unwrap_or_default();
                format!("{name}={value}")
            })
            .collect();
        let count = (!texts.is_empty()).then(|| format!("|{}", texts.len()));
        let words = count.into_iter().chain(texts);
        words.chain(args.iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

/// A directory as WORKDIR has it: an absolute one as written, a relative one below `current`, an empty one `current` itself.
pub(super) fn absolute(current: &str, wanted: &str) -> String {
    let current = if current.starts_with('/') { current.to_owned() } else { path::join("/", current) };
    match wanted {
        "" => current,
        wanted if wanted.starts_with('/') => wanted.to_owned(),
        wanted => path::join(&current, wanted),
    }
}

/// The numbering of a stage's steps in progress.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbering {
    /// `build `, or nothing.
    pub(super) label: String,
    pub(super) total: usize,
    pub(super) done: usize,
}

impl Numbering {
    /// `[build 2/5] RUN make`.
    pub(super) fn next(&mut self, text: &str, platform: Option<&str>) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        self.done += 1;
        let width = self.total.to_string().len();
        let platform = platform.map(|p| format!("{p} ")).unwrap_or_default();
        let label = if self.label.is_empty() { String::new() } else { format!("{} ", self.label) };
        format!("[{platform}{label}{:width$}/{}] {text}", self.done, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn directories_are_normalised_as_in_the_references_table() {
        for (current, wanted, result) in [
            ("", "/strippedWd", "/strippedWd"),
            ("testing", "", "/testing"),
            ("testing", "new", "/testing/new"),
            ("/test", "relative/path", "/test/relative/path"),
            ("/test", "", "/test"),
            ("/a", "/tmp/", "/tmp/"),
            ("/a", "../b/.", "/b"),
        ] {
            assert_eq!(absolute(current, wanted), result, "{current} {wanted}");
        }
    }
}
