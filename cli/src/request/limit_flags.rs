//! Limits as typed → limits as meant.

use std::path::PathBuf;

use kiln_executor::cdi;
use kiln_executor::sandbox::{BlockRate, RateKind, ResourceLimits};
use kiln_executor::spec::ProcessRequest;

use super::error::UsageError;
use super::{devices, limits};
use crate::args::{LimitArgs, MachineArgs};

impl LimitArgs {
    /// The limits that were asked for.
    pub(crate) fn request(&self) -> Result<ResourceLimits, UsageError> {
        let best_effort = match self.limits.as_str() {
            "enforce" | "" => false,
            "best-effort" => true,
            other => return Err(UsageError::value("limits", other, "expected enforce or best-effort")),
        };
        for (option, list) in [("cpuset-cpus", &self.cpuset_cpus), ("cpuset-mems", &self.cpuset_mems)] {
            if let Some(text) = list.as_ref().filter(|text| !is_list(text)) {
                return Err(UsageError::value(option, text, "expected numbers and ranges, 0-2,4"));
            }
        }
        let swap = self.memory_swap.as_deref().map(|text| limits::signed_bytes("memory-swap", text));
        Ok(ResourceLimits {
            memory_and_swap: swap.transpose()?,
            cpu_quota: self.cpu_quota,
            cpu_period: self.cpu_period,
            cpu_shares: self.cpu_shares,
            cpus: self.cpuset_cpus.clone(),
            memory_nodes: self.cpuset_mems.clone(),
            best_effort,
            ..ResourceLimits::default()
        })
    }
}

fn is_list(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => number(first) && number(last),
        None => number(part),
    })
}

impl MachineArgs {
    /// Adds what was asked for to the request of a process.
    pub(crate) fn apply(&self, request: &mut ProcessRequest) -> Result<(), UsageError> {
        let reservation = self.memory_reservation.as_deref();
        request.limits.memory_reservation =
            reservation.map(|text| limits::signed_bytes("memory-reservation", text)).transpose()?;
        if let Some(weight) = self.blkio_weight.filter(|weight| !(10..=1000).contains(weight)) {
            return Err(UsageError::value("blkio-weight", &weight.to_string(), "expected 10 to 1000"));
        }
        request.limits.block_weight = self.blkio_weight;
        for (option, rates, kind) in [
            ("device-read-bps", &self.device_read_bps, RateKind::ReadBytes),
            ("device-write-bps", &self.device_write_bps, RateKind::WriteBytes),
            ("device-read-iops", &self.device_read_iops, RateKind::ReadOperations),
            ("device-write-iops", &self.device_write_iops, RateKind::WriteOperations),
        ] {
            for text in rates {
                let rate = rate(option, text, kind)?;
                if !rate.device.exists() {
                    return Err(UsageError::value(option, text, "there is no such device"));
                }
                request.limits.block_rates.push(rate);
            }
        }
        if let Some(score) = self.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
            return Err(UsageError::value("oom-score-adj", &score.to_string(), "expected -1000 to 1000"));
        }
        request.oom_score_adj = self.oom_score_adj;
        for text in &self.sysctls {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| UsageError::value("sysctl", text, "expected NAME=VALUE"))?;
            request.sysctls.insert(name.to_owned(), value.to_owned());
        }
        let (names, nodes): (Vec<String>, Vec<String>) =
            self.devices.iter().cloned().partition(|value| cdi::is_name(value));
        for node in &nodes {
            let (host, inside) = device(node)?;
            let found = devices::nodes(&host, &inside);
            let problem = |error: std::io::Error| UsageError::value("device", node, &error.to_string());
            request.devices.extend(found.map_err(problem)?);
        }
        let given = cdi::devices(&devices::directories(&self.cdi_spec_dirs), &names)
            .and_then(|given| cdi::apply(&given, request));
        given.map_err(|error| UsageError::value("device", &names.join(" "), &error.to_string()))?;
        request.cgroup_parent = self.cgroup_parent.clone().unwrap_or_default();
        Ok(())
    }
}

fn rate(option: &str, text: &str, kind: RateKind) -> Result<BlockRate, UsageError> {
    let wrong = || UsageError::value(option, text, "expected DEVICE:RATE, /dev/sda:1mb");
    let (device, number) = text.rsplit_once(':').ok_or_else(wrong)?;
    if !device.starts_with("/dev/") {
        return Err(wrong());
    }
    Ok(BlockRate { device: PathBuf::from(device), kind, rate: limits::bytes(option, number)? })
}

/// `HOST[:CONTAINER[:rwm]]`
fn device(text: &str) -> Result<(PathBuf, PathBuf), UsageError> {
    let wrong = |why: &str| UsageError::value("device", text, why);
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, rights) = match *parts.as_slice() {
        [host] => (host, host, "rwm"),
        [host, inside] if inside.starts_with('/') => (host, inside, "rwm"),
        [host, rights] => (host, host, rights),
        [host, inside, rights] => (host, inside, rights),
        _ => return Err(wrong("expected HOST[:CONTAINER]")),
    };
    if !host.starts_with('/') || !inside.starts_with('/') {
        return Err(wrong("expected absolute paths"));
    }
    // A link of the host leads to a device; where it is to be found inside has to be said.
    if !inside.starts_with("/dev/") {
        return Err(wrong("expected a place below /dev in the container"));
    }
    // Rights of single devices are a device control group's; kiln shows a process only the nodes that it may open.
    if !["rwm", "rw"].contains(&rights) {
        return Err(wrong("a device can only be given for reading and writing (rwm)"));
    }
    Ok((PathBuf::from(host), PathBuf::from(inside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_rates_and_devices_are_read_as_docker_reads_them() {
        assert!(
            is_list("0-2,4")
                && is_list("7")
                && !is_list("")
                && !is_list("a")
                && !is_list("1-")
                && !is_list("0,,1")
        );
        let read = rate("device-read-bps", "/dev/sda:1mb", RateKind::ReadBytes).unwrap();
        assert_eq!((read.device, read.rate), (PathBuf::from("/dev/sda"), 1 << 20));
        assert!(rate("device-read-bps", "sda:1", RateKind::ReadBytes).is_err());
        let paths = |a: &str, b: &str| (PathBuf::from(a), PathBuf::from(b));
        assert_eq!(device("/dev/fuse").unwrap(), paths("/dev/fuse", "/dev/fuse"));
        assert_eq!(device("/dev/fuse:/dev/x:rwm").unwrap(), paths("/dev/fuse", "/dev/x"));
        assert!(device("/dev/fuse:r").is_err() && device("/etc/passwd").is_err());
        let limits = LimitArgs { limits: "maybe".into(), ..LimitArgs::default() };
        assert!(limits.request().is_err());
    }
}
