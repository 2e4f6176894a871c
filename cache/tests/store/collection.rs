use std::fs;
use std::time::Duration;

use kiln_cache::{Freed, PackedLayer, PrunePolicy, RecordKind, Selection, Store};
use kiln_core::{Compression, DiffId, Digest, LayerId, Snapshot};

use crate::world::{World, asked, has_layer, image, key, layer, layer_dir, put, remember, wait};

fn prune(store: &Store, policy: &PrunePolicy) -> Freed {
    store.prune(policy).unwrap()
}

#[test]
fn results_and_garbage_go_and_named_images_stay() {
    let world = World::new();
    let store = world.open();
    let [in_image, in_cache, garbage] = ["image", "cache", "garbage"].map(|name| layer(&store, name, 5000));
    remember(&store, "image", &[in_image]);
    remember(&store, "cache", &[in_image, in_cache]);
    store.index().set_image(Some(&"app".parse().unwrap()), &image(&[in_image])).unwrap();
    let freed = prune(&world.open(), &PrunePolicy::default());
    assert_eq!([in_image, in_cache, garbage].map(|id| has_layer(&store, &id)), [true, false, false]);
    assert_eq!((asked(&store, "image"), asked(&store, "cache")), (Some(vec![in_image]), None));
    assert_eq!(freed.records.len(), 2);
    assert!(store.index().image(&"app".parse().unwrap()).unwrap().is_some());
}

#[test]
fn what_a_running_build_has_found_stays_until_it_ends() {
    let world = World::new();
    let setup = world.open();
    let (used, unused) = (layer(&setup, "used", 1), layer(&setup, "unused", 1));
    remember(&setup, "used", &[used]);
    remember(&setup, "unused", &[unused]);
    drop(setup);

    let build = world.open();
    assert!(asked(&build, "used").is_some());
    let blob = put(&build, b"of the build");
    let mount = build.cache_mount(&key("mount")).unwrap();
    let other = world.open();
    prune(&other, &PrunePolicy { all: true, ..PrunePolicy::default() });
    assert!(has_layer(&other, &used) && !has_layer(&other, &unused));
    assert_eq!(asked(&build, "used"), Some(vec![used]));
    assert!(build.blobs().path(&blob).exists() && mount.exists());

    drop(build);
    prune(&other, &PrunePolicy::default());
    assert!(!has_layer(&other, &used));
    assert!(!other.blobs().path(&blob).exists() && !mount.exists());
}

#[test]
fn a_build_that_ends_during_a_collection_keeps_what_it_remembered() {
    // Builds remember and end while collections run: whatever an index row says is there, is there.
    let world = World::new();
    let store = world.open();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                prune(
                    &world.open(),
                    &PrunePolicy { keep_duration: Some(Duration::from_secs(60)), ..PrunePolicy::default() },
                );
            }
        });
        for n in 0..150 {
            let build = world.open();
            let id = LayerId(key(&format!("layer {n}")));
            // As a commit does it: lease first, then the layer appears.
            assert_eq!(build.index().asked(&key(&format!("{n}"))).unwrap(), None);
            hold(&build, &id);
            layer(&build, &format!("layer {n}"), 1);
            remember(&build, &format!("{n}"), &[id]);
            drop(build);
            assert_eq!(asked(&store, &format!("{n}")), Some(vec![id]));
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

/// Has `store` hold a layer that is not there yet.
fn hold(store: &Store, id: &LayerId) {
    let snapshot = Snapshot { layers: vec![*id] };
    store.index().remember(Some(&key("hold")), &key("hold"), &[*id], &snapshot).unwrap();
    assert_eq!(store.index().asked(&key("hold")).unwrap(), None);
}

#[test]
fn a_limit_of_space_takes_what_was_used_longest_ago() {
    let world = World::new();
    let store = world.open();
    let layers: Vec<LayerId> = (0..5).map(|n| layer(&store, &format!("layer {n}"), 100_000)).collect();
    for (n, id) in layers.iter().enumerate() {
        remember(&store, &format!("{n}"), &[*id]);
        wait(10);
    }
    drop(store);
    let store = world.open();
    // Two layers of 100 kB, with their manifests and directories, fit.
    let policy = PrunePolicy { max_used_space: Some(300_000), ..PrunePolicy::default() };
    prune(&store, &policy);
    let left: Vec<bool> = layers.iter().map(|id| has_layer(&store, id)).collect();
    assert_eq!(left, [false, false, false, true, true]);
    assert_eq!(prune(&store, &policy).records, []);
    let reserved = PrunePolicy { reserved_space: Some(1 << 30), ..policy };
    assert_eq!(prune(&store, &reserved).records, []);
}

#[test]
fn enough_free_space_takes_nothing() {
    let world = World::new();
    let store = world.open();
    remember(&store, "step", &[layer(&store, "layer", 1)]);
    drop(store);
    let store = world.open();
    assert_eq!(prune(&store, &PrunePolicy { min_free_space: Some(1), ..PrunePolicy::default() }).records, []);
    let all = PrunePolicy { min_free_space: Some(u64::MAX >> 1), ..PrunePolicy::default() };
    assert_eq!(prune(&store, &all).records.len(), 1);
}

#[test]
fn age_and_kind_choose_what_goes() {
    let world = World::new();
    let store = world.open();
    let (old, young) = (layer(&store, "old", 1), layer(&store, "young", 1));
    remember(&store, "old", &[old]);
    wait(7200);
    remember(&store, "young", &[young]);
    fs::write(store.cache_mount(&key("mount")).unwrap().join("file"), "x").unwrap();
    store.describe_mount(&key("mount"), "/root/.cache").unwrap();
    drop(store);
    let store = world.open();
    let policy = PrunePolicy { keep_duration: Some(Duration::from_secs(3600)), ..PrunePolicy::default() };
    prune(&store, &policy);
    assert!(!has_layer(&store, &old) && has_layer(&store, &young));

    let mounts = PrunePolicy { selection: Selection::kinds([RecordKind::Mount]), ..PrunePolicy::default() };
    let freed = prune(&store, &mounts);
    assert_eq!(
        freed.records.iter().map(|record| record.about.as_str()).collect::<Vec<_>>(),
        ["/root/.cache"]
    );
    assert!(has_layer(&store, &young));
}

#[test]
fn a_dry_run_says_what_a_run_then_does() {
    let world = World::new();
    let store = world.open();
    remember(&store, "step", &[layer(&store, "layer", 5000)]);
    store.index().set_image(None, &image(&[])).unwrap();
    drop(store);
    let store = world.open();
    let said = prune(&store, &PrunePolicy { dry_run: true, ..PrunePolicy::default() });
    assert!(asked(&world.open(), "step").is_some());
    assert_eq!(prune(&store, &PrunePolicy::default()), said);
    assert_eq!((said.records.len(), said.images), (1, 1));
}

#[test]
fn a_packed_blob_lives_as_long_as_its_layer() {
    let world = World::new();
    let store = world.open();
    let id = layer(&store, "layer", 1);
    remember(&store, "step", &[id]);
    let packed =
        PackedLayer { diff_id: DiffId(Digest::of(b"t")), blob: put(&store, b"packed"), size: 6, tar_size: 9 };
    store.index().set_packed(&id, Compression::default(), &packed).unwrap();
    drop(store);
    let store = world.open();
    prune(&store, &PrunePolicy { keep_duration: Some(Duration::from_secs(3600)), ..PrunePolicy::default() });
    assert!(store.blobs().path(&packed.blob).exists());
    prune(&store, &PrunePolicy { selection: Selection::id(id.0.to_string()), ..PrunePolicy::default() });
    assert!(!has_layer(&store, &id));
    assert_eq!(store.index().packed(&id, Compression::default()).unwrap(), None);
    prune(&store, &PrunePolicy { keep_duration: Some(Duration::from_secs(3600)), ..PrunePolicy::default() });
    assert!(!store.blobs().path(&packed.blob).exists());
}

#[test]
fn a_file_that_another_layer_links_is_freed_with_its_last_name() {
    let world = World::new();
    let store = world.open();
    let (one, two) = (layer(&store, "one", 1_000_000), LayerId(key("two")));
    fs::create_dir_all(layer_dir(&store, &two).join("tree")).unwrap();
    fs::hard_link(layer_dir(&store, &one).join("tree/file"), layer_dir(&store, &two).join("tree/file"))
        .unwrap();
    fs::write(layer_dir(&store, &two).join("manifest"), "two").unwrap();
    remember(&store, "one", &[one]);
    remember(&store, "two", &[two]);
    drop(store);
    let store = world.open();
    let only =
        |id: &LayerId| PrunePolicy { selection: Selection::id(id.0.to_string()), ..PrunePolicy::default() };
    assert!(prune(&store, &only(&one)).bytes < 100_000);
    assert!(prune(&store, &only(&two)).bytes > 1_000_000);
}
