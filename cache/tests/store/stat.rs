use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use kiln_cache::{FileStat, StatTable, StatTableBuilder};

use crate::world::{World, key};

/// The time at which the walks of the tests begin: one second after 1970.
const SECOND: i64 = 1_000_000_000;

fn stat(inode: u64, mtime: i64) -> FileStat {
    FileStat { dev: 1, inode, size: 10, mtime, ctime: mtime }
}

fn builder() -> StatTableBuilder {
    StatTableBuilder::new(UNIX_EPOCH + Duration::from_secs(100))
}

fn stored(builder: &StatTableBuilder) -> StatTable {
    let world = World::new();
    world.open().index().set_stat_table(&key("context"), builder).unwrap();
    world.open().index().stat_table(&key("context")).unwrap()
}

#[test]
fn a_file_is_known_while_its_stat_is_the_same() {
    let mut table = builder();
    let known = stat(7, SECOND / 3);
    table.insert(b"dir/file", &known, &key("content"));
    table.insert(b"other", &stat(8, SECOND / 3), &key("other content"));
    let table = stored(&table);
    assert_eq!(table.content(b"dir/file", &known), Some(key("content")));
    for changed in [
        FileStat { dev: 2, ..known },
        FileStat { inode: 8, ..known },
        FileStat { size: 11, ..known },
        FileStat { mtime: known.mtime + 1, ..known },
        FileStat { ctime: known.ctime + 1, ..known },
    ] {
        assert_eq!(table.content(b"dir/file", &changed), None, "{changed:?}");
    }
    assert_eq!(table.last_content(b"dir/file"), Some(key("content")));
    assert_eq!(table.content(b"dir/fil", &known), None);
    assert_eq!(table.len(), 2);
}

#[test]
fn a_file_that_changed_when_it_was_looked_at_is_not_known() {
    let began = 100 * SECOND;
    let mut table = builder();
    for (path, mtime, ctime) in [
        ("long before", began - SECOND / 3, began - SECOND / 3),
        ("within a tick", began - SECOND / 200, began - SECOND / 3),
        ("chmod within a tick", began - SECOND / 3, began - SECOND / 200),
        ("after", began + 1, 1),
        ("whole second, the one before", began - SECOND, began - SECOND),
        ("whole second, long before", began - 5 * SECOND, began - 5 * SECOND),
    ] {
        table.insert(path.as_bytes(), &FileStat { mtime, ctime, ..stat(1, 0) }, &key(path));
    }
    let table = stored(&table);
    let known = |path: &str| table.last_content(path.as_bytes()).is_some();
    assert!(known("long before") && known("whole second, long before"));
    for racy in ["within a tick", "chmod within a tick", "after", "whole second, the one before"] {
        assert!(!known(racy), "{racy}");
    }
}

#[test]
fn a_damaged_or_missing_table_is_empty() {
    let world = World::new();
    let store = world.open();
    assert!(store.index().stat_table(&key("none")).unwrap().is_empty());
    let mut table = builder();
    for n in 0..100_u64 {
        table.insert(format!("file {n}").as_bytes(), &stat(n, 1), &key("content"));
    }
    store.index().set_stat_table(&key("context"), &table).unwrap();
    let path = store.root().join("stat/1").join(key("context").hex());
    let sound = fs::read(&path).unwrap();
    for at in (0..sound.len()).step_by(97) {
        let mut flipped = sound.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(store.index().stat_table(&key("context")).unwrap().is_empty(), "byte {at}");
    }
    for length in [0, 1, 15, 16, 31, 32, 48, sound.len() - 1] {
        fs::write(&path, &sound[..length]).unwrap();
        assert!(store.index().stat_table(&key("context")).unwrap().is_empty(), "{length} bytes");
    }
    fs::write(&path, &sound).unwrap();
    assert_eq!(store.index().stat_table(&key("context")).unwrap().len(), 100);
}
