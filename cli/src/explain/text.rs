//! The explanation for people.

use super::reason::{Explained, File, FileState, Reason, Verdict};
use crate::progress::size;

/// As much of a value as is shown on a line.
const WIDTH: usize = 100;

/// The explanation of a build as lines.
pub(crate) fn text(explained: &Explained) -> String {
    let mut out = String::from("Why each step ran or did not");
    out.push_str(match explained.compared {
        true => ", compared with the build before:\n",
        false => " (nothing of this context, Dockerfile and target was built before):\n",
    });
    for step in &explained.steps {
        let word = match step.decision {
            Verdict::Run => "RUN",
            Verdict::Failed => "FAILED",
            Verdict::Cached | Verdict::SameContent | Verdict::NotNeeded => "CACHED",
            Verdict::NotReached => "-",
        };
        out.push_str(&format!("  {word:6}  {}\n", line(&step.name)));
        for reason in &step.reasons {
            match (reason, step.decision) {
                // Without anything to compare with, every step would say so.
                (Reason::NeverBuilt, _) => {}
                // A step that was made before from just this, although its last build was from something else.
                (_, Verdict::Cached | Verdict::NotNeeded) => {}
                _ => of_reason(reason, &mut out),
            }
        }
        if step.decision == Verdict::SameContent {
            out.push_str("            what it reads has the content of an earlier run\n");
        }
    }
    if let Some(first) = &explained.first
        && explained.compared
    {
        out.push_str(&format!("First step to run: {}\n", line(first)));
    }
    out
}

fn of_reason(reason: &Reason, out: &mut String) {
    let mut say = |text: &str| out.push_str(&format!("            {text}\n"));
    match reason {
        Reason::NeverBuilt => say("was never built here"),
        Reason::NewStep => say("is new: the build before had no such step"),
        Reason::Flag { flag } => say(&format!("because of {flag}")),
        Reason::Changed { part, old, new } => {
            let show = |value: &Option<String>| value.as_deref().map_or("(none)".to_owned(), quoted);
            say(&format!("{part}: {} -> {}", show(old), show(new)));
        }
        Reason::Source { old, new } => {
            say(&format!("what it fetches differs: {} -> {}", short(old), short(new)));
        }
        Reason::Files { from, files, count } => {
            say(&match count {
                0 => format!("files of the {from} changed"),
                1 => format!("a file of the {from} changed:"),
                n => format!("{n} files of the {from} changed:"),
            });
            of_files(files, *count, out);
        }
        Reason::Follows { step, files, count } => {
            say(&format!("follows from {}", line(step)));
            of_files(files, *count, out);
        }
        Reason::Collected => say("is as it was, but its result is gone from the store (pruned, or damaged)"),
        Reason::Unfinished => say("did not come to an end the last time"),
    }
}

fn of_files(files: &[File], count: usize, out: &mut String) {
    for file in files {
        let path = file.source.as_deref().unwrap_or(&file.path);
        let states = match (&file.old, &file.new) {
            (Some(old), Some(new)) => format!("{} -> {}", state(old), state(new)),
            (None, Some(new)) => format!("added, {}", state(new)),
            (Some(old), None) => format!("removed, was {}", state(old)),
            (None, None) => String::new(),
        };
        out.push_str(&format!("              {path}: {states}\n"));
    }
    if count > files.len() {
        out.push_str(&format!("              and {} more\n", count - files.len()));
    }
}

fn state(state: &FileState) -> String {
    let mut words = Vec::new();
    match (&state.digest, state.size) {
        (Some(digest), Some(bytes)) => words.extend([short(digest).to_owned(), size(bytes)]),
        _ => words.push(state.kind.clone()),
    }
    words.push(state.mode.clone());
    if state.owner != "0:0" {
        words.push(state.owner.clone());
    }
    words.join(" ")
}

/// Twelve digits of a hash, as Docker shows them.
fn short(hash: &str) -> &str {
    let digits = hash.find(':').map_or(0, |colon| colon + 1);
    hash.get(..digits + 12).unwrap_or(hash)
}

fn quoted(value: &str) -> String {
    format!("`{}`", line(value))
}

fn line(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let more = first.chars().count() > WIDTH || text.lines().nth(1).is_some();
    let mut shown: String = first.chars().take(WIDTH).filter(|c| !c.is_control()).collect();
    if more {
        shown.push('…');
    }
    shown
}
