//! The options of `kiln build`: Docker's and buildx's.

use std::path::PathBuf;

use clap::Args;

use crate::progress::ProgressMode;

/// `--on-failure`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnFailureAction {
    /// A shell in the root that the step left.
    Shell,
}

/// `kiln build`
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Directory, git repository or URL that COPY and ADD read; - for a tar or a Dockerfile on standard input
    #[arg(value_name = "PATH | URL | -")]
    pub(crate) context: String,
    /// Name of the Dockerfile [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) file: Option<String>,
    /// Name of the image, name:tag
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Build argument, K=V, or K to take it from the environment
    #[arg(long = "build-arg", value_name = "K=V")]
    pub(crate) build_args: Vec<String>,
    /// Further context, NAME=PATH|docker-image://REF|oci-layout://PATH|URL
    #[arg(long = "build-context", value_name = "NAME=REF")]
    pub(crate) build_contexts: Vec<String>,
    /// Label of the image
    #[arg(long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<String>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Perform every step, whatever is known
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Stages to perform whatever is known
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// When to ask registries for base images: always (or alone), newer, missing, never
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "always", default_value = "missing", value_name = "WHEN", hide_default_value = true)]
    pub(crate) pull: String,
    /// Network of RUN steps: default, host, none, private
    #[arg(long, value_name = "MODE", default_value = "default", hide_default_value = true)]
    pub(crate) network: String,
    /// What comes out: type=oci|docker|image|registry|local|tar[,dest=PATH][,…], or a directory, or - for a tar
    #[arg(short, long = "output", value_name = "SPEC")]
    pub(crate) outputs: Vec<String>,
    /// Shorthand for --output=type=registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Shorthand for --output=type=docker: into the local store
    #[arg(long)]
    pub(crate) load: bool,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Say for every step why it ran or did not: which file, argument or base changed
    #[arg(long)]
    pub(crate) explain: bool,
    /// Write a page with the stages and the timeline of the build
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    /// Take results from a cache, type=local,src=DIR|registry,ref=NAME
    #[arg(long, value_name = "SPEC")]
    pub(crate) cache_from: Vec<String>,
    /// Put results into a cache, type=local,dest=DIR|registry,ref=NAME|inline[,mode=max][,…]
    #[arg(long, value_name = "SPEC")]
    pub(crate) cache_to: Vec<String>,
    /// What to do when a RUN step fails: shell opens one in its root, if there is a terminal
    #[arg(long, value_enum, value_name = "ACTION")]
    pub(crate) on_failure: Option<OnFailureAction>,
    /// Print the image's digest alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    pub(crate) progress: ProgressMode,
    /// Secret for RUN --mount=type=secret, id=ID[,src=PATH|,env=NAME]
    #[arg(long = "secret", value_name = "SPEC")]
    pub(crate) secrets: Vec<String>,
    /// SSH agent or key for RUN --mount=type=ssh, default|ID[=PATH]
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// Grant a right to the build: network.host, security.insecure, device[=NAME]
    #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// Device for all RUN steps by its CDI name, vendor.com/class=name
    #[arg(long = "device", value_name = "NAME")]
    pub(crate) devices: Vec<String>,
    /// Directory of CDI specifications in place of /etc/cdi and /var/run/cdi
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    /// Line for /etc/hosts in RUN steps, HOST:ADDRESS
    #[arg(long = "add-host", value_name = "HOST:IP")]
    pub(crate) add_hosts: Vec<String>,
    /// Size of /dev/shm in RUN steps
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Limit of RUN steps, name=soft[:hard]
    #[arg(long = "ulimit", value_name = "LIMIT")]
    pub(crate) ulimits: Vec<String>,
    /// Parent control group of RUN steps
    #[arg(long, value_name = "GROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// Memory limit of RUN steps
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// OCI runtime that starts processes in place of kiln's own sandbox: crun, runc, runsc or a path
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<String>,
    #[command(flatten)]
    pub(crate) limits: super::limits::LimitArgs,
    /// Check the Dockerfile without building it
    #[arg(long)]
    pub(crate) check: bool,
    /// What to do with the Dockerfile: build, check, outline, targets
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,
    /// Annotation of the image's manifest
    #[arg(long = "annotation", value_name = "K=V")]
    pub(crate) annotations: Vec<String>,
    /// State how the image was built: true, false, mode=min|max[,builder-id=ID][,version=v1|v0.2]
    #[arg(long, value_name = "BOOL|mode=MODE", num_args = 0..=1, require_equals = true)]
    pub(crate) provenance: Option<Option<String>>,
    /// State which packages are in the image: true, false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    pub(crate) sbom: Option<Option<String>>,
    /// Statement beside the image, type=provenance|sbom[,…]
    #[arg(long = "attest", value_name = "SPEC")]
    pub(crate) attests: Vec<String>,
    /// Accepted for Docker's sake: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) builder: Option<String>,
    /// Accepted for Docker's sake: intermediate containers do not exist
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    pub(crate) rm: Option<Option<String>>,
    /// Accepted for Docker's sake: intermediate containers do not exist
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    pub(crate) force_rm: Option<Option<String>>,
    /// Accepted for Docker's sake: no context is sent
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    pub(crate) compress: Option<Option<String>>,
    /// Accepted for Docker's sake, with a warning
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    pub(crate) squash: Option<Option<String>>,
    /// Accepted for Docker's sake, with a warning
    #[arg(long, value_name = "OPTION", hide = true)]
    pub(crate) security_opt: Vec<String>,
    /// Accepted for Docker's sake: nobody signs names any more
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    pub(crate) disable_content_trust: Option<Option<String>>,
}
