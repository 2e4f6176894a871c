use std::fs;
use std::process::{Command, Stdio};

use crate::world::{World, asked, has_layer, layer, put, remember};

/// Set in a child that plays the other process; its value is the store's directory.
const CHILD: &str = "KILN_TEST_STORE_OF_CHILD";

#[test]
fn scratch_goes_with_its_owner() {
    let world = World::new();
    let store = world.open();
    let scratch = store.scratch_dir().unwrap();
    fs::write(scratch.path().join("half"), "half").unwrap();
    let path = scratch.path().to_owned();
    drop(scratch);
    assert!(!path.exists());
    store.empty_trash().unwrap();
    assert_eq!(fs::read_dir(world.root().join("trash")).unwrap().count(), 0);
}

#[test]
fn a_store_that_only_reads_leaves_no_trace() {
    let world = World::new();
    drop(world.open());
    let before = listing(&world);
    let store = world.open();
    assert_eq!(asked(&store, "nothing"), None);
    assert!(store.index().images().unwrap().is_empty());
    drop(store);
    assert_eq!(listing(&world), before);
}

#[test]
fn what_a_killed_process_left_is_swept_by_the_next_and_not_before() {
    let world = World::new();
    let store = world.open();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sessions::child_that_never_ends", "--ignored", "--nocapture"])
        .env(CHILD, world.root())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("half done") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut out, &mut line).unwrap(), 0, "the child ended early");
    }
    drop(world.open());
    assert_eq!(tmp(&world), 1, "the child lives: its scratch stays");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(tmp(&world), 1);
    drop(world.open());
    assert_eq!((tmp(&world), fs::read_dir(world.root().join("leases")).unwrap().count()), (0, 0));
    assert_eq!(fs::read_dir(world.root().join("blobs/sha256")).unwrap().count(), 1);
    drop(store);
}

/// Begins a blob and a scratch directory, finishes another blob, and waits to be killed.
#[test]
#[ignore = "the other process of a test, not one itself"]
#[expect(clippy::disallowed_methods, reason = "how the parent tells the child where its store is")]
fn child_that_never_ends() {
    let Ok(root) = std::env::var(CHILD) else { return };
    let store = crate::world::open(root.as_ref(), "boot 1");
    let mut writer = store.blobs().writer().unwrap();
    std::io::Write::write_all(&mut writer, b"half").unwrap();
    let _scratch = store.scratch_dir().unwrap();
    put(&store, b"whole");
    println!("\nhalf done");
    loop {
        std::thread::park();
    }
}

#[test]
fn processes_write_rows_at_the_same_time() {
    let world = World::new();
    let store = world.open();
    let known = layer(&store, "layer", 1);
    let threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let world = &world;
            scope.spawn(move || {
                // A handle of its own is to the database and the locks what a process is.
                let store = world.open();
                for n in 0..50 {
                    remember(&store, &format!("{thread} {n}"), &[known]);
                    assert_eq!(asked(&store, &format!("{thread} {n}")), Some(vec![known]));
                }
            });
        }
    });
    for thread in 0..threads {
        for n in 0..50 {
            assert_eq!(asked(&store, &format!("{thread} {n}")), Some(vec![known]));
        }
    }
    assert!(has_layer(&store, &known));
}

fn tmp(world: &World) -> usize {
    fs::read_dir(world.root().join("tmp")).unwrap().count()
}

fn listing(world: &World) -> Vec<String> {
    let mut names: Vec<String> = ["tmp", "leases", "locks", "trash", "blobs/sha256", "layers", "mounts"]
        .iter()
        .flat_map(|dir| fs::read_dir(world.root().join(dir)).unwrap())
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    names.sort();
    names
}
