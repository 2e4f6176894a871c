//! `kiln du`

use kiln_cache::DiskUsage;
use serde_json::json;

use super::{CommandError, Format, Services, print};
use crate::args::DuArgs;
use crate::container::roots;
use crate::environment::now_seconds;
use crate::progress::size;
use crate::request::filter::record_filter;
use crate::table::{Table, age};

/// Prints what the store takes on disk.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn du(args: &DuArgs, services: &Services) -> Result<(), CommandError> {
    let format = Format::parse(&args.format, &[Format::Table, Format::Json])?;
    let filter = record_filter(&args.filter)?;
    // A store that cannot be written is shown as it is.
    let _ = roots::let_go_of_gone(&services.store);
    let mut usage = services.store.disk_usage()?;
    if !args.filter.is_empty() {
        let latest = filter.unused_for.map(|age| now_seconds().saturating_sub_unsigned(age.as_secs()));
        usage.records.retain(|record| {
            filter.selection.matches(record) && latest.is_none_or(|latest| record.used <= latest)
        });
        // Of what is left over, nobody asked.
        usage = DiskUsage { records: usage.records, ..DiskUsage::default() };
    }
    if format == Format::Json {
        let records: Vec<_> = usage
            .records
            .iter()
            .map(|r| {
                json!({
                    "ID": r.id, "Type": r.kind.as_str(), "Size": r.bytes, "Created": r.created, "LastUsed": r.used,
                    "InUse": r.in_use, "Shared": r.shared, "Description": r.about,
                })
            })
            .collect();
        return print(&format!("{}\n", json!({ "Total": usage.total(), "Records": records })));
    }
    let mut text = String::new();
    if args.verbose {
        let mut table = Table::new(["ID", "TYPE", "SIZE", "LAST USED", "IN USE", "IN IMAGE", "DESCRIPTION"]);
        let yes = |is: bool| if is { "yes" } else { "" }.to_owned();
        for r in &usage.records {
            let used = age(now_seconds() - r.used);
            table.row([
                r.id.clone(),
                r.kind.as_str().to_owned(),
                size(r.bytes),
                used,
                yes(r.in_use),
                yes(r.shared),
                r.about.clone(),
            ]);
        }
        text.push_str(&format!("{table}\n"));
    }
    let mut table = Table::new(["TYPE", "COUNT", "SIZE"]);
    for (kind, bytes) in usage.by_kind() {
        let count = usage.records.iter().filter(|record| record.kind == kind).count();
        table.row([kind.as_str().to_owned(), count.to_string(), size(bytes)]);
    }
    if args.filter.is_empty() {
        table.row(["index".to_owned(), String::new(), size(usage.index)]);
        table.row(["scratch".to_owned(), String::new(), size(usage.scratch)]);
        table.row(["rest".to_owned(), String::new(), size(usage.rest)]);
    }
    table.row(["total".to_owned(), String::new(), size(usage.total())]);
    text.push_str(&table.to_string());
    print(&text)
}
