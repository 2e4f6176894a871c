//! `--call=outline`: the arguments, secrets, agents and caches that a target uses.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kiln_core::SourceFile;
use serde::Serialize;

use super::place::{Place, Sources};
use super::table::table;
use crate::ast::{Command, Dockerfile, Instruction, MountType, StageText, Word};
use crate::expand::{Expanded, Rules};

/// What to outline.
#[derive(Debug, Clone, Copy)]
pub struct OutlineRequest<'a> {
    /// A stage's name or number; the last stage if none is given.
    pub target: Option<&'a str>,
    /// `--build-arg`.
    pub build_args: &'a BTreeMap<String, String>,
    /// The predefined arguments (`TARGETPLATFORM` and the like) with their values.
    pub predefined: &'a BTreeMap<String, String>,
}

/// What a target uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The stage; empty if it has no name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the comment above it says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Build arguments, by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<OutlineArg>,
    /// Secrets, by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<OutlineSecret>,
    /// SSH agents, by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<OutlineSecret>,
    /// Cache mounts, by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<OutlineCache>,
    /// The text.
    pub sources: Sources,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above it says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its value, expanded; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Its ARG.
    pub location: Place,
}

/// A secret or an SSH agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineSecret {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The RUN that uses it.
    pub location: Place,
}

/// A cache mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineCache {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The RUN that uses it.
    pub location: Place,
}

/// An ARG as far as it is known.
#[derive(Debug, Clone)]
struct Known {
    arg: OutlineArg,
    /// The arguments that its value is made of.
    needs: BTreeSet<String>,
}

/// What one stage declares and uses.
#[derive(Debug, Clone, Default)]
struct Stage {
    known: BTreeMap<String, Known>,
    used: BTreeSet<String>,
    variables: BTreeMap<String, String>,
    secrets: BTreeMap<String, OutlineSecret>,
    ssh: BTreeMap<String, OutlineSecret>,
    cache: BTreeMap<String, OutlineCache>,
    /// The stages it stands on or copies from.
    needs: Vec<usize>,
}

/// Outlines a target of `file`; `None` if there is no such target. What cannot be expanded counts as empty: a build would say
/// so.
pub fn outline(file: &Dockerfile, request: OutlineRequest<'_>) -> Option<Outline> {
    let texts = file.stages();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let escape = file.directives.escape;
    let predefined = Stage { variables: request.predefined.clone(), ..Stage::default() };
    let mut globals = Reader { request, escape, globals: None, before: 0, stage: predefined };
    file.head().iter().for_each(|instruction| globals.read(instruction, &names));
    let globals = globals.stage;

    let mut stages: Vec<Stage> = Vec::with_capacity(texts.len());
    for (number, text) in texts.iter().enumerate() {
        stages.push(read_stage(text, request, escape, &globals, &stages, &names));
        if let Command::From(from) = &text.from.command
            && let Some(name) = &from.name
        {
            names.insert(name.name.clone(), number);
        }
    }

    let target = match request.target {
        None => texts.len().checked_sub(1)?,
        Some(name) => *names.get(&name.to_lowercase())?,
    };
    Some(collect(&stages, target, texts[target].from, &file.file))
}

fn read_stage(
    text: &StageText<'_>,
    request: OutlineRequest<'_>,
    escape: char,
    globals: &Stage,
    before: &[Stage],
    names: &BTreeMap<String, usize>,
) -> Stage {
    let mut stage = Stage { known: globals.known.clone(), ..Stage::default() };
    if let Command::From(from) = &text.from.command {
        let expand = |word: &Word| expand(escape, word, &globals.variables);
        let image = expand(&from.image);
        stage.used.extend(image.used);
        stage.used.extend(from.platform.as_ref().map(expand).unwrap_or_default().used);
        if let Some(&base) = names.get(&image.text) {
            stage.needs.push(base);
            stage.variables.clone_from(&before[base].variables);
        }
    }
    let mut reader = Reader { request, escape, globals: Some(globals), before: before.len(), stage };
    text.body.iter().for_each(|instruction| reader.read(instruction, names));
    reader.stage
}

fn expand(escape: char, word: &Word, variables: &BTreeMap<String, String>) -> Expanded {
    Rules::words(escape).expand(&word.value, variables).unwrap_or_default()
}

/// Goes through the instructions of a stage, or of what stands before the first.
struct Reader<'a> {
    request: OutlineRequest<'a>,
    escape: char,
    /// None before the first FROM.
    globals: Option<&'a Stage>,
    /// How many stages there are before this one.
    before: usize,
    stage: Stage,
}

impl Reader<'_> {
    fn read(&mut self, instruction: &Instruction, names: &BTreeMap<String, usize>) {
        match &instruction.command {
            Command::Arg(_) => self.arg(instruction),
            Command::Env(pairs) => {
                let values: Vec<(String, String)> = pairs
                    .iter()
                    .map(|pair| (self.expand(&pair.name).text, self.expand(&pair.value).text))
                    .collect();
                self.stage.variables.extend(values);
            }
            Command::Copy(copy) => {
                let from = copy.from.as_ref().map(|word| self.expand(word).text.to_lowercase());
                if let Some(from) = from {
                    let number = from.parse().ok().filter(|number| *number < self.before);
                    self.stage.needs.extend(names.get(&from).copied().or(number));
                }
            }
            Command::Run(_) => self.run(instruction, names),
            _ => {}
        }
    }

    fn expand(&self, word: &Word) -> Expanded {
        expand(self.escape, word, &self.stage.variables)
    }

    fn arg(&mut self, instruction: &Instruction) {
        let Command::Arg(names) = &instruction.command else { return };
        for declared in names {
            let name = &declared.name.value;
            let given = self.request.build_args.get(name);
            let inherited = self.globals.and_then(|globals| globals.variables.get(name));
            if self.globals.is_some() {
                self.stage.used.insert(name.clone());
            }
            let mut needs = BTreeSet::new();
            let value = match (given, &declared.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expanded = self.expand(default);
                    needs.extend(expanded.used);
                    Some(expanded.text)
                }
                (None, None) => None,
            };
            if let (None, Some(inherited)) = (&value, inherited) {
                // The global declaration is the one to tell of.
                self.stage.variables.insert(name.clone(), inherited.clone());
                continue;
            }
            // A value made of its own former value needs what that needed.
            if needs.remove(name)
                && let Some(former) = self.stage.known.get(name)
            {
                needs.extend(former.needs.iter().cloned());
            }
            if let Some(value) = &value {
                self.stage.variables.insert(name.clone(), value.clone());
            }
            let arg = OutlineArg {
                name: name.clone(),
                description: declared.doc.clone().unwrap_or_default(),
                value: value.unwrap_or_default(),
                location: Place::new(instruction.lines),
            };
            self.stage.known.insert(name.clone(), Known { arg, needs });
        }
    }

    fn run(&mut self, instruction: &Instruction, names: &BTreeMap<String, usize>) {
        let Command::Run(run) = &instruction.command else { return };
        let place = Place::new(instruction.lines);
        for flag in &run.mounts {
            let expanded = flag.expanded(|word| Ok::<_, std::convert::Infallible>(self.expand(word).text));
            let Ok(mount) = expanded.map_or_else(|never| match never {}, |flag| flag.mount()) else {
                continue;
            };
            let needed =
                |name: String| OutlineSecret { name, required: mount.required, location: place.clone() };
            match mount.kind {
                MountType::Secret => {
                    let file = mount.target.rsplit('/').next().unwrap_or_default();
                    let id = [&mount.id, &mount.source, file].into_iter().find(|id| !id.is_empty());
                    let id = id.unwrap_or_default().to_owned();
                    add(&mut self.stage.secrets, id.clone(), needed(id));
                }
                MountType::Ssh => {
                    let id = if mount.id.is_empty() { "default".to_owned() } else { mount.id };
                    add(&mut self.stage.ssh, id.clone(), needed(id));
                }
                MountType::Cache => {
                    let id = if mount.id.is_empty() { mount.target } else { mount.id };
                    let cache = OutlineCache { id: id.clone(), location: place.clone() };
                    self.stage.cache.entry(id).or_insert(cache);
                }
                MountType::Bind | MountType::Tmpfs => {}
            }
            self.stage.needs.extend(names.get(&mount.from.to_lowercase()).copied());
        }
    }
}

/// Takes note of a secret; one that must be there counts for more.
fn add(map: &mut BTreeMap<String, OutlineSecret>, id: String, secret: OutlineSecret) {
    if secret.required || !map.contains_key(&id) {
        map.insert(id, secret);
    }
}

/// All that the stage `target` and those it needs use.
fn collect(stages: &[Stage], target: usize, from: &Instruction, file: &SourceFile) -> Outline {
    let (name, description) = match &from.command {
        Command::From(from) => {
            (from.name.as_ref().map(|name| name.name.clone()), from.doc.clone().unwrap_or_default())
        }
        _ => (None, String::new()),
    };
    let mut outline = Outline {
        name: name.unwrap_or_default(),
        description,
        args: Vec::new(),
        secrets: Vec::new(),
        ssh: Vec::new(),
        cache: Vec::new(),
        sources: Sources::of(file),
    };
    let mut told: [HashSet<&str>; 4] = Default::default();
    let mut visited = HashSet::new();
    let mut waiting = vec![target];
    while let Some(number) = waiting.pop() {
        if !visited.insert(number) {
            continue;
        }
        let stage = &stages[number];
        let mut used: Vec<&str> = stage.used.iter().map(String::as_str).collect();
        while let Some(name) = used.pop() {
            if let Some(known) = stage.known.get(name)
                && told[0].insert(name)
            {
                outline.args.push(known.arg.clone());
                used.extend(known.needs.iter().map(String::as_str));
            }
        }
        for (id, secret) in &stage.secrets {
            if told[1].insert(id) {
                outline.secrets.push(secret.clone());
            }
        }
        for (id, agent) in &stage.ssh {
            if told[2].insert(id) {
                outline.ssh.push(agent.clone());
            }
        }
        for (id, cache) in &stage.cache {
            if told[3].insert(id) {
                outline.cache.push(cache.clone());
            }
        }
        waiting.extend(stage.needs.iter().rev());
    }
    outline.args.sort_by_key(|arg| arg.location.line());
    outline.secrets.sort_by_key(|secret| secret.location.line());
    outline.ssh.sort_by_key(|agent| agent.location.line());
    outline.cache.sort_by_key(|cache| cache.location.line());
    outline
}

impl Outline {
    /// As tables for people.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.name.is_empty() || !self.description.is_empty() {
            let name = if self.name.is_empty() { "(default)" } else { &self.name };
            let mut rows = vec![["TARGET:", name]];
            if !self.description.is_empty() {
                rows.push(["DESCRIPTION:", &self.description]);
            }
            parts.push(table(&rows, 1));
        }
        if !self.args.is_empty() {
            let mut rows = vec![["BUILD ARG", "VALUE", "DESCRIPTION"]];
            rows.extend(self.args.iter().map(|a| [a.name.as_str(), &a.value, &a.description]));
            parts.push(table(&rows, 3));
        }
        for (title, list) in [("SECRET", &self.secrets), ("SSH", &self.ssh)] {
            if !list.is_empty() {
                let mut rows = vec![[title, "REQUIRED"]];
                let required = |needed: bool| if needed { "true" } else { "" };
                rows.extend(list.iter().map(|secret| [secret.name.as_str(), required(secret.required)]));
                parts.push(table(&rows, 3));
            }
        }
        parts.join("\n")
    }

    /// As BuildKit's `result.json`.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers are always JSON")
    }
}
