//! `--filter` of `kiln prune` and `kiln du`, in the forms of `docker builder prune` and `docker buildx du`.

use std::time::Duration;

use kiln_cache::{RecordKind, Selection, Trait};

use crate::request::UsageError;

const EXPECTED: &str = "expected until=AGE, unused-for=AGE, id=ID, type=TYPE, description=TEXT, inuse, mutable, \
                        immutable, shared or private";

/// What filters say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordFilter {
    /// Which records.
    pub(crate) selection: Selection,
    /// Only what was not used for so long.
    pub(crate) unused_for: Option<Duration>,
}

/// Understands filters. All of them are to hold; of several with one key that is not negated, one is enough.
pub(crate) fn record_filter(filters: &[String]) -> Result<RecordFilter, UsageError> {
    let mut understood = RecordFilter::default();
    let mut ids = Vec::new();
    let mut kinds = Vec::new();
    for filter in filters {
        let wrong = |why: &str| UsageError::value("filter", filter, why);
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        // buildkitd's own form, `type==regular`, is understood too.
        let (key, negated) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
        let value = value.strip_prefix('=').unwrap_or(value);
        let flag = |value: &str| match value {
            "" | "true" | "1" => Ok(negated),
            "false" | "0" => Ok(!negated),
            _ => Err(wrong("expected true or false")),
        };
        let selection = std::mem::take(&mut understood.selection);
        understood.selection = match key {
            "until" | "unused-for" => {
                let age = humantime::parse_duration(value);
                understood.unused_for = Some(age.map_err(|_| wrong("expected a duration like 24h"))?);
                selection
            }
            "inuse" => selection.and(flag(value)?, [Trait::InUse]),
            "shared" => selection.and(flag(value)?, [Trait::Shared]),
            "private" => selection.and(!flag(value)?, [Trait::Shared]),
            "mutable" => selection.and(flag(value)?, [Trait::Mutable]),
            "immutable" => selection.and(!flag(value)?, [Trait::Mutable]),
            "description" if !value.is_empty() => selection.and(negated, [Trait::About(value.to_owned())]),
            "id" if negated => selection.and(true, [Trait::Id(value.to_owned())]),
            "id" if !value.is_empty() => {
                ids.push(Trait::Id(value.to_owned()));
                selection
            }
            "type" if negated => selection.and(true, kinds_of(filter, value)?),
            "type" => {
                kinds.extend(kinds_of(filter, value)?);
                selection
            }
            _ => return Err(wrong(EXPECTED)),
        };
    }
    for one_of in [ids, kinds] {
        if !one_of.is_empty() {
            understood.selection = std::mem::take(&mut understood.selection).and(false, one_of);
        }
    }
    Ok(understood)
}

/// BuildKit's types, and those that kiln keeps with others of its own.
fn kinds_of(filter: &str, name: &str) -> Result<Vec<Trait>, UsageError> {
    let kinds = match name {
        "regular" | "frontend" => vec![RecordKind::Layer],
        "internal" => vec![RecordKind::Blob],
        "exec.cachemount" => vec![RecordKind::Mount],
        "source.local" => vec![RecordKind::Stat],
        // A checkout is a layer like others, and is not told from them.
        "source.git.checkout" => Vec::new(),
        _ => {
            let why = "expected type=regular, internal, exec.cachemount or source.local";
            return Err(UsageError::value("filter", filter, why));
        }
    };
    Ok(kinds.into_iter().map(Trait::Kind).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filters: &[&str]) -> Result<RecordFilter, UsageError> {
        record_filter(&filters.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn filters_are_read_as_docker_reads_them() {
        let kinds = |kinds: &[RecordKind]| Selection::kinds(kinds.iter().copied());
        let selection = |filters: &[&str]| read(filters).unwrap().selection;
        assert_eq!(
            selection(&["type=regular", "type==internal"]),
            kinds(&[RecordKind::Layer, RecordKind::Blob])
        );
        assert_eq!(
            selection(&["type!=exec.cachemount"]),
            Selection::default().and(true, [Trait::Kind(RecordKind::Mount)])
        );
        assert_eq!(selection(&["id=abc"]), Selection::id("abc"));
        assert_eq!(selection(&["inuse"]), selection(&["inuse=true"]));
        assert_eq!(selection(&["private"]), selection(&["shared=false"]));
        assert_eq!(selection(&["immutable"]), selection(&["mutable=0"]));
        assert_eq!(read(&["until=24h"]).unwrap().unused_for, Some(Duration::from_secs(86_400)));
        assert_eq!(read(&["unused-for=10m"]).unwrap().unused_for, Some(Duration::from_secs(600)));
        for wrong in ["", "until=soon", "colour=red", "type=none", "inuse=maybe", "id="] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
