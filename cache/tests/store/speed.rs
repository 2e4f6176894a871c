//! Times of the path that a build takes which only repeats. `cargo nextest run --release -p kiln-cache speed --no-capture
//! --run-ignored all` prints them.

use std::time::{Duration, Instant, UNIX_EPOCH};

use kiln_cache::{FileStat, StatTableBuilder};
use kiln_core::{LayerId, Reference};

use crate::world::{World, asked, image, key, layer, remember};

/// The median of several times.
fn median(mut once: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let begin = Instant::now();
            once();
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
#[ignore = "prints times"]
fn no_op_path() {
    let world = World::new();
    let store = world.open();
    let layers: Vec<LayerId> = (0..20).map(|n| layer(&store, &format!("layer {n}"), 10)).collect();
    for n in 0..1000 {
        remember(&store, &format!("step {n}"), &layers);
    }
    let name: Reference = "app".parse().unwrap();
    store.index().set_image(Some(&name), &image(&layers)).unwrap();
    store.sync().unwrap();
    println!("remember          {:?}", median(|| remember(&store, "step", &layers)));
    println!(
        "sync, one row     {:?}",
        median(|| {
            remember(&store, "step", &layers);
            store.sync().unwrap();
        })
    );
    drop(store);
    println!("open and close    {:?}", median(|| drop(world.open())));
    println!(
        "open, ask, close  {:?}",
        median(|| {
            let store = world.open();
            assert!(asked(&store, "step 500").is_some());
        })
    );
    println!(
        "… and set image   {:?}",
        median(|| {
            let store = world.open();
            assert!(asked(&store, "step 500").is_some());
            store.index().set_image(Some(&name), &image(&layers)).unwrap();
        })
    );
    let store = world.open();
    println!("ask again         {:?}", median(|| assert!(asked(&store, "step 501").is_some())));
    println!(
        "blob of 5 bytes   {:?}",
        median(|| {
            let digest = store.blobs().put(b"hello").unwrap();
            store.blobs().remove(&digest).unwrap();
        })
    );
}

#[test]
#[ignore = "prints times"]
fn stat_index_by_size() {
    let world = World::new();
    let store = world.open();
    for count in [1_000_u64, 10_000, 100_000] {
        let files: Vec<(String, FileStat)> = (0..count)
            .map(|n| {
                let path = format!("packages/module-{}/src/component-{n}.ts", n / 50);
                (path, FileStat { dev: 1, inode: n, size: n, mtime: 1, ctime: 1 })
            })
            .collect();
        let build = || {
            let mut table = StatTableBuilder::new(UNIX_EPOCH + Duration::from_secs(1000));
            for (path, stat) in &files {
                table.insert(path.as_bytes(), stat, &key("content"));
            }
            store.index().set_stat_table(&key("context"), &table).unwrap();
        };
        println!("{count:7} files: store {:?}", median(build));
        println!("{count:7} files: load  {:?}", median(|| drop(store.index().stat_table(&key("context")))));
        let table = store.index().stat_table(&key("context")).unwrap();
        println!(
            "{count:7} files: find  {:?}",
            median(|| {
                for (path, stat) in &files {
                    assert!(table.content(path.as_bytes(), stat).is_some());
                }
            })
        );
    }
}
