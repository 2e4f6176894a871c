//! The one door: locks sources, digests what an op reads, and performs ops.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_cache::{ScratchDir, Store, Timestamp};
use kiln_core::{
    ContentHash, Event, Exec, GitSource, HttpSource, ImageLocator, LocalSource, NetworkMode, Op, Progress,
    Snapshot, Source, StableHash as _, StableHasher, StepId,
};
use kiln_registry::{Client, Secret};

use crate::cdi::DeviceRules;
use crate::context::{ContextError, ContextTree, LocalContext};
use crate::error::ExecutorError;
use crate::exec::Look;
use crate::network::Networks;
use crate::sandbox::{ResourceLimits, Sandbox};
use crate::source::{Download, GitOptions, ImageStore, Layout, Repository, SourceError};
use crate::{edit, exec, source};

/// What an op makes, and what the next one reads.
#[derive(Debug, Clone)]
pub enum Value {
    /// A file system.
    Snapshot(Snapshot),
    /// A directory of the user, as one walk found it.
    Context(Arc<ContextTree>),
}

/// A secret of the build.
#[derive(Clone)]
pub struct SecretValue(pub Vec<u8>);

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretValue({} bytes)", self.0.len())
    }
}

/// What an executor works with.
#[derive(Clone)]
pub struct Services {
    /// The store of this machine.
    pub store: Store,
    /// Pulls images, fetches files.
    pub client: Client,
    /// Starts processes.
    pub sandbox: Arc<dyn Sandbox>,
    /// Hears of output and transfers.
    pub progress: Arc<dyn Progress>,
    /// The user's directories by name: `context`, and those of `--build-context`.
    pub contexts: BTreeMap<String, LocalContext>,
    /// `--secret` by id.
    pub secrets: BTreeMap<String, SecretValue>,
    /// `--ssh` by id: the agent's socket.
    pub ssh: BTreeMap<String, PathBuf>,
    /// What RUN steps get that ask for no network mode.
    pub network: NetworkMode,
    /// Makes the networks of RUN steps that ask for a private one.
    pub networks: Option<Networks>,
    /// Separates the cache mounts of builds that must not meet (`BUILDKIT_CACHE_MOUNT_NS`).
    pub cache_namespace: String,
    /// How `git` is called.
    pub git: GitOptions,
    /// The content of `/etc/resolv.conf` in RUN steps.
    pub resolv_conf: Vec<u8>,
    /// Memory limit of RUN steps in bytes.
    pub memory: Option<i64>,
    /// Further limits of RUN steps.
    pub limits: ResourceLimits,
    /// What devices RUN steps may have.
    pub devices: DeviceRules,
    /// Looks at RUN steps that fail.
    pub on_failure: Option<Arc<dyn Look>>,
    /// Whether unchanged files may be linked from other layers: not where steps write into layer trees in place.
    pub link_files: bool,
    /// Tells the time.
    pub clock: fn() -> SystemTime,
}

/// Performs ops. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) services: Services,
    /// What locking has found already, so that performing does not find something else.
    contexts: Mutex<HashMap<ContentHash, Arc<ContextTree>>>,
    downloads: Mutex<HashMap<String, Download>>,
    commits: Mutex<HashMap<ContentHash, String>>,
    /// The lowest layer of the roots of RUN steps.
    pub(crate) mount_points: OnceLock<ScratchDir>,
}

impl Executor {
    /// An executor over these services.
    pub fn new(services: Services) -> Self {
        let inner = Inner {
            services,
            contexts: Mutex::default(),
            downloads: Mutex::default(),
            commits: Mutex::default(),
            mount_points: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The hash that pins a source: the digest of a context's files, of a download's content, of a commit. `None` for
    /// what the op itself pins.
    ///
    /// # Errors
    /// If the context cannot be read, the server or the repository not be asked.
    pub async fn lock(&self, source: &Source) -> Result<Option<ContentHash>, ExecutorError> {
        match source {
            Source::Scratch | Source::Image(_) => Ok(None),
            Source::Local(local) => {
                let (this, local) = (self.clone(), local.clone());
                Ok(Some(blocking(move || Ok(this.context(&local)?.digest())).await?))
            }
            Source::Http(http) => Ok(Some(ContentHash::of(self.download(http).await?.blob.as_bytes()))),
            Source::Git(git) => {
                let (this, git) = (self.clone(), git.clone());
                Ok(Some(blocking(move || Ok(ContentHash::of(this.commit(&git)?.as_bytes()))).await?))
            }
        }
    }

    /// The content of the part of input `index` that `op` reads; `input` is what it is.
    ///
    /// # Errors
    /// If what the op reads is not there.
    pub fn content(&self, op: &Op, index: usize, input: &Value) -> Result<ContentHash, ExecutorError> {
        match op {
            Op::Source(_) => Ok(StableHasher::new("kiln nothing read").finish()),
            Op::File(edit) => edit::content(&self.inner, edit, index, input),
            Op::Exec(exec) => exec::content(&self.inner, exec, index, input),
        }
    }

    /// Performs `op` on `inputs` for the step `step`. A future that is dropped kills the process it has started.
    ///
    /// # Errors
    /// If the op fails.
    pub async fn run(&self, step: StepId, op: &Op, inputs: &[Value]) -> Result<Value, ExecutorError> {
        match op {
            Op::Source(source) => self.source(step, source).await,
            Op::File(file) => {
                let (this, file, inputs) = (self.clone(), file.clone(), inputs.to_vec());
                blocking(move || edit::run(&this.inner, &file, &inputs).map(Value::Snapshot)).await
            }
            Op::Exec(process) => {
                let (this, process, inputs) = (self.clone(), process.clone(), inputs.to_vec());
                let cancel = exec::Cancel::default();
                let _kill = cancel.on_drop();
                blocking(move || {
                    exec::run(&this.inner, step, &process, &inputs, &cancel).map(Value::Snapshot)
                })
                .await
            }
        }
    }

    /// Has `look` look at the step `exec` in place of running it. A future that is dropped kills what was started.
    ///
    /// # Errors
    /// If it could not have been run either.
    pub async fn look(
        &self,
        step: StepId,
        exec: &Exec,
        inputs: &[Value],
        look: Arc<dyn Look>,
    ) -> Result<(), ExecutorError> {
        let (this, exec, inputs) = (self.clone(), exec.clone(), inputs.to_vec());
        let cancel = exec::Cancel::default();
        let _kill = cancel.on_drop();
        blocking(move || exec::look(&this.inner, step, &exec, &inputs, &cancel, &*look)).await
    }

    async fn source(&self, step: StepId, source: &Source) -> Result<Value, ExecutorError> {
        let services = &self.inner.services;
        let snapshot = match source {
            Source::Scratch => Snapshot::scratch(),
            Source::Local(local) => {
                let (this, local) = (self.clone(), local.clone());
                let tree = blocking(move || this.context(&local)).await?;
                let bytes = tree.bytes();
                services.progress.emit(Event::Status {
                    step,
                    id: "transferring context:".to_owned(),
                    current: bytes,
                    total: bytes,
                    done: true,
                });
                return Ok(Value::Context(tree));
            }
            Source::Image(image) => match &image.locator {
                ImageLocator::Store { id } => {
                    let (store, id) = (services.store.clone(), *id);
                    let find = move || {
                        let record = store.index().image_by_id(&id).map_err(SourceError::from)?;
                        Ok(record.ok_or(SourceError::NoImage(id))?.snapshot)
                    };
                    blocking(find).await?
                }
                ImageLocator::Registry { reference, manifest } => {
                    let watched =
                        ImageStore::new(services.store.clone()).watched(step, services.progress.clone());
                    watched.pull(&services.client, reference, manifest).await?
                }
                ImageLocator::Layout { path, manifest } => {
                    let layout = Layout { directory: PathBuf::from(path) };
                    ImageStore::new(services.store.clone()).read_layout(&layout, manifest).await?
                }
            },
            Source::Http(http) => {
                let download = self.download(http).await?;
                let (store, http) = (services.store.clone(), http.clone());
                blocking(move || Ok(source::download_snapshot(&store, &http, &download)?)).await?
            }
            Source::Git(git) => {
                let (this, git) = (self.clone(), git.clone());
                blocking(move || this.checkout(&git)).await?
            }
        };
        Ok(Value::Snapshot(snapshot))
    }

    /// Walks a context, once for each set of wanted paths.
    fn context(&self, local: &LocalSource) -> Result<Arc<ContextTree>, ExecutorError> {
        let services = &self.inner.services;
        let unknown = || ContextError::Unknown(local.name.clone());
        let context = services.contexts.get(&local.name).ok_or_else(unknown)?;
        let key = context.table_key(&local.wanted);
        let mut walked = self.inner.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = walked.get(&key) {
            return Ok(tree.clone());
        }
        let index = services.store.index();
        // A stat index that cannot be used costs time, not the build.
        let known = index.stat_table(&key).unwrap_or_default();
        let (tree, table) = context.read(&local.wanted, &known, (services.clock)())?;
        if let Some(table) = table {
            let _ = index.set_stat_table(&key, &table);
        }
        let tree = Arc::new(tree);
        walked.insert(key, tree.clone());
        Ok(tree)
    }

    async fn download(&self, http: &HttpSource) -> Result<Download, ExecutorError> {
        let known = || self.inner.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(download) = known().get(&http.url).filter(|d| http.checksum.is_none_or(|c| c == d.blob)) {
            return Ok(download.clone());
        }
        let services = &self.inner.services;
        let authorization = self.http_authorization(&http.url);
        let download = source::download(&services.store, &services.client, http, authorization).await?;
        known().insert(http.url.clone(), download.clone());
        Ok(download)
    }

    /// The secret for a download: `HTTP_AUTH_HEADER_<host>` as it is, or `HTTP_AUTH_TOKEN_<host>` as a bearer token
    /// (BuildKit, reference.md#add).
    fn http_authorization(&self, url: &str) -> Option<Secret> {
        let rest = url.split_once("://")?.1;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let secret = |kind: &str| {
            let value = &self.inner.services.secrets.get(&format!("HTTP_AUTH_{kind}_{host}"))?.0;
            Some(String::from_utf8_lossy(value).trim().to_owned())
        };
        let token = || secret("TOKEN").map(|token| format!("Bearer {token}"));
        secret("HEADER").or_else(token).map(Secret::new)
    }

    /// The commit of a repository, asked once.
    fn commit(&self, git: &GitSource) -> Result<String, ExecutorError> {
        let mut hasher = StableHasher::new("kiln git commit 1");
        (git.remote.clone(), git.reference.clone()).stable_hash(&mut hasher);
        git.checksum.stable_hash(&mut hasher);
        let key = hasher.finish();
        let known = || self.inner.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(commit) = known().get(&key) {
            return Ok(commit.clone());
        }
        let mirror = source::mirror(&self.inner.services.store, git)?;
        let options = &self.inner.services.git;
        let commit = Repository { source: git, options, mirror: &mirror }.commit()?;
        known().insert(key, commit.clone());
        Ok(commit)
    }

    fn checkout(&self, git: &GitSource) -> Result<Snapshot, ExecutorError> {
        let services = &self.inner.services;
        let commit = self.commit(git)?;
        let mirror = source::mirror(&services.store, git)?;
        let _alone = services.store.lock(&source::lock_name(git)).map_err(SourceError::from)?;
        let scratch = services.store.scratch_dir().map_err(SourceError::from)?;
        let repository = Repository { source: git, options: &services.git, mirror: &mirror };
        let (root, seconds) = repository.checkout(&commit, scratch.path())?;
        edit::directory(&self.inner, &root, Timestamp::seconds(seconds))
    }
}

impl Inner {
    /// The present time.
    pub(crate) fn now(&self) -> Timestamp {
        let since = (self.services.clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: since.subsec_nanos(),
        }
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExecutorError> + Send + 'static,
) -> Result<T, ExecutorError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ExecutorError::GivenUp)?
}
