//! `kiln prune`

use std::io::{BufRead, IsTerminal, Write};

use kiln_cache::PrunePolicy;

use super::{CommandError, Services, print};
use crate::args::PruneArgs;
use crate::collect;
use crate::progress::size;
use crate::request::filter::record_filter;
use crate::request::limits;

/// Removes what no image with a name needs.
///
/// # Errors
/// If the store cannot be changed, or a filter cannot be understood.
pub(crate) fn prune(args: &PruneArgs, services: &Services) -> Result<(), CommandError> {
    let policy = policy(args)?;
    let asks = !args.force && !args.dry_run && !args.auto;
    if asks && !confirmed("This removes all build results that no image with a name needs.")? {
        return Ok(());
    }
    let freed = if args.auto {
        collect::automatic(&services.store, &services.environment)?.collect(&services.store)?
    } else {
        collect::prune(&services.store, &policy)?
    };
    services.store.empty_trash()?;
    let mut text = String::new();
    for record in &freed.records {
        text.push_str(&format!("{}\t{}\t{}\n", record.kind.as_str(), record.id, size(record.bytes)));
    }
    let said = if args.dry_run { "Total reclaimable space" } else { "Total reclaimed space" };
    text.push_str(&format!("{said}: {}\n", size(freed.bytes)));
    print(&text)
}

fn policy(args: &PruneArgs) -> Result<PrunePolicy, CommandError> {
    let filter = record_filter(&args.filter)?;
    let bytes = |option: &str, text: &Option<String>| -> Result<Option<u64>, CommandError> {
        Ok(text.as_deref().map(|text| limits::bytes(option, text)).transpose()?)
    };
    Ok(PrunePolicy {
        all: args.all,
        selection: filter.selection,
        keep_duration: filter.unused_for,
        reserved_space: bytes("reserved-space", &args.reserved_space)?,
        max_used_space: bytes("max-used-space", &args.max_used_space)?,
        min_free_space: bytes("min-free-space", &args.min_free_space)?,
        dry_run: args.dry_run,
    })
}

/// What a prune took away, told as Docker does.
#[derive(Debug)]
pub(crate) struct Reclaimed {
    /// `Deleted Volumes`
    pub(crate) head: &'static str,
    /// A line each.
    pub(crate) gone: Vec<String>,
    /// Of the disk.
    pub(crate) bytes: u64,
}

impl Reclaimed {
    /// Prints what went, and the bytes of it all.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(crate) fn tell(all: &[Self]) -> Result<(), CommandError> {
        let mut text = String::new();
        for Self { head, gone, .. } in all.iter().filter(|reclaimed| !reclaimed.gone.is_empty()) {
            text.push_str(&format!("{head}:\n{}\n\n", gone.join("\n")));
        }
        let bytes = all.iter().map(|reclaimed| reclaimed.bytes).sum();
        print(&format!("{text}Total reclaimed space: {}\n", size(bytes)))
    }
}

/// Asks at a terminal whether `what` is meant; without one it is.
pub(crate) fn confirmed(what: &str) -> Result<bool, CommandError> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("{what} Continue? [y/N] ");
    // A prompt that cannot be shown is no reason not to read.
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(CommandError::Input)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
