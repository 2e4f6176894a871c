//! Which records are meant: what `--filter` says.

use super::usage::{RecordKind, UsageRecord};

/// Which records of the store are meant: those that fulfil every condition. The default means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// What is asked of a record.
    pub conditions: Vec<Condition>,
}

/// What is asked of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// It has one of these.
    pub one_of: Vec<Trait>,
    /// It has none of them, instead.
    pub negated: bool,
}

/// What can be said of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trait {
    /// It is of this kind.
    Kind(RecordKind),
    /// Its id begins so.
    Id(String),
    /// What people know it by contains this.
    About(String),
    /// A running process uses it.
    InUse,
    /// An image with a name has it.
    Shared,
    /// It may still change: a cache mount, a stat index.
    Mutable,
}

impl Selection {
    /// Records of one of these kinds.
    pub fn kinds(kinds: impl IntoIterator<Item = RecordKind>) -> Self {
        Self::default().and(false, kinds.into_iter().map(Trait::Kind))
    }

    /// Records whose id begins so.
    pub fn id(prefix: impl Into<String>) -> Self {
        Self::default().and(false, [Trait::Id(prefix.into())])
    }

    /// The same, of which a record has also one of these, or, `negated`, none.
    #[must_use]
    pub fn and(mut self, negated: bool, one_of: impl IntoIterator<Item = Trait>) -> Self {
        self.conditions.push(Condition { one_of: one_of.into_iter().collect(), negated });
        self
    }

    /// Whether this record is meant.
    pub fn matches(&self, record: &UsageRecord) -> bool {
        self.conditions.iter().all(|condition| condition.holds(record))
    }

    /// Whether some records were chosen by what they are. Who only excludes some means the rest as if nothing was said.
    pub(super) fn chooses(&self) -> bool {
        self.conditions.iter().any(|condition| !condition.negated)
    }
}

impl Condition {
    fn holds(&self, record: &UsageRecord) -> bool {
        self.one_of.iter().any(|it| it.is_of(record)) != self.negated
    }
}

impl Trait {
    fn is_of(&self, record: &UsageRecord) -> bool {
        match self {
            Self::Kind(kind) => record.kind == *kind,
            // With or without the algorithm: `du` prints it, people copy the hexadecimal digits.
            Self::Id(prefix) => {
                let bare = record.id.split_once(':').map_or(record.id.as_str(), |(_, hex)| hex);
                record.id.starts_with(prefix) || bare.starts_with(prefix)
            }
            Self::About(text) => record.about.contains(text),
            Self::InUse => record.in_use,
            Self::Shared => record.shared,
            Self::Mutable => matches!(record.kind, RecordKind::Mount | RecordKind::Stat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_all_asked_and_each_is_content_with_one() {
        let record = UsageRecord {
            kind: RecordKind::Blob,
            id: "sha256:abcd".to_owned(),
            bytes: 0,
            created: 0,
            used: 0,
            in_use: true,
            shared: false,
            about: "pip cache".to_owned(),
        };
        let check = |selection: Selection, expected: bool| {
            assert_eq!(selection.matches(&record), expected, "{selection:?}");
        };
        let all = Selection::default;
        check(all(), true);
        check(Selection::kinds([RecordKind::Layer, RecordKind::Blob]), true);
        check(Selection::kinds([RecordKind::Layer]), false);
        check(all().and(true, [Trait::Kind(RecordKind::Mount)]), true);
        check(Selection::id("sha256:ab"), true);
        check(Selection::id("abc"), true);
        check(Selection::id("bcd"), false);
        check(Selection::kinds([RecordKind::Blob]).and(false, [Trait::Shared]), false);
        check(Selection::kinds([RecordKind::Blob]).and(false, [Trait::InUse]), true);
        check(all().and(false, [Trait::About("pip".to_owned())]).and(true, [Trait::Mutable]), true);
    }
}
