//! `kiln prune`

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use kiln_cache::{PrunePolicy, RecordKind};

use super::{CommandError, Services, print};
use crate::args::PruneArgs;
use crate::progress::size;
use crate::request::{UsageError, limits};

/// Removes what no image with a name needs.
///
/// # Errors
/// If the store cannot be changed, or a filter cannot be understood.
pub(crate) fn prune(args: &PruneArgs, services: &Services) -> Result<(), CommandError> {
    let policy = policy(args)?;
    if !args.force && std::io::stdin().is_terminal() && !confirmed()? {
        return Ok(());
    }
    let freed = services.store.prune(&policy)?;
    services.store.empty_trash()?;
    let mut text = String::new();
    for record in &freed.records {
        text.push_str(&format!("{}\t{}\t{}\n", record.kind.as_str(), record.id, size(record.bytes)));
    }
    text.push_str(&format!("Total reclaimed space: {}\n", size(freed.bytes)));
    print(&text)
}

fn policy(args: &PruneArgs) -> Result<PrunePolicy, CommandError> {
    let mut policy = PrunePolicy { all: args.all, ..PrunePolicy::default() };
    if let Some(text) = &args.keep_storage {
        policy.max_used_space = Some(limits::bytes("keep-storage", text)?);
    }
    for filter in &args.filter {
        let wrong = |why: &str| CommandError::from(UsageError::value("filter", filter, why));
        match filter.split_once('=') {
            Some(("until", age)) => {
                policy.keep_duration =
                    Some(humantime::parse_duration(age).map_err(|_| wrong("expected a duration like 24h"))?);
            }
            Some(("unused-for", age)) => {
                let age: Duration =
                    humantime::parse_duration(age).map_err(|_| wrong("expected a duration like 24h"))?;
                policy.keep_duration = Some(age);
            }
            Some(("id", id)) => policy.ids.push(id.to_owned()),
            Some(("type", kind)) => {
                let kinds = [RecordKind::Layer, RecordKind::Blob, RecordKind::Mount, RecordKind::Stat];
                let kind = kinds.into_iter().find(|known| known.as_str() == kind);
                let wrong = || wrong("expected type=regular, internal, exec.cachemount or source.local");
                policy.kinds.insert(kind.ok_or_else(wrong)?);
            }
            _ => return Err(wrong("expected until=AGE, type=TYPE or id=ID")),
        }
    }
    Ok(policy)
}

fn confirmed() -> Result<bool, CommandError> {
    eprint!("This removes all build results that no image with a name needs. Continue? [y/N] ");
    // A prompt that cannot be shown is no reason not to read.
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(CommandError::Input)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
