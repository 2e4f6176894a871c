use std::fs;
use std::process::Command;

use kiln_cache::{PrunePolicy, RecordKind, Store};

use crate::world::{World, key, layer, layer_dir, put, remember};

/// What `du` says of the store, in bytes.
fn du(store: &Store) -> u64 {
    let out = Command::new("du").args(["-s", "--block-size=1"]).arg(store.root()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn furnished(world: &World) -> Store {
    let store = world.open();
    let one = layer(&store, "one", 300_000);
    let two = layer(&store, "two", 10);
    let link = layer_dir(&store, &two).join("tree/linked");
    fs::hard_link(layer_dir(&store, &one).join("tree/file"), link).unwrap();
    std::os::unix::fs::symlink("nowhere", layer_dir(&store, &two).join("tree/link")).unwrap();
    remember(&store, "one", &[one]);
    remember(&store, "two", &[one, two]);
    put(&store, &[1; 70_000]);
    fs::write(store.cache_mount(&key("mount")).unwrap().join("file"), vec![2; 40_000]).unwrap();
    let table = kiln_cache::StatTableBuilder::new(crate::world::now());
    store.index().set_stat_table(&key("context"), &table).unwrap();
    fs::write(store.root().join("stray"), vec![3; 20_000]).unwrap();
    fs::write(store.root().join("layers/stray"), vec![3; 20_000]).unwrap();
    store
}

#[test]
fn the_sum_is_what_du_says() {
    let world = World::new();
    let store = furnished(&world);
    let scratch = store.scratch_dir().unwrap();
    fs::write(scratch.path().join("half"), vec![4; 30_000]).unwrap();
    let usage = store.disk_usage().unwrap();
    assert_eq!(usage.total(), du(&store));
    let kinds: Vec<RecordKind> = usage.by_kind().into_keys().collect();
    assert_eq!(kinds, [RecordKind::Layer, RecordKind::Blob, RecordKind::Mount, RecordKind::Stat]);
    assert!(usage.scratch >= 30_000 && usage.index > 0);
}

#[test]
fn what_prune_says_it_freed_is_gone() {
    let world = World::new();
    drop(furnished(&world));
    let store = world.open();
    let db = || store.disk_usage().unwrap().index;
    let (before, db_before) = (du(&store), db());
    let freed = store.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
    assert_eq!(freed.bytes, before - db_before - (du(&store) - db()));
    assert!(freed.bytes > 400_000, "{freed:?}");
}
