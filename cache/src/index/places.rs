//! Places: the repositories that a blob was pulled from or pushed to. A registry takes a blob over from there.

use kiln_core::Digest;

use super::{Index, IndexError};

/// The namespace of places: digest → repositories, the newest first, one a line.
const PLACES: &str = "places";
/// More than these are not worth asking for.
const MOST: usize = 4;

impl Index {
    /// The repositories (`registry/path`) that had the blob, the newest first.
    pub fn places(&self, blob: &Digest) -> Result<Vec<String>, IndexError> {
        let fact = self.fact(PLACES, blob.as_bytes())?;
        let text = fact.map(|fact| String::from_utf8_lossy(&fact.value).into_owned()).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Remembers that `repository` has the blob.
    pub fn add_place(&self, blob: &Digest, repository: &str) -> Result<(), IndexError> {
        let mut places = self.places(blob)?;
        if places.first().is_some_and(|first| first == repository) {
            return Ok(());
        }
        places.retain(|place| place != repository);
        places.insert(0, repository.to_owned());
        places.truncate(MOST);
        self.set_fact(PLACES, blob.as_bytes(), places.join("\n").as_bytes(), None)
    }
}
