//! Where the crates are joined: the store, the isolation, the registry client that every command works with.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use kiln_cache::{OverlayXattrs, Store, StoreOptions};
use kiln_executor::isolation::{Isolation, IsolationError, IsolationRequest, Rung, enter};
use kiln_executor::launcher::Launcher;
use kiln_executor::runtime::OciRuntime;
use kiln_executor::sandbox::Sandbox;
use kiln_executor::source::{GitOptions, Remote};
use kiln_registry::{Client, ClientOptions, Credentials, ProxyOptions, RegistriesConf, Secret};
use tokio::runtime::Runtime;

use crate::args::Cli;
use crate::environment::{Environment, boot_id, now};
use crate::error::CommandError;

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Services {
    /// The process around kiln.
    pub(crate) environment: Environment,
    /// The user's directory: the store's, but for parts of it that rungs do not share.
    pub(crate) root: PathBuf,
    /// The store.
    pub(crate) store: Store,
    /// How steps are shut in, or why they cannot be: only commands that run something mind.
    pub(crate) isolation: Result<Isolation, IsolationError>,
    client: OnceLock<Client>,
    runtime: OnceLock<Runtime>,
}

impl Services {
    /// Enters the isolation and opens the store. No thread may run yet.
    ///
    /// # Errors
    /// If the store cannot be opened. `beside`: the process whose network is to be joined, if one is.
    pub(crate) fn open(
        cli: &Cli,
        environment: Environment,
        beside: Option<u32>,
    ) -> Result<Self, CommandError> {
        let wanted = match cli.isolation.as_str() {
            "auto" | "" | "default" => None,
            name => Some(
                [Rung::Root, Rung::SubordinateIds, Rung::SingleId, Rung::Chroot]
                    .into_iter()
                    .find(|rung| rung.as_str() == name)
                    .ok_or_else(|| {
                        CommandError::Usage(format!(
                            "unknown --isolation `{name}`: expected auto, root, rootless, single-id or chroot"
                        ))
                    })?,
            ),
        };
        let root = environment.store_root(cli.root.as_deref());
        let root = std::path::absolute(&root).unwrap_or(root);
        let login = environment.get("USER").map(str::to_owned);
        let isolation = enter(&IsolationRequest { wanted, login, beside, within: None });
        // A store of plain trees can be worked with on every rung that knows owners.
        let plain = OverlayXattrs::recorded(&root) == Some(OverlayXattrs::Plain);
        let xattrs = match &isolation {
            Ok(isolation) if isolation.rung == Rung::SingleId => OverlayXattrs::Recorded,
            _ if plain => OverlayXattrs::Plain,
            Ok(isolation) if isolation.cannot_stack(&root).is_some() => OverlayXattrs::Plain,
            Ok(Isolation { user_xattrs: false, .. }) => OverlayXattrs::Trusted,
            Err(_) if environment.uid == 0 => OverlayXattrs::Trusted,
            Ok(_) | Err(_) => OverlayXattrs::User,
        };
        // Trees whose owners are recorded mean nothing to the other rungs, nor theirs here.
        let own = if xattrs == OverlayXattrs::Recorded { root.join("single-id") } else { root.clone() };
        let store = Store::open(StoreOptions { root: own, xattrs, boot_id: boot_id(), clock: now })?;
        tell(&store);
        Ok(Self { environment, root, store, isolation, client: OnceLock::new(), runtime: OnceLock::new() })
    }

    /// Opens the store anew, because its index was found damaged.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn reopen(&mut self) -> Result<(), CommandError> {
        self.store = self.store.reopen()?;
        tell(&self.store);
        Ok(())
    }

    /// Starts sandboxes.
    ///
    /// # Errors
    /// Why there can be none.
    pub(crate) fn launcher(&self) -> Result<&Launcher, CommandError> {
        match &self.isolation {
            Ok(isolation) => Ok(&isolation.launcher),
            Err(error) => Err(CommandError::NoIsolation(error.to_string())),
        }
    }

    /// Starts processes: kiln's own sandbox, or the OCI runtime of that name.
    ///
    /// # Errors
    /// Why there can be none.
    pub(crate) fn sandbox(&self, runtime: Option<&str>) -> Result<Arc<dyn Sandbox>, CommandError> {
        match runtime {
            Some(name) => Ok(Arc::new(self.oci_runtime(name)?)),
            None => Ok(Arc::new(self.launcher()?.clone())),
        }
    }

    /// The OCI runtime of that name or path.
    ///
    /// # Errors
    /// Where it is not installed, or of no use here.
    pub(crate) fn oci_runtime(&self, name: &str) -> Result<OciRuntime, CommandError> {
        let refused = |message| CommandError::NoIsolation(message);
        let isolation = self.isolation.as_ref().map_err(|error| refused(error.to_string()))?;
        let search = self.environment.get("PATH").unwrap_or_default();
        let scratch = self.store.root().join("runtime");
        OciRuntime::find(name, search, scratch, isolation.rung, isolation.user_xattrs)
            .map_err(|error| refused(crate::report::chain(&error)))
    }

    /// The registry client, made when first needed: reading the machine's certificates takes longer than an unchanged build.
    pub(crate) fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(client_options(&self.environment)))
    }

    /// The same for registries that may speak plain http or show a certificate that nobody signed.
    pub(crate) fn insecure_client(&self, registries: impl Iterator<Item = String>) -> Client {
        Client::new(ClientOptions { insecure: registries.collect(), ..client_options(&self.environment) })
    }

    /// Fetches contexts that are elsewhere, with the user's SSH agent.
    pub(crate) fn remote(&self, ssh_agent: Option<PathBuf>) -> Remote {
        let git = GitOptions { ssh_agent, ..GitOptions::default() };
        Remote::new(self.store.clone(), self.client().clone(), git)
    }

    /// The runtime for what waits.
    ///
    /// # Errors
    /// If threads cannot be started.
    pub(crate) fn runtime(&self) -> Result<&Runtime, CommandError> {
        if self.runtime.get().is_none() {
            // Two callers at once would only make one in vain.
            let _ = self.runtime.set(runtime()?);
        }
        self.runtime.get().ok_or_else(|| CommandError::Usage("the runtime is gone".to_owned()))
    }
}

/// What people should know of the store that was opened.
fn tell(store: &Store) {
    if let Some(notice) = store.notice() {
        eprintln!("warning: {notice}");
    }
}

/// A runtime for what waits.
///
/// # Errors
/// If threads cannot be started.
pub(crate) fn runtime() -> Result<Runtime, CommandError> {
    // tokio panics where it gets no files for its signals and its poll.
    let files: std::io::Result<Vec<std::fs::File>> = (0..24).map(|_| std::fs::File::open("/")).collect();
    drop(files.map_err(|cause| CommandError::System { what: "open files for the worker threads", cause })?);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| CommandError::System { what: "start the worker threads", cause })
}

/// Credentials, proxies and certificates from where Docker and podman have them.
pub(crate) fn client_options(environment: &Environment) -> ClientOptions {
    let config = environment.config_dir();
    // kiln's and Docker's own file first, then podman's in its order (containers-auth.json(5)).
    let mut files: Vec<PathBuf> = vec![environment.docker_config_dir().join("config.json")];
    if let Some(file) = environment.get("REGISTRY_AUTH_FILE") {
        files.push(file.into());
    }
    files.push(match environment.get("XDG_RUNTIME_DIR") {
        Some(run) => PathBuf::from(run).join("containers/auth.json"),
        None => format!("/run/containers/{}/auth.json", environment.uid).into(),
    });
    files.push(config.join("containers/auth.json"));
    let mut host_dirs = vec![config.join("containers/certs.d"), config.join("docker/certs.d")];
    host_dirs.extend(
        ["/etc/docker/certs.d", "/etc/containers/certs.d", "/etc/containerd/certs.d"].map(PathBuf::from),
    );
    let own_conf = environment.get("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from);
    let confs = own_conf.map_or_else(
        || vec![config.join("containers/registries.conf"), "/etc/containers/registries.conf".into()],
        |file| vec![file],
    );
    let drop_ins =
        vec!["/etc/containers/registries.conf.d".into(), config.join("containers/registries.conf.d")];
    let proxy = |upper: &str, lower: &str| environment.get(upper).or(environment.get(lower)).map(Secret::new);
    ClientOptions {
        credentials: Credentials::from_files(files),
        host_dirs,
        registries_conf: RegistriesConf { files: confs, directories: drop_ins },
        ca_files: environment.get("SSL_CERT_FILE").map(PathBuf::from).into_iter().collect(),
        proxy: ProxyOptions {
            http: proxy("HTTP_PROXY", "http_proxy"),
            https: proxy("HTTPS_PROXY", "https_proxy"),
            all: proxy("ALL_PROXY", "all_proxy"),
            none_for: environment
                .get("NO_PROXY")
                .or(environment.get("no_proxy"))
                .unwrap_or_default()
                .to_owned(),
        },
        ..ClientOptions::default()
    }
}
