use std::sync::mpsc::channel;
use std::time::Duration;

use kiln_cache::LockMode;

use crate::world::World;

#[test]
fn a_lock_keeps_other_handles_out_until_it_is_dropped() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let held = one.lock("step").unwrap();
    assert!(two.try_lock("step").unwrap().is_none());
    assert!(two.try_lock("another step").unwrap().is_some());
    drop(held);
    assert!(two.try_lock("step").unwrap().is_some());
}

#[test]
fn shared_holders_keep_only_an_exclusive_one_out() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let first = one.lock_as("mount", LockMode::Shared).unwrap();
    let second = two.lock_as("mount", LockMode::Shared).unwrap();
    drop(first);
    assert!(one.try_lock("mount").unwrap().is_none());
    drop(second);
    assert!(one.try_lock("mount").unwrap().is_some());
}

#[test]
fn one_who_waits_gets_the_lock_and_files_do_not_pile_up() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let held = one.lock("contended").unwrap();
    let (sender, receiver) = channel();
    let waiter = std::thread::spawn(move || {
        let lock = two.lock("contended").unwrap();
        sender.send(()).unwrap();
        drop(lock);
    });
    assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "the lock was not kept");
    drop(held);
    receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    waiter.join().unwrap();
    let left: Vec<_> = std::fs::read_dir(world.root().join("locks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn many_threads_take_one_lock_one_after_the_other() {
    let world = World::new();
    let inside = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = world.open();
                for _ in 0..200 {
                    let lock = store.lock("one at a time").unwrap();
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
}

#[test]
fn a_lock_may_have_any_name() {
    let world = World::new();
    let store = world.open();
    for name in ["", ".sweeping", "../../escape", "a/b", &"x".repeat(5000)] {
        let _lock = store.lock(name).unwrap();
        assert!(world.open().try_lock(name).unwrap().is_none(), "{name}");
    }
    assert!(!world.dir.path().join("escape").exists());
}
