//! What a container shows over its root: `-v`, `--mount`, `--tmpfs`, and VOLUME of its image.

mod wanted;

use std::path::PathBuf;

use kiln_executor::sandbox::{Graft, GraftSource};

use self::wanted::{Kind, Wanted, clean, long, short, tmpfs};
use super::config::MountPoint;
use super::volume::Fresh;
use crate::args::RunArgs;
use crate::error::CommandError;
use crate::request::UsageError;

/// The mounts of a container, and the volumes that were made for it and are empty yet.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) grafts: Vec<Graft>,
    pub(crate) points: Vec<MountPoint>,
    /// Data directory of a new volume, and the path whose content it begins with.
    pub(crate) fill: Vec<(PathBuf, String)>,
}

impl Mounts {
    /// What flags and image ask for. Makes missing directories, and volumes, which are `fresh` if nobody named them.
    ///
    /// # Errors
    /// A flag that cannot be understood, or a source that is missing.
    pub(crate) fn of(
        args: &RunArgs,
        image_volumes: impl IntoIterator<Item = String>,
        fresh: &mut Fresh<'_>,
    ) -> Result<Self, CommandError> {
        let mut mounts = Self::default();
        for text in &args.volumes {
            mounts.add(short(text)?, fresh)?;
        }
        for text in &args.keep.mounts {
            mounts.add(long(text)?, fresh)?;
        }
        for text in &args.tmpfs {
            mounts.add(tmpfs(text)?, fresh)?;
        }
        for target in image_volumes {
            if !mounts.points.iter().any(|point| point.target == clean(&target)) {
                mounts.add(Wanted::new(Kind::Volume(None), target), fresh)?;
            }
        }
        // A mount below another has to come after it.
        mounts.grafts.sort_by_key(|graft| graft.target.split('/').count());
        Ok(mounts)
    }

    /// Another container's mounts, where this one has none of its own.
    pub(crate) fn take_from(&mut self, other: &[MountPoint], read_only: bool) {
        for point in other.iter().filter(|point| point.kind != "tmpfs") {
            if self.points.iter().any(|own| own.target == point.target) {
                continue;
            }
            let point =
                MountPoint { anonymous: false, read_only: point.read_only || read_only, ..point.clone() };
            self.grafts.push(Graft {
                target: point.target.clone(),
                source: GraftSource::Path(PathBuf::from(&point.source)),
                read_only: point.read_only,
            });
            self.points.push(point);
        }
    }

    fn add(&mut self, wanted: Wanted, fresh: &mut Fresh<'_>) -> Result<(), CommandError> {
        let target = clean(&wanted.target);
        let wrong = |why: &str| CommandError::from(UsageError::value("volume", &wanted.target, why));
        if !target.starts_with('/') {
            return Err(wrong("the place in the container is not an absolute path"));
        }
        // What looks for processes there must not be led elsewhere (CVE-2019-19921); single files may be shown, as runc has it.
        let shown = ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"];
        let is_shown = target.strip_prefix("/proc/").is_some_and(|file| shown.contains(&file));
        if target == "/proc" || target.starts_with("/proc/") && !is_shown {
            return Err(wrong("the place in the container cannot be inside of /proc"));
        }
        if target == "/" {
            return Err(wrong("the place in the container cannot be its root"));
        }
        if self.points.iter().any(|point| point.target == target) {
            return Err(CommandError::Usage(format!("duplicate mount point: {target}")));
        }
        let mut point = MountPoint {
            kind: String::new(),
            name: String::new(),
            source: String::new(),
            target: target.clone(),
            read_only: wanted.read_only,
            anonymous: false,
        };
        let source = match wanted.kind {
            Kind::Bind(path, make) => {
                if !path.exists() {
                    if !make {
                        return Err(CommandError::Usage(format!(
                            "bind source path does not exist: {}",
                            path.display()
                        )));
                    }
                    let failed = |cause| CommandError::File {
                        verb: "make",
                        what: "volume",
                        path: path.clone(),
                        cause,
                    };
                    std::fs::create_dir_all(&path).map_err(failed)?;
                }
                "bind".clone_into(&mut point.kind);
                point.source = path.display().to_string();
                if wanted.alone { GraftSource::PathAlone(path) } else { GraftSource::Path(path) }
            }
            Kind::Volume(name) => {
                let volumes = fresh.volumes();
                let (volume, is_new) = volumes.create(name.as_deref(), wanted.labels, wanted.options)?;
                if is_new && name.is_none() {
                    fresh.add(&volume.name);
                }
                let data = volumes.place(&volume);
                if !data.is_dir() {
                    return Err(CommandError::Usage(format!(
                        "volume {} stands for a directory that is not there: {}",
                        volume.name,
                        data.display()
                    )));
                }
                point.read_only |= volume.is_read_only();
                let is_empty = is_new || data.read_dir().is_ok_and(|mut entries| entries.next().is_none());
                if wanted.copy && is_empty {
                    self.fill.push((data.clone(), target.clone()));
                }
                "volume".clone_into(&mut point.kind);
                point.source = data.display().to_string();
                point.anonymous = volume.anonymous && name.is_none();
                point.name = volume.name;
                GraftSource::Path(data)
            }
            Kind::Tmpfs { size, mode, no_exec, no_suid } => {
                "tmpfs".clone_into(&mut point.kind);
                GraftSource::Tmpfs { size, mode, no_exec, no_suid }
            }
        };
        self.grafts.push(Graft { target, source, read_only: point.read_only });
        self.points.push(point);
        Ok(())
    }
}
