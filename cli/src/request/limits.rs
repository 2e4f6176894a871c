//! Sizes, resource limits and hosts, in Docker's forms.

use kiln_core::Ulimit;
use kiln_executor::spec::HOST_GATEWAY;

use crate::request::UsageError;

/// `64m`, `1.5GiB`, `512`: bytes. Docker's units are powers of 1024.
pub(crate) fn bytes(option: &str, text: &str) -> Result<u64, UsageError> {
    let wrong = || UsageError::value(option, text, "expected a number of bytes, with b, k, m, g or t");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let number: f64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    let factor: u64 = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size typed by hand"
    )]
    Ok((number * factor as f64) as u64)
}

/// The same for what may be -1, no limit.
pub(crate) fn signed_bytes(option: &str, text: &str) -> Result<i64, UsageError> {
    if text.trim() == "-1" {
        return Ok(-1);
    }
    let number = bytes(option, text)?;
    i64::try_from(number).map_err(|_| UsageError::value(option, text, "too large"))
}

/// `nofile=1024:2048`, `core=-1`.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, UsageError> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let wrong = |why: &str| UsageError::value("ulimit", text, why);
    let (name, limits) = text.split_once('=').ok_or_else(|| wrong("expected name=soft[:hard]"))?;
    if !NAMES.contains(&name) {
        return Err(wrong(&format!("unknown limit, expected one of {}", NAMES.join(", "))));
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| wrong("expected numbers"));
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(wrong("the soft limit is above the hard limit"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// `name:address` or `name=address`; an IPv6 address may stand in brackets. `host-gateway` is the host itself.
pub(crate) fn host(text: &str) -> Result<(String, String), UsageError> {
    let wrong = |why: &str| UsageError::value("add-host", text, why);
    let separator =
        text.find('=').or_else(|| text.find(':')).ok_or_else(|| wrong("expected name:address"))?;
    let (name, address) = (&text[..separator], &text[separator + 1..]);
    if name.is_empty() {
        return Err(wrong("no name"));
    }
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    // What the host's address is, depends on the network.
    if address != HOST_GATEWAY && address.parse::<std::net::IpAddr>().is_err() {
        return Err(wrong("not an address"));
    }
    Ok((name.to_owned(), address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_limits_and_hosts_are_read_as_docker_reads_them() {
        assert_eq!(bytes("memory", "64m").unwrap(), 64 << 20);
        assert_eq!(bytes("memory", "1.5g").unwrap(), 3 << 29);
        assert_eq!(bytes("memory", "512").unwrap(), 512);
        assert!(bytes("memory", "12q").is_err() && bytes("memory", "").is_err());
        assert_eq!(ulimit("nofile=1:2").unwrap(), Ulimit { name: "nofile".into(), soft: 1, hard: 2 });
        assert_eq!(ulimit("core=-1").unwrap().hard, -1);
        assert!(ulimit("nofile=3:2").is_err() && ulimit("nofiles=1").is_err());
        assert_eq!(host("a:10.0.0.1").unwrap(), ("a".into(), "10.0.0.1".into()));
        assert_eq!(host("a:::1").unwrap(), ("a".into(), "::1".into()));
        assert_eq!(host("a=[::1]").unwrap(), ("a".into(), "::1".into()));
        assert!(host("a").is_err() && host("a:b").is_err());
    }
}
