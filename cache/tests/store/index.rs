use kiln_cache::{BuildRow, ImageRecord, OverlayXattrs, PackedLayer, Store, StoreError, StoreOptions};
use kiln_core::{Compression, CompressionFormat, DiffId, Digest, Reference};

use crate::world::{World, asked, image, key, layer, layer_dir, options, put, remember, wait};

#[test]
fn a_result_is_found_by_definition_and_by_key() {
    let world = World::new();
    let store = world.open();
    let layers = [layer(&store, "base", 1), layer(&store, "top", 1)];
    remember(&store, "step", &layers);
    let other = world.open();
    assert_eq!(asked(&other, "step"), Some(layers.to_vec()));
    assert_eq!(other.index().made(&key("key of step")).unwrap(), Some(vec![layers[1]]));
    assert_eq!(asked(&other, "another step"), None);
}

#[test]
fn a_result_whose_layer_is_gone_is_not_known() {
    let world = World::new();
    let store = world.open();
    let layers = [layer(&store, "base", 1), layer(&store, "top", 1)];
    remember(&store, "step", &layers);
    std::fs::remove_dir_all(layer_dir(&store, &layers[0])).unwrap();
    assert_eq!(asked(&store, "step"), None);
    assert_eq!(store.index().made(&key("key of step")).unwrap(), Some(vec![layers[1]]));
}

#[test]
fn a_step_that_added_nothing_is_known_to_have_added_nothing() {
    let world = World::new();
    let store = world.open();
    store.index().remember(None, &key("empty"), &[], &kiln_core::Snapshot::scratch()).unwrap();
    assert_eq!(store.index().made(&key("empty")).unwrap(), Some(vec![]));
    assert_eq!(store.index().asked(&key("empty")).unwrap(), None);
}

#[test]
fn a_name_goes_to_the_image_that_took_it_last() {
    let world = World::new();
    let store = world.open();
    let (old, new) = (image(&[layer(&store, "old", 1)]), image(&[layer(&store, "new", 1)]));
    let name: Reference = "app".parse().unwrap();
    store.index().set_image(Some(&name), &old).unwrap();
    let id = store.index().set_image(Some(&name), &new).unwrap();
    assert_eq!(
        store.index().image(&"docker.io/library/app:latest".parse().unwrap()).unwrap(),
        Some(new.clone())
    );
    assert_eq!(store.index().image_by_id(&id).unwrap(), Some(new.clone()));
    assert_eq!(store.index().image_by_id(&old.id()).unwrap(), Some(old.clone()));
    let mut names: Vec<Vec<String>> =
        store.index().images().unwrap().into_iter().map(|image| image.names).collect();
    names.sort();
    assert_eq!(names, [vec![], vec!["docker.io/library/app:latest".to_owned()]]);

    assert!(store.index().remove_image(&name).unwrap());
    assert!(!store.index().remove_image(&name).unwrap());
    assert_eq!(store.index().image_by_id(&new.id()).unwrap(), None);
}

#[test]
fn an_image_keeps_its_id_when_its_diff_ids_become_known() {
    let world = World::new();
    let store = world.open();
    let record = image(&[layer(&store, "layer", 1)]);
    let mut computed = record.clone();
    computed.config.rootfs.diff_ids = vec![DiffId(Digest::of(b"tar"))];
    assert_eq!(record.id(), computed.id());
    assert_ne!(record.id(), image(&[]).id());
    store.index().set_image(None, &record).unwrap();
    store.index().set_image(None, &computed).unwrap();
    assert_eq!(store.index().image_by_id(&record.id()).unwrap(), Some(computed));
}

#[test]
fn setting_the_same_image_again_writes_nothing() {
    let world = World::new();
    let store = world.open();
    let record = image(&[layer(&store, "layer", 1)]);
    let name: Reference = "app:1".parse().unwrap();
    store.index().set_image(Some(&name), &record).unwrap();
    let before = changes(&store);
    let later = ImageRecord { created: record.created + 60, ..record.clone() };
    store.index().set_image(Some(&name), &later).unwrap();
    assert_eq!(changes(&store), before);
    assert_eq!(store.index().image(&name).unwrap(), Some(record));
}

#[test]
fn looking_up_writes_nothing_until_the_last_use_is_an_hour_old() {
    let world = World::new();
    let store = world.open();
    remember(&store, "step", &[layer(&store, "layer", 1)]);
    drop(store);
    let used_again = |store: Store| {
        let before = changes(&store);
        assert!(asked(&store, "step").is_some());
        drop(store);
        changes(&world.open()) != before
    };
    assert!(!used_again(world.open()));
    wait(4000);
    assert!(used_again(world.open()));
}

#[test]
fn packed_layers_are_known_by_format_and_level() {
    let world = World::new();
    let store = world.open();
    let id = layer(&store, "layer", 1);
    let packed = PackedLayer {
        diff_id: DiffId(Digest::of(b"tar")),
        blob: put(&store, b"gz"),
        size: 2,
        tar_size: u64::MAX >> 1,
    };
    let gzip = Compression::default();
    store.index().set_packed(&id, gzip, &packed).unwrap();
    assert_eq!(store.index().packed(&id, gzip).unwrap(), Some(packed));
    for other in
        [Compression { level: Some(9), ..gzip }, Compression { format: CompressionFormat::Zstd, level: None }]
    {
        assert_eq!(store.index().packed(&id, other).unwrap(), None);
    }
    assert_eq!(store.index().diff_id(&id).unwrap(), Some(packed.diff_id));
    let clamped = PackedLayer { diff_id: DiffId(Digest::of(b"clamped")), ..packed };
    store.index().set_packed_clamped(&id, gzip, 7, &clamped).unwrap();
    assert_eq!(store.index().packed_clamped(&id, gzip, 7).unwrap(), Some(clamped));
    assert_eq!(store.index().packed_clamped(&id, gzip, 8).unwrap(), None);
    assert_eq!(store.index().packed(&id, gzip).unwrap(), Some(packed));
    assert_eq!(store.index().diff_id(&id).unwrap(), Some(packed.diff_id));
}

#[test]
fn chains_facts_and_builds_come_back_as_they_were() {
    let world = World::new();
    let store = world.open();
    let index = store.index();
    let (id, chain) = (layer(&store, "layer", 1), Digest::of(b"chain"));
    index.set_chain(&chain, &id).unwrap();
    assert_eq!(index.chain(&chain).unwrap(), Some(id));
    assert_eq!(index.chain(&Digest::of(b"other")).unwrap(), None);

    let blob = put(&store, b"body");
    index.set_fact("http", b"https://example.org/", b"etag", Some(&blob)).unwrap();
    index.set_fact("tag", b"https://example.org/", b"other namespace", None).unwrap();
    let fact = index.fact("http", b"https://example.org/").unwrap().unwrap();
    assert_eq!((fact.value.as_slice(), fact.blob), (&b"etag"[..], Some(blob)));
    assert_eq!(index.facts("tag").unwrap().len(), 1);
    index.remove_fact("http", b"https://example.org/").unwrap();
    assert_eq!(index.fact("http", b"https://example.org/").unwrap(), None);

    let build = |id: &str, started| BuildRow { id: id.into(), started, record: id.as_bytes().to_vec() };
    for n in [3, 1, 2] {
        index.set_build(&build(&format!("b{n}"), n)).unwrap();
    }
    assert_eq!(index.builds(2).unwrap(), [build("b3", 3), build("b2", 2)]);
    assert_eq!(index.build("b1").unwrap(), Some(build("b1", 1)));
    assert_eq!(index.remove_builds_before(3).unwrap(), 2);
    assert!(index.remove_build("b3").unwrap());
}

#[test]
fn a_store_of_another_kind_is_refused() {
    let world = World::new();
    drop(world.open());
    let trusted = StoreOptions { xattrs: OverlayXattrs::Trusted, ..options(&world.root(), "boot 1") };
    assert!(matches!(Store::open(trusted), Err(StoreError::Kind { .. })));
}

/// What changes with every commit to the database.
fn changes(store: &Store) -> Vec<(u64, Option<std::time::SystemTime>)> {
    let db = store.index().path();
    [db.to_owned(), db.with_extension("sqlite-wal")]
        .iter()
        .map(|path| std::fs::metadata(path).map_or((0, None), |m| (m.len(), m.modified().ok())))
        .collect()
}
