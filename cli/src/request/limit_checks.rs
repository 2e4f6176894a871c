//! Limits that contradict each other or the machine: refused before anything is made, in Docker's words where it has some.

use kiln_executor::spec::ProcessRequest;

use super::UsageError;

/// A process of a container does not start with less.
const LEAST_MEMORY: i64 = 6 << 20;

/// Refuses what no machine grants, or not this one with its number of `processors`.
///
/// # Errors
/// The first limit that makes no sense.
pub(crate) fn check(request: &ProcessRequest, processors: u32) -> Result<(), UsageError> {
    let limits = &request.limits;
    let wrong = |option: &str, value: i64, why: &str| Err(UsageError::value(option, &value.to_string(), why));
    let bytes = [("memory", request.memory), ("memory-reservation", limits.memory_reservation)];
    for (option, value) in bytes {
        if let Some(value) = value.filter(|value| (1..LEAST_MEMORY).contains(value)) {
            return wrong(option, value, "the minimum is 6MB");
        }
    }
    if let Some(memory) = request.memory.filter(|&memory| memory > 0) {
        if let Some(both) = limits.memory_and_swap.filter(|both| (1..memory).contains(both)) {
            return wrong(
                "memory-swap",
                both,
                "it counts memory and swap together, and is smaller than --memory",
            );
        }
        if let Some(kept) = limits.memory_reservation.filter(|&kept| kept > memory) {
            return wrong("memory-reservation", kept, "it is larger than --memory");
        }
    }
    if let Some(period) =
        limits.cpu_period.filter(|period| *period != 0 && !(1000..=1_000_000).contains(period))
    {
        return wrong("cpu-period", period.cast_signed(), "expected 1000 to 1000000 microseconds");
    }
    if let Some(quota) = limits.cpu_quota.filter(|quota| (1..1000).contains(quota)) {
        return wrong("cpu-quota", quota, "expected 1000 microseconds or more");
    }
    if let Some(nano) = request.nano_cpus {
        let most = i64::from(processors).saturating_mul(1_000_000_000);
        if !(10_000_000..=most).contains(&nano) {
            let problem = format!("expected 0.01 to {processors}: so many processors there are");
            #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
            return Err(UsageError::value("cpus", &format!("{:.2}", nano as f64 / 1e9), &problem));
        }
        if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
            let problem = "conflicting options: --cpus sets what --cpu-quota and --cpu-period do";
            return Err(UsageError::Conflict(problem.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_executor::process::User;

    use super::*;

    type Change = fn(&mut ProcessRequest);

    fn refused(change: impl Fn(&mut ProcessRequest)) -> Option<String> {
        let user = User { uid: 0, gid: 0, groups: Vec::new(), home: "/".into() };
        let mut request = ProcessRequest::new(vec!["true".into()], user);
        change(&mut request);
        check(&request, 2).err().map(|error| error.to_string())
    }

    #[test]
    fn limits_fit_each_other() {
        assert_eq!(refused(|_| {}), None);
        assert_eq!(refused(|r| r.memory = Some(64 << 20)), None);
        assert_eq!(refused(|r| r.nano_cpus = Some(2_000_000_000)), None);
        assert_eq!(refused(|r| (r.memory, r.limits.memory_and_swap) = (Some(8 << 20), Some(-1))), None);
        let cases: [(Change, &str); 7] = [
            (|r| r.memory = Some(1 << 20), "minimum"),
            (|r| r.limits.memory_reservation = Some(1), "minimum"),
            (|r| (r.memory, r.limits.memory_and_swap) = (Some(9 << 20), Some(8 << 20)), "memory-swap"),
            (|r| (r.memory, r.limits.memory_reservation) = (Some(8 << 20), Some(9 << 20)), "larger"),
            (|r| r.limits.cpu_period = Some(10), "cpu-period"),
            (|r| r.nano_cpus = Some(2_100_000_000), "cpus"),
            (|r| (r.nano_cpus, r.limits.cpu_quota) = (Some(1_000_000_000), Some(5000)), "conflicting"),
        ];
        for (change, says) in cases {
            let said = refused(change).unwrap_or_default();
            assert!(said.contains(says), "{says}: {said}");
        }
    }
}
