//! Which of the names that a step left in its upper directory are changes.

use std::collections::HashSet;
use std::path::Path;

use super::super::entry::{self, Entry, Kind};
use super::super::view::View;
use super::scan::Scanned;

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Listed, as it stands in the tree.
    Keep,
    /// Not listed, and removed from the tree.
    Drop,
    /// Listed as a whiteout, which the tree does not have yet.
    Make,
}

/// Decides from the leaves up: a directory is listed if it has changed itself or holds something listed.
pub(super) fn decide(scanned: &[Scanned<'_>], below: &View, stubs: &HashSet<&Path>) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Keep; scanned.len()];
    let mut holding: HashSet<&Path> = HashSet::new();
    for (index, scanned) in scanned.iter().enumerate().rev() {
        let path = scanned.entry.path.as_path();
        let parent = entry::split(path).map(|(parent, _)| parent);
        let verdict = if scanned.entry.is_dir() {
            directory(scanned, holding.contains(path), stubs)
        } else {
            name(scanned, stubs)
        };
        verdicts[index] = verdict;
        if verdict != Verdict::Drop {
            holding.extend(parent);
        }
    }
    // The root is in no tar: it is listed if a mount has to know that it changed.
    if let Some(root) = scanned.first() {
        let same = root.entry.attributes.same_but_mtime(&below.root().entry().attributes);
        verdicts[0] = if same { Verdict::Drop } else { Verdict::Keep };
    }
    verdicts
}

fn directory(scanned: &Scanned<'_>, holds: bool, stubs: &HashSet<&Path>) -> Verdict {
    let below = scanned.below.map(|found| found.entry());
    let same = match below {
        Some(below) => below.is_dir() && below.attributes.same_but_mtime(&scanned.entry.attributes),
        None => stubs.contains(scanned.entry.path.as_path()),
    };
    if same && !holds { Verdict::Drop } else { Verdict::Keep }
}

fn name(scanned: &Scanned<'_>, stubs: &HashSet<&Path>) -> Verdict {
    let entry = &scanned.entry;
    match (&entry.kind, scanned.below) {
        _ if scanned.socket && scanned.below.is_some() => Verdict::Make,
        _ if scanned.socket => Verdict::Drop,
        (Kind::Whiteout, Some(_)) if scanned.in_tree => Verdict::Keep,
        (Kind::Whiteout, Some(_)) => Verdict::Make,
        // There is nothing to take away; a mount would show it.
        (Kind::Whiteout, None) => Verdict::Drop,
        (kind, Some(below)) => {
            let below = below.target();
            if *kind == below.kind
                && in_time(entry, below)
                && entry.attributes.same_but_mtime(&below.attributes)
            {
                Verdict::Drop
            } else {
                Verdict::Keep
            }
        }
        (Kind::File(content), None) if content.size == 0 && stubs.contains(entry.path.as_path()) => {
            Verdict::Drop
        }
        (_, None) => Verdict::Keep,
    }
}

/// Whether the times of two files with the same content tell them apart. An empty file that was touched again within its
/// second is the same: BuildKit's differ has it so, and a tar cannot say more.
fn in_time(entry: &Entry, below: &Entry) -> bool {
    let (ours, theirs) = (entry.attributes.mtime, below.attributes.mtime);
    let empty = matches!(&entry.kind, Kind::File(content) if content.size == 0);
    ours == theirs || (empty && ours.seconds == theirs.seconds)
}
