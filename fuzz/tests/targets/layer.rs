//! Image layers, unpacked into a store: whatever they say, nothing beside their own tree is touched.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use kiln_cache::{Limits, Manifest, OverlayXattrs, Store, StoreOptions};
use kiln_core::Snapshot;
use kiln_fuzz::{Campaign, Trace};

use crate::archive::{WORDS, repair, seeds};

const LIMITS: Limits = Limits { bytes: 1 << 20, members: 200 };

fn read(store: &Store, input: &[u8], trace: &mut Trace) {
    let tar = std::io::Cursor::new(input.to_vec());
    let layer = store.layers().unpack(tar, LIMITS).and_then(|unpacked| unpacked.commit(&Snapshot::default()));
    match layer {
        Ok(layer) => {
            trace.counted("entries", layer.manifest.entries().len());
            let encoded = layer.manifest.encode();
            let (again, _) = Manifest::decode(&encoded.bytes, &layer.id).unwrap();
            assert_eq!(again.entries(), layer.manifest.entries());
            // Everything that is in the tree is in the manifest, and the other way round.
            assert_eq!(
                count(layer.tree()),
                layer.manifest.entries().iter().filter(|entry| entry.path != Path::new("")).count()
            );
        }
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                trace.said(&error.to_string());
                cause = error.source();
            }
        }
    }
}

/// The names below a directory.
fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 0 }).sum()
}

#[test]
fn layers() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "untouched").unwrap();
    let options = StoreOptions {
        root: folder.path().join("store"),
        xattrs: OverlayXattrs::User,
        boot_id: "boot".to_owned(),
        clock: || UNIX_EPOCH,
    };
    let store = Store::open(options).unwrap();
    let to_outside = format!("{}/", outside.display());
    let far = "../".repeat(12) + &to_outside;
    let words: Vec<&str> = WORDS.iter().copied().chain([to_outside.as_str(), far.as_str()]).collect();
    Campaign::new("layer", seeds(), &words).repairing(repair).run(|input, trace| {
        read(&store, input, trace);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "something appeared outside");
        assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something appeared beside the store");
    });
}
