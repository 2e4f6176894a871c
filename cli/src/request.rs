//! What a build is asked to do: the command line as meant, every option typed, nothing looked at yet.

mod attest;
mod devices;
mod error;
pub(crate) mod filter;
pub(crate) mod fitting;
pub(crate) mod limit_checks;
mod limit_flags;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod pairs;
pub(crate) mod rights;
pub(crate) mod secret;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_core::{NetworkMode, Platform, Reference, Surroundings};
use kiln_executor::cdi::DeviceRules;
use kiln_executor::sandbox::ResourceLimits;

pub(crate) use self::attest::Attests;
pub(crate) use self::error::UsageError;
pub(crate) use self::secret::SecretFrom;
use crate::annotations::Annotations;
use crate::args::BuildArgs;
use crate::environment::Environment;
use crate::output::{Output, OutputKind};
use crate::progress::ProgressMode;
use crate::pulling::PullPolicy;
use crate::remote_cache::CacheSpec;

/// A build as meant.
#[derive(Debug, Clone)]
pub(crate) struct BuildRequest {
    /// What COPY and ADD read.
    pub(crate) context: ContextFrom,
    /// Where the Dockerfile is.
    pub(crate) dockerfile: DockerfileFrom,
    /// `--build-context`, name to what it is.
    pub(crate) contexts: BTreeMap<String, String>,
    /// The stage to build; the last one if none.
    pub(crate) target: Option<String>,
    /// `--build-arg`, and SOURCE_DATE_EPOCH of the environment.
    pub(crate) build_args: BTreeMap<String, String>,
    /// `--label`.
    pub(crate) labels: BTreeMap<String, String>,
    /// `--platform`; the host's if empty.
    pub(crate) platforms: Vec<Platform>,
    /// `--no-cache`.
    pub(crate) no_cache: bool,
    /// `--no-cache-filter`.
    pub(crate) no_cache_stages: Vec<String>,
    /// `--pull`.
    pub(crate) pull: PullPolicy,
    /// `--network`.
    pub(crate) network: NetworkMode,
    /// Host name, hosts and limits of RUN steps.
    pub(crate) surroundings: Surroundings,
    /// `--memory`, in bytes.
    pub(crate) memory: Option<i64>,
    /// Further limits of RUN steps.
    pub(crate) limits: ResourceLimits,
    /// `--secret`.
    pub(crate) secrets: BTreeMap<String, SecretFrom>,
    /// `--ssh`, id to agent socket.
    pub(crate) ssh: BTreeMap<String, PathBuf>,
    /// `--runtime`.
    pub(crate) runtime: Option<String>,
    /// `--allow security.insecure`.
    pub(crate) allow_insecure: bool,
    /// Which devices RUN steps may have.
    pub(crate) devices: DeviceRules,
    /// Those that all of them ask for.
    pub(crate) every_device: Vec<(String, bool)>,
    /// `--tag`.
    pub(crate) names: Vec<Reference>,
    /// What it ends in.
    pub(crate) outputs: Vec<Output>,
    /// Annotations of every output.
    pub(crate) annotations: Annotations,
    /// `--provenance`, `--sbom`.
    pub(crate) attests: Attests,
    /// SOURCE_DATE_EPOCH, in seconds since 1970.
    pub(crate) epoch: Option<i64>,
    /// `--iidfile`.
    pub(crate) iidfile: Option<PathBuf>,
    /// `--metadata-file`.
    pub(crate) metadata_file: Option<PathBuf>,
    /// `--quiet`.
    pub(crate) quiet: bool,
    /// `--progress`.
    pub(crate) progress: ProgressMode,
    /// `--cache-from`.
    pub(crate) cache_from: Vec<CacheSpec>,
    /// `--cache-to`.
    pub(crate) cache_to: Vec<CacheSpec>,
    /// `--timeline`.
    pub(crate) timeline: Option<PathBuf>,
    /// `--explain`.
    pub(crate) explain: bool,
    /// `--call`, `--check`.
    pub(crate) call: Call,
}

/// What COPY and ADD read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContextFrom {
    /// A directory.
    Directory(PathBuf),
    /// Standard input: a tar, or a Dockerfile alone.
    Stdin,
    /// A git repository, or a URL of a tar or a Dockerfile.
    Remote(String),
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DockerfileFrom {
    /// `Dockerfile` in the context.
    Context,
    /// A path as typed.
    Path(String),
    /// Standard input.
    Stdin,
}

/// What is done with a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It is built.
    Build,
    /// It is checked.
    Check(CallFormat),
    /// Its arguments, secrets and caches are listed.
    Outline(CallFormat),
    /// Its stages are listed.
    Targets(CallFormat),
}

/// How a call's answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl BuildRequest {
    /// Understands a command line.
    ///
    /// # Errors
    /// The first option that cannot be understood.
    pub(crate) fn new(args: &BuildArgs, environment: &Environment) -> Result<Self, UsageError> {
        let context = match args.context.as_str() {
            "-" => ContextFrom::Stdin,
            text if is_remote(text) => ContextFrom::Remote(text.to_owned()),
            path => ContextFrom::Directory(path.into()),
        };
        let dockerfile = match args.file.as_deref() {
            None => DockerfileFrom::Context,
            Some("-") => DockerfileFrom::Stdin,
            Some(path) => DockerfileFrom::Path(path.to_owned()),
        };
        if context == ContextFrom::Stdin && dockerfile == DockerfileFrom::Stdin {
            let problem = "context and Dockerfile cannot both come from standard input";
            return Err(UsageError::Conflict(problem.to_owned()));
        }
        let mut build_args: BTreeMap<String, String> =
            pairs::variables(&args.build_args, environment).into_iter().collect();
        if let Some(epoch) = environment.source_date_epoch() {
            build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| epoch.to_string());
        }
        let epoch = epoch(&build_args);
        let hostname = build_args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned().unwrap_or_default();
        let mut request = Self {
            context,
            dockerfile,
            contexts: contexts(&args.build_contexts)?,
            target: args.target.clone().filter(|target| !target.is_empty()),
            build_args,
            labels: pairs::labels(&args.labels),
            platforms: args.platform.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            no_cache: args.no_cache,
            no_cache_stages: args.no_cache_filter.clone(),
            pull: args
                .pull
                .parse()
                .map_err(|problem: String| UsageError::value("pull", &args.pull, &problem))?,
            network: network(&args.network)?,
            surroundings: Surroundings { hostname, ..surroundings(args)? },
            memory: args.memory.as_deref().map(|text| limits::signed_bytes("memory", text)).transpose()?,
            limits: args.limits.request()?,
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            runtime: args.runtime.clone(),
            allow_insecure: args.allow.iter().any(|right| right == "security.insecure"),
            devices: devices::rules(devices::directories(&args.cdi_spec_dirs), &args.allow, &args.devices),
            every_device: devices::every_step(&args.devices)?,
            names: args.tags.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
            outputs: outputs(args)?,
            annotations: Annotations::of_flags(&args.annotations)
                .map_err(|problem| UsageError::value("annotation", &args.annotations.join(" "), &problem))?,
            attests: Attests::parse(
                args.provenance.as_ref().map(Option::as_deref),
                args.sbom.as_ref().map(Option::as_deref),
                &args.attests,
            )?,
            epoch,
            iidfile: args.iidfile.clone(),
            metadata_file: args.metadata_file.clone(),
            quiet: args.quiet,
            progress: if args.quiet { ProgressMode::Quiet } else { args.progress },
            cache_from: caches(&args.cache_from, false)?,
            cache_to: caches(&args.cache_to, true)?,
            timeline: args.timeline.clone(),
            explain: args.explain,
            call: call(args)?,
        };
        for text in &args.secrets {
            let (id, from) = secret::secret(text, |name| environment.get(name).is_some())?;
            request.secrets.insert(id, from);
        }
        for text in &args.ssh {
            let (id, socket) = secret::ssh(text, environment.get("SSH_AUTH_SOCK"))?;
            request.ssh.insert(id, socket);
        }
        request.check()?;
        Ok(request)
    }

    /// Whether something says the image's id, which is computed from the tars of its layers.
    pub(crate) fn wants_id(&self) -> bool {
        self.quiet || self.iidfile.is_some() || self.metadata_file.is_some()
    }

    fn check(&self) -> Result<(), UsageError> {
        if self.outputs.iter().filter(|output| output.takes_stdout()).count() > 1 {
            return Err(UsageError::Conflict("only one output can go to standard output".to_owned()));
        }
        let pushes = |output: &&Output| matches!(output.kind, OutputKind::Image { push: true, .. });
        if let Some(output) = self.outputs.iter().find(pushes)
            && self.names.is_empty()
            && output.names.is_empty()
        {
            return Err(UsageError::Conflict("a push needs a name: give one with --tag".to_owned()));
        }
        if let Some(tagged) = self.names.iter().find(|name| name.digest().is_some()) {
            return Err(UsageError::value(
                "tag",
                &tagged.to_string(),
                "a name for a new image cannot have a digest",
            ));
        }
        Ok(())
    }
}

/// Whether a context is fetched: a URL with a scheme, or git's `user@host:path` (Docker, `docker build` reference).
pub(crate) fn is_remote(text: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@", "github.com/"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

/// A number; what else it may name, the Dockerfile tells.
fn epoch(build_args: &BTreeMap<String, String>) -> Option<i64> {
    build_args.get("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok())
}

fn contexts(typed: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    let mut contexts = BTreeMap::new();
    for text in typed {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| UsageError::value("build-context", text, "expected NAME=REF"))?;
        contexts.insert(name.to_owned(), value.to_owned());
    }
    Ok(contexts)
}

/// `--network` of builds.
fn network(text: &str) -> Result<NetworkMode, UsageError> {
    match text {
        "" | "default" => Ok(NetworkMode::Default),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        "private" | "bridge" => Ok(NetworkMode::Private),
        _ => Err(UsageError::value("network", text, "expected default, host, none or private")),
    }
}

fn surroundings(args: &BuildArgs) -> Result<Surroundings, UsageError> {
    Ok(Surroundings {
        hostname: String::new(),
        add_hosts: args.add_hosts.iter().map(|text| limits::host(text)).collect::<Result<_, _>>()?,
        shm_size: args.shm_size.as_deref().map_or(Ok(0), |text| limits::bytes("shm-size", text))?,
        ulimits: args.ulimits.iter().map(|text| limits::ulimit(text)).collect::<Result<_, _>>()?,
        cgroup_parent: args.cgroup_parent.clone().unwrap_or_default(),
    })
}

fn caches(typed: &[String], to: bool) -> Result<Vec<CacheSpec>, UsageError> {
    typed.iter().map(|text| CacheSpec::parse(text, to)).collect()
}

fn outputs(args: &BuildArgs) -> Result<Vec<Output>, UsageError> {
    let mut outputs: Vec<Output> =
        args.outputs.iter().map(|spec| Output::parse(spec)).collect::<Result<_, _>>()?;
    if args.push {
        let image = outputs.iter_mut().find_map(|output| match &mut output.kind {
            OutputKind::Image { push, .. } => Some(push),
            _ => None,
        });
        match image {
            Some(push) => *push = true,
            None => outputs.push(Output::push()),
        }
    }
    if args.load || outputs.is_empty() {
        outputs.push(Output::store());
    }
    if args.load {
        outputs.push(Output::engine());
    }
    Ok(outputs)
}

fn call(args: &BuildArgs) -> Result<Call, UsageError> {
    let Some(text) = args.call.as_deref() else {
        return Ok(if args.check { Call::Check(CallFormat::Text) } else { Call::Build });
    };
    let mut parts = text.split(',');
    let method = parts.next().unwrap_or_default();
    let mut format = CallFormat::Text;
    for part in parts {
        match part {
            "format=json" | "json" => format = CallFormat::Json,
            "format=text" | "format=table" => format = CallFormat::Text,
            "ignorestatus" | "ignorestatus=true" | "ignorestatus=false" => {}
            other => return Err(UsageError::value("call", text, &format!("unknown option `{other}`"))),
        }
    }
    match method {
        "build" => Ok(Call::Build),
        "check" | "lint" => Ok(Call::Check(format)),
        "outline" => Ok(Call::Outline(format)),
        "targets" => Ok(Call::Targets(format)),
        _ => Err(UsageError::value("call", text, "expected build, check, outline or targets")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn request(words: &[&str]) -> Result<BuildRequest, UsageError> {
        let cli = Cli::try_parse_from(["kiln", "build"].iter().chain(words)).unwrap();
        let Command::Build(args) = cli.command else { panic!("not a build") };
        BuildRequest::new(&args, &Environment::of_process())
    }

    #[test]
    fn a_build_without_outputs_ends_in_the_store() {
        let request = request(&["-t", "app", "."]).unwrap();
        assert_eq!(request.outputs, [Output::store()]);
        assert_eq!(request.context, ContextFrom::Directory(".".into()));
        assert_eq!(request.names[0].to_string(), "docker.io/library/app:latest");
    }

    #[test]
    fn options_of_docker_are_taken() {
        let request = request(&[
            "--build-arg",
            "A=1",
            "--label",
            "l=v",
            "--platform",
            "linux/arm64,linux/amd64",
            "--pull",
            "--no-cache",
            "--network=none",
            "--add-host",
            "h:1.2.3.4",
            "--shm-size",
            "1m",
            "--ulimit",
            "nofile=1:2",
            "--secret",
            "id=s,src=f",
            "-f",
            "-",
            "--provenance=false",
            "--rm",
            "ctx",
        ])
        .unwrap();
        assert_eq!(request.dockerfile, DockerfileFrom::Stdin);
        assert_eq!(request.network, NetworkMode::None);
        assert_eq!(request.platforms.len(), 2);
        assert!(request.pull == PullPolicy::Always && request.no_cache);
    }

    #[test]
    fn contradictions_are_named() {
        for (words, problem) in [
            (&["-f", "-", "-"][..], "context and Dockerfile cannot both come from standard input"),
            (&["--push", "."][..], "a push needs a name: give one with --tag"),
            (&["-o", "-", "-o", "type=oci,dest=-", "."][..], "only one output can go to standard output"),
        ] {
            assert_eq!(request(words).unwrap_err().to_string(), problem);
        }
    }
}
