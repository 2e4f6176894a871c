//! Behaviours that moby's tests of `docker run` and the programs of runtime-tools check, re-expressed: the names are theirs,
//! the rest is kiln's. A case is a few lines of `cases/*.txt`:
//!
//! ```text
//! # TestName: what else it is about
//! @ root                     for root alone
//! + file content             a file on the host, in a directory that is {} everywhere
//! $ run busybox echo x       a command of kiln, words as a shell has them
//! % logs name                the same, again and again until it does what is expected
//! > x                        a line of its output; \r is what it means; (no-eol) at its end: without a newline
//! ~ x                        its output has this somewhere
//! *                          its output is anything
//! [125]                      its exit code, if that is not 0
//! ! text                     what it says of a failure
//! ```

use std::time::{Duration, Instant};

use kiln_tests::Outcome;

use crate::world::World;

/// The files of cases.
pub(crate) const FILES: [(&str, &str); 8] = [
    ("process", include_str!("cases/process.txt")),
    ("rights", include_str!("cases/rights.txt")),
    ("files", include_str!("cases/files.txt")),
    ("volumes", include_str!("cases/volumes.txt")),
    ("network", include_str!("cases/network.txt")),
    ("limits", include_str!("cases/limits.txt")),
    ("life", include_str!("cases/life.txt")),
    ("mistakes", include_str!("cases/mistakes.txt")),
];

/// A case.
#[derive(Debug, Default)]
struct Case {
    title: String,
    root: bool,
    files: Vec<(String, String)>,
    steps: Vec<Step>,
}

/// A command and what is expected of it.
#[derive(Debug, Default)]
struct Step {
    words: Vec<String>,
    again: bool,
    stdout: String,
    anything: bool,
    contains: Vec<String>,
    says: Vec<String>,
    code: i32,
}

impl Step {
    fn holds(&self, outcome: &Outcome) -> bool {
        let stdout = outcome.stdout();
        let anything =
            self.anything || !self.contains.is_empty() || self.code == 125 && self.stdout.is_empty();
        outcome.code == self.code
            && (anything || stdout == self.stdout)
            && self.contains.iter().all(|text| stdout.contains(text))
            && self.says.iter().all(|text| outcome.stderr.contains(text))
            && !outcome.stderr.contains("panicked at")
    }
}

/// The titles of the cases of a file.
pub(crate) fn titles(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("# "))
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if mark == "#" {
            cases.push(Case { title: rest.to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a case begins with its title");
        match (mark, case.steps.last_mut()) {
            ("@", _) if rest == "root" => case.root = true,
            ("+", _) => {
                let (name, content) = rest.split_once(' ').expect("a name and content");
                case.files.push((name.to_owned(), content.replace("\\n", "\n")));
            }
            ("$" | "%", _) => {
                case.steps.push(Step { words: words(rest), again: mark == "%", ..Step::default() });
            }
            (">", Some(step)) => {
                let line = rest.replace("\\r", "\r").replace("\\t", "\t");
                match line.strip_suffix("(no-eol)") {
                    Some(line) => step.stdout.push_str(line),
                    None => step.stdout.push_str(&(line + "\n")),
                }
            }
            ("~", Some(step)) => step.contains.push(rest.to_owned()),
            ("!", Some(step)) => step.says.push(rest.to_owned()),
            ("*", Some(step)) => step.anything = true,
            (code, Some(step)) if code.starts_with('[') => {
                step.code = code.trim_matches(['[', ']']).parse().expect("an exit code");
            }
            _ => panic!("{}: `{line}`", case.title),
        }
    }
    cases
}

/// The words of a line; quotes of both kinds hold them together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), letter) if open == letter => quote = None,
            (None, ' ') => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

impl Case {
    /// What went otherwise than expected.
    fn fault(&self, world: &World, number: usize) -> Option<String> {
        let directory = format!("case{number}");
        world.write(&format!("{directory}/.keep"), "");
        for (name, content) in &self.files {
            world.write(&format!("{directory}/{name}"), content);
        }
        let here = world.path(&directory).display().to_string();
        for step in &self.steps {
            let words: Vec<String> = step.words.iter().map(|word| word.replace("{}", &here)).collect();
            let patience = Instant::now() + Duration::from_secs(10);
            let outcome = loop {
                let outcome = world.kiln(&words).run();
                if step.holds(&outcome) || !step.again || Instant::now() > patience {
                    break outcome;
                }
                std::thread::sleep(Duration::from_millis(20)); // what it asks for are files of other processes
            };
            if !step.holds(&outcome) {
                return Some(format!("{}: expected {step:?}: {outcome}\n\n", self.title));
            }
        }
        None
    }
}

#[track_caller]
fn perform(name: &str) {
    let (_, text) = FILES.iter().find(|(file, _)| *file == name).expect("a file of cases");
    let cases = cases(text);
    for world in World::each() {
        let mut faults = String::new();
        for (number, case) in cases.iter().enumerate().filter(|(_, case)| !case.root || !world.is_rootless())
        {
            faults.extend(case.fault(&world, number));
            world.tidy();
        }
        let who = if world.is_rootless() { "an ordinary user" } else { "root" };
        assert!(faults.is_empty(), "as {who}:\n{faults}");
    }
}

#[test]
fn processes() {
    perform("process");
}

#[test]
fn rights() {
    perform("rights");
}

#[test]
fn files() {
    perform("files");
}

#[test]
fn volumes() {
    perform("volumes");
}

#[test]
fn networks() {
    perform("network");
}

#[test]
fn limits() {
    perform("limits");
    remove_groups(&["kiln-cases/deep", "kiln-cases", "SHOULD_NOT_EXIST"]);
}

/// Parents that were asked for by name stay, as Docker's do.
fn remove_groups(parents: &[&str]) {
    let top = std::path::Path::new("/sys/fs/cgroup");
    let controllers = std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    for group in controllers.chain([top.to_owned()]) {
        for parent in parents {
            let _ = std::fs::remove_dir(group.join(parent)); // not every controller has it
        }
    }
}

#[test]
fn lives() {
    perform("life");
    remove_groups(&["kiln-gone"]);
}

#[test]
fn mistakes() {
    perform("mistakes");
}
