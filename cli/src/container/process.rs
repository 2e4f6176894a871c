//! The process of a container: flags and image in, a [`ProcessRequest`] out. The one place where flags become limits,
//! capabilities and the like; the request is kept with the container, so that it can be started again.

use std::collections::BTreeSet;

use kiln_cache::ImageRecord;
use kiln_executor::process::User;
use kiln_executor::spec::ProcessRequest;

use crate::args::RunArgs;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::request::{UsageError, limit_checks, limits, pairs};

/// The process that flags and image ask for together.
///
/// # Errors
/// A flag whose value cannot be understood.
pub(crate) fn request(
    args: &RunArgs,
    image: &ImageRecord,
    environment: &Environment,
) -> Result<ProcessRequest, CommandError> {
    let config = &image.config.config;
    // --entrypoint takes the image's CMD away too, as Docker has it.
    let (entrypoint, default_command) = match args.entrypoint.as_deref() {
        Some("") => (Vec::new(), Vec::new()),
        Some(program) => (vec![program.to_owned()], Vec::new()),
        None => (config.entrypoint.clone().unwrap_or_default(), config.cmd.clone().unwrap_or_default()),
    };
    let command = if args.command.is_empty() { default_command } else { args.command.clone() };
    let argv: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if argv.is_empty() {
        return Err(CommandError::Usage(format!(
            "`{}` has no command: give one after the image's name",
            args.image
        )));
    }
    let mut variables = image.config.config.clone();
    for file in &args.env_files {
        for (name, value) in pairs::file(file, environment)? {
            variables.set_variable(&name, &value);
        }
    }
    if let Some(text) = args.env.iter().find(|text| text.is_empty() || text.starts_with('=')) {
        return Err(UsageError::value("env", text, "a variable needs a name: -e NAME=VALUE").into());
    }
    for (name, value) in pairs::variables(&args.env, environment) {
        variables.set_variable(&name, &value);
    }
    if args.tty && variables.variable("TERM").is_none() {
        variables.set_variable("TERM", "xterm");
    }
    let mut request = ProcessRequest::new(argv, root());
    request.env = variables.env;
    request.cwd = match args.workdir.as_deref().unwrap_or(&config.working_dir) {
        "" => "/".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => return Err(UsageError::value("workdir", path, "expected an absolute path").into()),
    };
    request.hostname = args.hostname.clone().unwrap_or_else(|| "kiln".to_owned());
    request.add_hosts = args.add_hosts.iter().map(|text| limits::host(text)).collect::<Result<_, _>>()?;
    request.ulimits = args.ulimits.iter().map(|text| limits::ulimit(text)).collect::<Result<_, _>>()?;
    request.shm_size = args.shm_size.as_deref().map_or(Ok(0), |text| limits::bytes("shm-size", text))?;
    request.terminal = args.tty;
    request.read_only_root = args.read_only;
    request.init = args.init;
    request.insecure = args.privileged;
    crate::request::rights::security(&args.security_opt, &mut request)?;
    request.capabilities = capabilities(args)?;
    request.memory = args.memory.as_deref().map(|text| limits::signed_bytes("memory", text)).transpose()?;
    request.limits = args.limits.request()?;
    args.machine.apply(&mut request)?;
    #[expect(clippy::cast_possible_truncation, reason = "a number of processors")]
    let cpus = args.cpus.map(|cpus| (cpus * 1e9) as i64);
    request.nano_cpus = cpus;
    request.pids = args.pids_limit.filter(|&pids| pids > 0);
    let processors = rustix::thread::sched_getaffinity(None).map_or(u32::MAX, |set| set.count());
    limit_checks::check(&request, processors)?;
    Ok(request)
}

fn capabilities(args: &RunArgs) -> Result<Option<BTreeSet<String>>, UsageError> {
    if args.cap_add.is_empty() && args.cap_drop.is_empty() {
        return Ok(None);
    }
    let known = kiln_executor::spec::all_capabilities();
    let full = |name: &String| {
        let name = name.to_ascii_uppercase();
        if name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let mut set: BTreeSet<String> = if all(&args.cap_add) {
        kiln_executor::spec::all_capabilities()
    } else if all(&args.cap_drop) {
        BTreeSet::new()
    } else {
        kiln_executor::spec::default_capabilities()
    };
    for name in args.cap_drop.iter().filter(|name| !name.eq_ignore_ascii_case("all")) {
        let name = full(name);
        if !known.contains(&name) {
            return Err(UsageError::value("cap-drop", &name, "no capability is called so"));
        }
        set.remove(&name);
    }
    for name in args.cap_add.iter().filter(|name| !name.eq_ignore_ascii_case("all")) {
        let name = full(name);
        if !known.contains(&name) {
            return Err(UsageError::value("cap-add", &name, "no capability is called so"));
        }
        set.insert(name);
    }
    Ok(Some(set))
}

/// Who runs it until the user has been looked up in the root file system.
fn root() -> User {
    User { uid: 0, gid: 0, groups: Vec::new(), home: "/".to_owned() }
}
