//! Taking away what nobody needs, measuring what is there, and finding what is damaged.
//!
//! Roots are images with names, results of actions as long as they are wanted, and what living processes hold. All
//! else is swept. What goes is renamed into the trash under a lock that leases are written under, and its rows go first,
//! on the disk, so that no power cut brings back a row whose layer was made anew meanwhile.

mod extent;
mod fsck;
mod inventory;
mod prune;
mod rows;
mod selection;
mod tree;
mod usage;

pub use self::fsck::{Checked, Damage, Damaged, Depth};
pub(crate) use self::prune::recover;
pub use self::prune::{Freed, PrunePolicy};
pub use self::selection::{Condition, Selection, Trait};
pub use self::usage::{DiskUsage, RecordKind, UsageRecord};
