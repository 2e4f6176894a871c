//! What a process may take of the machine, beyond memory, processors and processes: from Docker's terms into the `Spec`,
//! and from there to the control group.

use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, Spec,
};
use serde::{Deserialize, Serialize};

use super::SandboxError;
use super::plan::{BlockRate as Rate, Limits};
use super::translate::text;

/// The annotation of a `Spec` whose limits are passed over where they cannot be set; OCI has no word for that.
const BEST_EFFORT: &str = "kiln.limits.best-effort";

/// Limits that few ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Bytes of memory and swap together, -1 for no limit.
    pub memory_and_swap: Option<i64>,
    /// Bytes that are kept when memory is short.
    pub memory_reservation: Option<i64>,
    /// Microseconds of CPU time in each period.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds, 100,000 without.
    pub cpu_period: Option<u64>,
    /// The weight beside others, 1024 without.
    pub cpu_shares: Option<u64>,
    /// Which processors: `0-2,4`.
    pub cpus: Option<String>,
    /// Which memory nodes.
    pub memory_nodes: Option<String>,
    /// The weight of block I/O, 10 to 1000.
    pub block_weight: Option<u16>,
    /// Most bytes or operations a second of a device.
    pub block_rates: Vec<BlockRate>,
    /// Whether a limit that cannot be set is passed over with a warning.
    pub best_effort: bool,
}

/// Most bytes or operations a second of one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRate {
    /// Its node.
    pub device: PathBuf,
    /// Of what.
    pub kind: RateKind,
    /// How many a second.
    pub rate: u64,
}

/// What of a block device is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateKind {
    /// `--device-read-bps`
    ReadBytes,
    /// `--device-write-bps`
    WriteBytes,
    /// `--device-read-iops`
    ReadOperations,
    /// `--device-write-iops`
    WriteOperations,
}

impl ResourceLimits {
    /// Adds these to the `Spec`, with the limits of memory, processors and processes that everybody knows.
    pub(crate) fn apply(
        &self,
        spec: &mut Spec,
        memory: Option<i64>,
        nano_cpus: Option<i64>,
    ) -> Result<(), OciSpecError> {
        if self.best_effort {
            spec.annotations_mut().get_or_insert_default().insert(BEST_EFFORT.into(), "true".into());
        }
        let Some(linux) = spec.linux_mut() else { return Ok(()) };
        let mut resources = linux.resources().clone().unwrap_or_default();
        if memory.is_some() || self.memory_and_swap.is_some() || self.memory_reservation.is_some() {
            let mut of_memory = LinuxMemoryBuilder::default().build()?;
            of_memory
                .set_limit(memory)
                .set_swap(self.memory_and_swap)
                .set_reservation(self.memory_reservation);
            resources.set_memory(Some(of_memory));
        }
        let mut cpu = LinuxCpuBuilder::default().build()?;
        if let Some(nano) = nano_cpus {
            cpu.set_quota(Some(nano / 10_000)).set_period(Some(100_000));
        }
        if self.cpu_quota.is_some() {
            cpu.set_quota(self.cpu_quota);
        }
        if self.cpu_period.is_some() {
            cpu.set_period(self.cpu_period);
        }
        cpu.set_shares(self.cpu_shares).set_cpus(self.cpus.clone()).set_mems(self.memory_nodes.clone());
        resources.set_cpu(Some(cpu));
        if self.block_weight.is_some() || !self.block_rates.is_empty() {
            let mut block = LinuxBlockIoBuilder::default().build()?;
            block.set_weight(self.block_weight);
            let of = |kind| -> Result<Option<Vec<LinuxThrottleDevice>>, OciSpecError> {
                let rates = self.block_rates.iter().filter(|rate| rate.kind == kind);
                let found = rates.map(throttle).collect::<Result<Vec<_>, _>>()?;
                Ok(Some(found).filter(|found| !found.is_empty()))
            };
            block.set_throttle_read_bps_device(of(RateKind::ReadBytes)?);
            block.set_throttle_write_bps_device(of(RateKind::WriteBytes)?);
            block.set_throttle_read_iops_device(of(RateKind::ReadOperations)?);
            block.set_throttle_write_iops_device(of(RateKind::WriteOperations)?);
            resources.set_block_io(Some(block));
        }
        linux.set_resources(Some(resources));
        Ok(())
    }
}

fn throttle(rate: &BlockRate) -> Result<LinuxThrottleDevice, OciSpecError> {
    let stat = rustix::fs::stat(&rate.device).map_err(|error| {
        OciSpecError::Other(format!("find the device {}: {error}", rate.device.display()))
    })?;
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    LinuxThrottleDeviceBuilder::default()
        .major(i64::from(major))
        .minor(i64::from(minor))
        .rate(rate.rate)
        .build()
}

/// Whether limits that cannot be set are passed over.
pub(super) fn is_best_effort(spec: &Spec) -> bool {
    spec.annotations().as_ref().is_some_and(|all| all.contains_key(BEST_EFFORT))
}

/// The control group's settings of a `Spec`; what kiln does not set is refused.
pub(super) fn translate(
    resources: &LinuxResources,
    path: Option<&Path>,
    best_effort: bool,
) -> Result<Option<Limits>, SandboxError> {
    let refuse = |what: &str| Err(SandboxError::Spec(format!("the limit {what} is not supported")));
    if resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()) {
        return refuse("hugepageLimits");
    }
    if resources.rdma().as_ref().is_some_and(|limits| !limits.is_empty()) {
        return refuse("rdma");
    }
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    let block = resources.block_io().as_ref();
    let mut block_rates = Vec::new();
    for (kind, devices) in [
        ("rbps", block.and_then(|b| b.throttle_read_bps_device().as_ref())),
        ("wbps", block.and_then(|b| b.throttle_write_bps_device().as_ref())),
        ("riops", block.and_then(|b| b.throttle_read_iops_device().as_ref())),
        ("wiops", block.and_then(|b| b.throttle_write_iops_device().as_ref())),
    ] {
        block_rates.extend(devices.into_iter().flatten().map(|device| Rate {
            major: device.major(),
            minor: device.minor(),
            kind: kind.to_owned(),
            rate: device.rate(),
        }));
    }
    let period = cpu.and_then(oci_spec::runtime::LinuxCpu::period);
    let quota = cpu.and_then(oci_spec::runtime::LinuxCpu::quota);
    let limited = quota.is_some() || period.is_some();
    let found = Limits {
        parent: path.map(text).transpose()?.unwrap_or_default(),
        memory: memory.and_then(oci_spec::runtime::LinuxMemory::limit),
        memory_and_swap: memory.and_then(oci_spec::runtime::LinuxMemory::swap),
        memory_reservation: memory.and_then(oci_spec::runtime::LinuxMemory::reservation),
        cpu: limited.then(|| (quota.unwrap_or(-1), period.unwrap_or(100_000))),
        cpu_shares: cpu.and_then(oci_spec::runtime::LinuxCpu::shares),
        cpus: cpu.and_then(|c| c.cpus().clone()),
        nodes: cpu.and_then(|c| c.mems().clone()),
        pids: resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit),
        block_weight: block.and_then(oci_spec::runtime::LinuxBlockIo::weight),
        block_rates,
        best_effort: false,
    };
    let any = found != Limits::default();
    Ok(any.then_some(Limits { best_effort, ..found }))
}
