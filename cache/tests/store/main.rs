//! The store through its public face: several handles at once, crashes, boots, collections, damage.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod blobs;
mod boot;
mod collection;
mod damage;
mod full_disk;
mod index;
mod locks;
mod sessions;
mod speed;
mod stat;
mod usage;
mod world;
