//! Annotations as BuildKit and buildx have them: of manifests, of an index, and of the descriptors that name them.

use std::collections::BTreeMap;

use kiln_core::Platform;

/// What an annotation stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// An image's manifest.
    Manifest,
    /// The manifest's descriptor in the index or layout.
    ManifestDescriptor,
    /// The index of several platforms.
    Index,
    /// The index's descriptor in a layout.
    IndexDescriptor,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Annotation {
    level: Level,
    /// Of this platform's manifest alone.
    platform: Option<Platform>,
    key: String,
    value: String,
}

/// Annotations in the order given; of two with one key the later counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Annotations(Vec<Annotation>);

impl Annotations {
    /// Reads `--annotation`: `KEY=VALUE`, or `LEVEL[PLATFORM],…:KEY=VALUE`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn of_flags(typed: &[String]) -> Result<Self, String> {
        let mut all = Self::default();
        for text in typed {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            // A key may have a colon; a level is one of few words.
            let places = name.split_once(':').and_then(|(levels, key)| {
                let places: Option<Vec<_>> = levels.split(',').map(|level| place(level.trim())).collect();
                Some((places?, key))
            });
            let (places, key) = places.unwrap_or_else(|| (vec![Ok((Level::Manifest, None))], name));
            for place in places {
                all.add(place?, key, value)?;
            }
        }
        Ok(all)
    }

    /// Takes the attribute of an output if it is one: `annotation-manifest[linux/amd64].KEY`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn take(&mut self, attribute: &str, value: &str) -> Result<bool, String> {
        let Some(rest) = attribute.strip_prefix("annotation") else { return Ok(false) };
        let Some((name, key)) = rest.split_once('.') else { return Ok(false) };
        // A platform may have a point: `[windows(10.0)/amd64]`.
        let (name, key) = match (name.contains('['), name.contains(']'), rest.split_once("].")) {
            (true, false, Some((name, key))) => (format!("{name}]"), key),
            _ => (name.to_owned(), key),
        };
        let name = match name.strip_prefix('-') {
            Some(level) => level.to_owned(),
            None if name.is_empty() || name.starts_with('[') => format!("manifest{name}"),
            None => return Ok(false),
        };
        let Some(place) = place(&name) else { return Ok(false) };
        self.add(place?, key, value)?;
        Ok(true)
    }

    fn add(
        &mut self,
        (level, platform): (Level, Option<Platform>),
        key: &str,
        value: &str,
    ) -> Result<(), String> {
        if key.is_empty() {
            return Err(format!("an annotation with the value `{value}` has no key"));
        }
        self.0.push(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() });
        Ok(())
    }

    /// These, and `later` over them.
    pub(crate) fn with(&self, later: &Self) -> Self {
        Self(self.0.iter().chain(&later.0).cloned().collect())
    }

    /// The annotations of `level`, for a platform's documents those that are for it or for all.
    pub(crate) fn at(&self, level: Level, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let meant = self.0.iter().filter(|annotation| {
            annotation.level == level
                && (annotation.platform.is_none() || annotation.platform.as_ref() == platform)
        });
        meant.map(|annotation| (annotation.key.clone(), annotation.value.clone())).collect()
    }
}

/// `manifest`, `index-descriptor`, `manifest[linux/arm64]`; `None` if it is no level at all.
fn place(text: &str) -> Option<Result<(Level, Option<Platform>), String>> {
    let (name, platform) = match text.split_once('[') {
        Some((name, platform)) => (name, Some(platform.strip_suffix(']')?)),
        None => (text, None),
    };
    let level = match name {
        "manifest" => Level::Manifest,
        "manifest-descriptor" => Level::ManifestDescriptor,
        "index" => Level::Index,
        "index-descriptor" => Level::IndexDescriptor,
        _ => return None,
    };
    let platform = match platform.map(str::parse::<Platform>).transpose() {
        Ok(platform) => platform,
        Err(error) => return Some(Err(error.to_string())),
    };
    if platform.is_some() && matches!(level, Level::Index | Level::IndexDescriptor) {
        return Some(Err(format!("an annotation of the {name} is for no platform alone")));
    }
    Some(Ok((level, platform)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(typed: &[&str]) -> Result<Annotations, String> {
        Annotations::of_flags(&typed.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn shown(annotations: &Annotations, level: Level, platform: &str) -> String {
        let at = annotations.at(level, Some(&platform.parse().unwrap()));
        at.iter().map(|(key, value)| format!("{key}={value};")).collect()
    }

    #[test]
    fn flags_say_where_an_annotation_stands() {
        let all = flags(&["a=1", "index,manifest:b=2", "manifest[linux/arm64]:c=3", "org:d=4", "e"]).unwrap();
        assert_eq!(shown(&all, Level::Manifest, "linux/amd64"), "a=1;b=2;e=;org:d=4;");
        assert_eq!(shown(&all, Level::Manifest, "linux/arm64"), "a=1;b=2;c=3;e=;org:d=4;");
        assert_eq!(shown(&all, Level::Index, "linux/arm64"), "b=2;");
        assert!(flags(&["index[linux/amd64]:a=1"]).is_err());
        assert!(flags(&["=1"]).is_err());
    }

    #[test]
    fn attributes_say_so_too() {
        let mut all = Annotations::default();
        for key in [
            "annotation.org.x",
            "annotation-manifest.m",
            "annotation-manifest-descriptor[linux/amd64].d",
            "annotation-index.i",
            "annotation-index-descriptor.j",
            "annotation[linux/arm64].p",
        ] {
            assert!(all.take(key, "v").unwrap(), "{key}");
        }
        for key in ["annotations.x", "annotation-other.x", "compression", "annotation"] {
            assert!(!all.take(key, "v").unwrap(), "{key}");
        }
        assert_eq!(shown(&all, Level::Manifest, "linux/amd64"), "m=v;org.x=v;");
        assert_eq!(shown(&all, Level::Manifest, "linux/arm64"), "m=v;org.x=v;p=v;");
        assert_eq!(shown(&all, Level::ManifestDescriptor, "linux/amd64"), "d=v;");
        assert_eq!(shown(&all, Level::IndexDescriptor, "linux/amd64"), "j=v;");
    }
}
