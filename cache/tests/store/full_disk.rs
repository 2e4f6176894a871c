use std::io::Write as _;
use std::path::{Path, PathBuf};

use kiln_cache::{PrunePolicy, Store};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::world::{asked, layer, open, remember};

/// A memory file system of 4 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: &Path) -> Result<Self, rustix::io::Errno> {
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), c"size=4m")?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn fill(store: &Store) {
    let mut filler = std::fs::File::create(store.root().join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_full_disk_is_an_error_and_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let disk = match SmallDisk::new(dir.path()) {
        Ok(disk) => disk,
        Err(why) => {
            println!("skipped: no tmpfs can be mounted here: {why}");
            return;
        }
    };
    let store = open(&disk.0.join("store"), "boot 1");
    let big = layer(&store, "big", 1 << 20);
    remember(&store, "before", &[big]);
    assert!(asked(&store, "before").is_some());
    fill(&store);

    {
        let mut writer = store.blobs().writer().unwrap();
        let failed = writer.write_all(&[7; 1 << 20]).is_err() || writer.commit(None).is_err();
        assert!(failed, "the disk was not full");
    }
    assert_eq!(std::fs::read_dir(store.root().join("blobs/sha256")).unwrap().count(), 0);
    let whole = kiln_core::Snapshot { layers: vec![big] };
    let many: Vec<_> = std::iter::repeat_n(big, 2000).collect();
    let written = store.index().remember(None, &crate::world::key("full"), &many, &whole);
    assert!(written.is_err(), "the index found room on a full disk");
    assert_eq!(asked(&store, "before"), Some(vec![big]));
    drop(store);

    let store = open(&disk.0.join("store"), "boot 1");
    let freed = store.prune(&PrunePolicy::default()).unwrap();
    assert!(freed.bytes >= 1 << 20, "{freed:?}");
    assert_eq!(asked(&store, "before"), None);
    assert!(store.fsck(false).unwrap().damaged.is_empty());
    let again = layer(&store, "again", 1000);
    remember(&store, "after", &[again]);
    assert_eq!(asked(&store, "after"), Some(vec![again]));
}
