//! `kiln inspect` of a container: Docker's document.

use serde_json::{Map, Value, json};

use crate::container::config::Config;
use crate::container::directory::Container;
use crate::container::error::ContainerError;
use crate::container::state::{State, Status};
use crate::container::{ports, signal};

/// What Docker's `container inspect` says.
///
/// # Errors
/// If what is written down of it cannot be read.
pub(crate) fn inspect(container: &Container) -> Result<Value, ContainerError> {
    let config = container.config()?;
    let state = container.state()?;
    let process = &config.process;
    let file = |name: &str| container.path.join(name).display().to_string();
    let mounts: Vec<Value> = config
        .mounts
        .iter()
        .map(|mount| {
            json!({
                "Type": mount.kind, "Name": mount.name, "Source": mount.source, "Destination": mount.target,
                "Mode": "", "RW": !mount.read_only, "Propagation": "",
            })
        })
        .collect();
    Ok(json!({
        "Id": config.id,
        "Created": config.created,
        "Path": process.args.first(),
        "Args": process.args.get(1..).unwrap_or_default(),
        "State": state_value(&state),
        "Image": config.image.id,
        "LogPath": file("log"),
        "HostsPath": file("hosts"),
        "Name": format!("/{}", container.name()),
        "RestartCount": state.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": host_config(&config),
        "GraphDriver": { "Name": "overlay2", "Data": { "UpperDir": file("layer/tree"), "WorkDir": file("work") } },
        "Mounts": mounts,
        "Config": configuration(&config),
        "NetworkSettings": network_settings(&config, &state),
    }))
}

fn network_settings(config: &Config, state: &State) -> Value {
    let network = &state.network;
    let address = network.addresses.first().map(ToString::to_string).unwrap_or_default();
    let exposed = if state.status.is_active() { config.exposed.as_slice() } else { &[] };
    let mut networks = Map::new();
    networks.insert(
        config.network.clone(),
        json!({ "IPAddress": address, "Aliases": config.networking.aliases }),
    );
    json!({ "Ports": ports::document(&network.published, exposed), "Networks": networks, "IPAddress": address })
}

fn state_value(state: &State) -> Value {
    // Docker's year 1 for what has not happened.
    let time = |time: &str| if time.is_empty() { "0001-01-01T00:00:00Z".to_owned() } else { time.to_owned() };
    let mut value = json!({
        "Status": state.status.as_str(),
        "Running": matches!(state.status, Status::Running | Status::Paused),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.out_of_memory,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(&state.started),
        "FinishedAt": time(&state.finished),
    });
    if let Some(health) = &state.health {
        value["Health"] = json!({
            "Status": health.status, "FailingStreak": health.failing, "Log": health.log,
        });
    }
    value
}

fn host_config(config: &Config) -> Value {
    let process = &config.process;
    let (name, most) = config.restart.parts();
    let binds: Vec<String> = config
        .mounts
        .iter()
        .filter(|mount| mount.kind != "tmpfs" && !mount.anonymous)
        .map(|mount| {
            let source = if mount.name.is_empty() { &mount.source } else { &mount.name };
            format!("{source}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" })
        })
        .collect();
    let tmpfs: Map<String, Value> = config
        .mounts
        .iter()
        .filter(|mount| mount.kind == "tmpfs")
        .map(|mount| (mount.target.clone(), "".into()))
        .collect();
    json!({
        "Binds": binds,
        "Tmpfs": tmpfs,
        "AutoRemove": config.auto_remove,
        "LogConfig": {
            "Type": if config.log.keep { "json-file" } else { "none" },
            "Config": { "max-size": config.log.max_size.to_string(), "max-file": config.log.max_file.to_string() },
        },
        "NetworkMode": config.network,
        "RestartPolicy": { "Name": name, "MaximumRetryCount": most },
        "Privileged": process.insecure,
        "Init": process.init,
        "ReadonlyRootfs": process.read_only_root,
        "CapAdd": process.capabilities,
        "ExtraHosts": process.add_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect::<Vec<_>>(),
        "ShmSize": process.shm_size,
        "Memory": process.memory.unwrap_or(0),
        "MemorySwap": process.limits.memory_and_swap.unwrap_or(0),
        "MemoryReservation": process.limits.memory_reservation.unwrap_or(0),
        "NanoCpus": process.nano_cpus.unwrap_or(0),
        "CpuQuota": process.limits.cpu_quota.unwrap_or(0),
        "CpuPeriod": process.limits.cpu_period.unwrap_or(0),
        "CpuShares": process.limits.cpu_shares.unwrap_or(0),
        "CpusetCpus": process.limits.cpus.as_deref().unwrap_or_default(),
        "CpusetMems": process.limits.memory_nodes.as_deref().unwrap_or_default(),
        "BlkioWeight": process.limits.block_weight.unwrap_or(0),
        "OomScoreAdj": process.oom_score_adj.unwrap_or(0),
        "CgroupParent": process.cgroup_parent,
        "Sysctls": process.sysctls,
        "Runtime": config.runtime,
        "PidsLimit": process.pids,
        "Ulimits": process.ulimits.iter().map(|limit| {
            json!({ "Name": limit.name, "Soft": limit.soft, "Hard": limit.hard })
        }).collect::<Vec<_>>(),
    })
}

fn configuration(config: &Config) -> Value {
    let process = &config.process;
    let image = &config.image.config;
    let empty = |name: &String| (name.clone(), json!({}));
    let health = config.health.as_ref().map(|health| {
        let test: Vec<&str> =
            std::iter::once("CMD").chain(health.command.iter().map(String::as_str)).collect();
        json!({
            "Test": test,
            "Interval": health.interval * 1_000_000, "Timeout": health.timeout * 1_000_000,
            "StartPeriod": health.start_period * 1_000_000, "Retries": health.retries,
        })
    });
    let mut value = json!({
        "Hostname": process.hostname,
        "User": config.user,
        "Tty": process.terminal,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": process.env,
        "Cmd": process.args,
        "Image": config.image.name,
        "Volumes": image.volumes.keys().map(empty).collect::<Map<_, _>>(),
        "WorkingDir": process.cwd,
        "Entrypoint": Value::Null,
        "ExposedPorts": config.exposed.iter().map(empty).collect::<Map<_, _>>(),
        "Labels": config.labels,
        "StopSignal": signal::name(config.stop_signal),
        "StopTimeout": config.stop_timeout,
    });
    if let Some(health) = health {
        value["Healthcheck"] = health;
    }
    value
}
