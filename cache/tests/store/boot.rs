use crate::world::{World, asked, has_layer, image, layer, put, remember};

#[test]
fn rows_of_this_boot_are_trusted_at_once_and_those_of_another_only_if_synced() {
    let world = World::new();
    let store = world.open_in_boot("monday");
    let (synced, lost) = (layer(&store, "synced", 1), layer(&store, "lost", 1));
    remember(&store, "synced", &[synced]);
    store.sync().unwrap();
    remember(&store, "lost", &[synced, lost]);
    assert!(asked(&world.open_in_boot("monday"), "lost").is_some());
    drop(store);

    let store = world.open_in_boot("tuesday");
    assert_eq!(asked(&store, "synced"), Some(vec![synced]));
    assert_eq!(asked(&store, "lost"), None);
    assert!(has_layer(&store, &synced));
    assert!(!has_layer(&store, &lost), "a layer that was not synced may be half written");
}

#[test]
fn blobs_and_images_that_were_not_synced_go_with_the_boot() {
    let world = World::new();
    let store = world.open_in_boot("monday");
    let (kept, lost) = (put(&store, b"kept"), put(&store, b"lost"));
    store.index().set_fact("http", b"a", b"", Some(&kept)).unwrap();
    let first = image(&[layer(&store, "first", 1)]);
    store.index().set_image(Some(&"app:1".parse().unwrap()), &first).unwrap();
    store.sync().unwrap();
    store.index().set_fact("http", b"b", b"", Some(&lost)).unwrap();
    store.index().set_image(Some(&"app:2".parse().unwrap()), &image(&[layer(&store, "second", 1)])).unwrap();
    drop(store);

    let store = world.open_in_boot("tuesday");
    assert!(store.blobs().contains(&kept).unwrap());
    assert!(!store.blobs().contains(&lost).unwrap());
    assert_eq!(store.index().fact("http", b"b").unwrap(), None);
    assert_eq!(store.index().image(&"app:1".parse().unwrap()).unwrap(), Some(first));
    assert_eq!(store.index().image(&"app:2".parse().unwrap()).unwrap(), None);
}

#[test]
fn what_a_boot_found_durable_stays_so_in_later_boots() {
    let world = World::new();
    for boot in ["1", "2", "3", "4"] {
        let store = world.open_in_boot(boot);
        let id = layer(&store, boot, 1);
        remember(&store, boot, &[id]);
        store.sync().unwrap();
        store.sync().unwrap();
    }
    let store = world.open_in_boot("5");
    for boot in ["1", "2", "3", "4"] {
        assert!(asked(&store, boot).is_some(), "{boot}");
    }
}

#[test]
fn a_sync_of_one_process_covers_the_rows_of_another_that_were_there() {
    let world = World::new();
    let (one, two) = (world.open_in_boot("1"), world.open_in_boot("1"));
    let id = layer(&one, "layer", 1);
    remember(&one, "of one", &[id]);
    two.sync().unwrap();
    remember(&one, "of one, later", &[id]);
    drop((one, two));
    let store = world.open_in_boot("2");
    assert_eq!(asked(&store, "of one"), Some(vec![id]));
    assert_eq!(asked(&store, "of one, later"), None);
}
