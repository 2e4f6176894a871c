//! Subordinate ids: which ranges of `/etc/subuid` and `/etc/subgid` belong to a user. Read here, not through the C library:
//! a static binary has no name service.

/// A range of ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) count: u32,
}

/// The ranges that `text` gives to the user `uid`, who is called `name`, in order.
pub(super) fn ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<Range> {
    let uid = uid.to_string();
    let mine = |owner: &str| owner == uid || Some(owner) == name;
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let (owner, start, count) = (fields.next()?, fields.next()?, fields.next()?);
            let (start, count) = (start.parse().ok()?, count.parse::<u32>().ok()?);
            (mine(owner) && count > 0).then_some(Range { start, count })
        })
        .collect()
}

/// The arguments of `newuidmap` after the process: the id 0 is `own`, those from 1 on are the ranges, one after the other.
pub(super) fn map(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut next: u32 = 1;
    for range in ranges {
        // Ids end below the kernel's "no id".
        let count = range.count.min(u32::MAX - 1 - next);
        arguments.extend([next.to_string(), range.start.to_string(), count.to_string()]);
        next += count;
    }
    arguments
}

/// The map that shows in a new namespace every id that `map`, one of this process's own, has: each as itself.
pub(super) fn same(map: &str) -> String {
    let lines = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "alice:100000:65536\nbob:200000:65536\n# no\n1000:300000:10\nalice:x:1\nalice:1:0\n";
        let range = |start, count| Range { start, count };
        assert_eq!(ranges(text, 1000, Some("alice")), [range(100_000, 65_536), range(300_000, 10)]);
        assert_eq!(ranges(text, 1000, None), [range(300_000, 10)]);
        assert_eq!(ranges(text, 7, Some("carol")), []);
    }

    #[test]
    fn own_ids_are_mapped_to_themselves() {
        assert_eq!(
            same("         0       1000          1\n         1     100000      65536\n"),
            "0 0 1\n1 1 65536\n"
        );
    }

    #[test]
    fn ranges_are_mapped_one_after_the_other() {
        let ranges = [Range { start: 100_000, count: 65_536 }, Range { start: 300_000, count: 10 }];
        assert_eq!(map(1000, &ranges).join(" "), "0 1000 1 1 100000 65536 65537 300000 10");
    }
}
