//! Past builds: a file each, so that a build that only repeats writes one small file and no row.
//!
//! ```text
//! history/<milliseconds since 1970>-<id>    a line that says what the build was, then all that it told
//! ```
//!
//! They are not synced: after a power cut a file may be empty, and then it is no build.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::session::SharedSession;
use crate::store::{Store, StoreError};

/// As many builds as are kept.
const KEPT: usize = 200;

/// The past builds of a store.
#[derive(Debug, Clone)]
pub struct PastBuilds {
    directory: PathBuf,
    session: SharedSession,
}

/// A build of the past, without what it told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastBuild {
    /// Its name.
    pub id: String,
    /// When it began, in milliseconds since 1970.
    pub started: u64,
    /// The line that says what it was.
    pub about: String,
    file: PathBuf,
}

impl Store {
    /// The past builds.
    pub fn past_builds(&self) -> PastBuilds {
        PastBuilds { directory: self.root().join("history"), session: self.session().clone() }
    }
}

impl PastBuilds {
    /// Keeps a build, and no more of the oldest than there is room for. `about` is one line.
    pub fn put(&self, id: &str, started: u64, about: &str, told: &[u8]) -> Result<(), StoreError> {
        let write = || {
            fs::create_dir_all(&self.directory)?;
            let half = self.session.scratch_path()?;
            let mut file = File::create_new(&half)?;
            file.write_all(about.replace('\n', " ").as_bytes())?;
            file.write_all(b"\n")?;
            file.write_all(told)?;
            fs::rename(&half, self.directory.join(format!("{started:015}-{id}")))?;
            let mut names = self.names()?;
            while names.len() > KEPT {
                let _ = fs::remove_file(&names.remove(0).2);
            }
            Ok(())
        };
        write().map_err(StoreError::io("keep a build in", &self.directory))
    }

    /// All builds, the newest first. What is no build is passed over.
    pub fn list(&self) -> Result<Vec<PastBuild>, StoreError> {
        let names = self.names().map_err(StoreError::io("list", &self.directory))?;
        let builds = names.into_iter().rev().filter_map(|(started, id, file)| {
            let mut about = String::new();
            BufReader::new(File::open(&file).ok()?).read_line(&mut about).ok()?;
            let about = about.strip_suffix('\n')?.to_owned();
            Some(PastBuild { id, started, about, file })
        });
        Ok(builds.collect())
    }

    /// All that a build told.
    pub fn told(&self, build: &PastBuild) -> Result<Vec<u8>, StoreError> {
        let read = || {
            let mut reader = BufReader::new(File::open(&build.file)?);
            reader.skip_until(b'\n')?;
            let mut told = Vec::new();
            reader.read_to_end(&mut told)?;
            Ok(told)
        };
        read().map_err(StoreError::io("read", &build.file))
    }

    /// Forgets a build. One that is gone is no error.
    pub fn remove(&self, build: &PastBuild) -> Result<(), StoreError> {
        match fs::remove_file(&build.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &build.file)(error))
            }
            _ => Ok(()),
        }
    }

    /// The files, the oldest first.
    fn names(&self) -> io::Result<Vec<(u64, String, PathBuf)>> {
        let mut names = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if let Some((started, id)) = parse(&path) {
                names.push((started, id, path));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn parse(path: &Path) -> Option<(u64, String)> {
    let (started, id) = path.file_name()?.to_str()?.split_once('-')?;
    Some((started.parse().ok()?, id.to_owned()))
}
