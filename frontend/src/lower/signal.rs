//! Signal names, as STOPSIGNAL takes them (moby/sys/signal, for Linux).

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether `text` is a signal: a number other than 0, or a name with or without `SIG` in any case.
pub(super) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let in_range = |rest: &str, most: u32| {
        let plain = rest.len() == rest.trim_start_matches('0').len();
        plain && rest.parse::<u32>().is_ok_and(|n| (1..=most).contains(&n))
    };
    NAMES.contains(&name)
        || name.strip_prefix("RTMIN+").is_some_and(|rest| in_range(rest, 15))
        || name.strip_prefix("RTMAX-").is_some_and(|rest| in_range(rest, 14))
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn names_and_numbers_are_signals() {
        for good in ["SIGKILL", "kill", "9", "SIGRTMIN+3", "RTMAX-14", "-1"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "SIGFOO", "A B", "RTMIN+16", "RTMAX-15", "RTMIN+03", "SIGSIGKILL"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
