//! A store, an executor over it, and a context directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use kiln_cache::{Entry, Kind, OverlayXattrs, Store, StoreOptions};
use kiln_core::pattern::Ignore;
use kiln_core::{
    Copy, CopySource, Event, Exec, FileAction, FileEdit, LocalSource, NetworkMode, Op, Platform, Progress,
    SecurityMode, Snapshot, Source, StepId, Surroundings, Unpack,
};
use kiln_executor::context::LocalContext;
use kiln_executor::isolation::{IsolationRequest, Rung, enter};
use kiln_executor::{Executor, ExecutorError, SecretValue, Services, Value};
use kiln_registry::{Client, ClientOptions};
use tempfile::TempDir;

/// What steps have printed.
#[derive(Default)]
pub(crate) struct Output(Mutex<Vec<u8>>);

impl Progress for Output {
    fn emit(&self, event: Event) {
        if let Event::Log { data, .. } = event {
            self.0.lock().unwrap().extend(data);
        }
    }
}

pub(crate) struct World {
    pub(crate) services: Services,
    pub(crate) output: Arc<Output>,
    pub(crate) runtime: tokio::runtime::Runtime,
    directory: TempDir,
}

impl World {
    /// Enters the isolation and opens a store. The reason if this machine cannot.
    pub(crate) fn enter() -> Result<Self, String> {
        let isolation = enter(&IsolationRequest::default()).map_err(|error| error.to_string())?;
        let directory = tempfile::Builder::new().prefix("kiln-executor").tempdir_in("/tmp").unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        let user = !matches!(isolation.rung, Rung::Root);
        #[expect(clippy::disallowed_methods, reason = "a test has no other clock")]
        let clock = || SystemTime::now();
        let store = Store::open(StoreOptions {
            root: directory.path().join("store"),
            xattrs: if user { OverlayXattrs::User } else { OverlayXattrs::Trusted },
            boot_id: "test".into(),
            clock,
        })
        .unwrap();
        let output = Arc::new(Output::default());
        let context =
            LocalContext { directory: directory.path().join("context"), ignore: Arc::new(Ignore::default()) };
        let services = Services {
            store,
            client: Client::new(ClientOptions::default()),
            sandbox: Arc::new(isolation.launcher),
            progress: output.clone(),
            contexts: BTreeMap::from([("context".to_owned(), context)]),
            secrets: BTreeMap::from([("token".to_owned(), SecretValue(b"hidden".to_vec()))]),
            ssh: BTreeMap::new(),
            network: NetworkMode::Host,
            networks: None,
            cache_namespace: String::new(),
            git: Default::default(),
            resolv_conf: b"nameserver 192.0.2.1\n".to_vec(),
            memory: None,
            limits: kiln_executor::sandbox::ResourceLimits::default(),
            devices: kiln_executor::cdi::DeviceRules::default(),
            on_failure: None,
            link_files: true,
            clock,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        Ok(Self { services, output, runtime, directory })
    }

    pub(crate) fn executor(&self) -> Executor {
        Executor::new(self.services.clone())
    }

    /// Writes a file of the context.
    pub(crate) fn file(&self, path: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.directory.path().join("context").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    pub(crate) fn try_run(
        &self,
        executor: &Executor,
        op: &Op,
        inputs: &[Value],
    ) -> Result<Value, ExecutorError> {
        self.runtime.block_on(executor.run(StepId::internal("test"), op, inputs))
    }

    pub(crate) fn run(&self, op: &Op, inputs: &[Value]) -> Value {
        self.try_run(&self.executor(), op, inputs).unwrap()
    }

    pub(crate) fn context(&self) -> Value {
        self.run(&local(), &[])
    }

    /// A root with busybox.
    pub(crate) fn busybox(&self) -> Value {
        let program = fs::read("/bin/busybox").expect("busybox-static is installed");
        let path = self.file(".base/bin/busybox", "", 0o755);
        fs::write(path, program).unwrap();
        for applet in
            ["sh", "cat", "ls", "echo", "id", "pwd", "mkdir", "rm", "sleep", "test", "stat", "touch"]
        {
            let link = self.directory.path().join("context/.base/bin").join(applet);
            let _ = std::os::unix::fs::symlink("busybox", link);
        }
        self.file(
            ".base/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n",
            0o644,
        );
        self.run(&Op::File(copy(&[".base"], "/")), &[scratch(), self.context()])
    }

    /// The last layer of a snapshot, a line an entry.
    pub(crate) fn last_layer(&self, value: &Value) -> Vec<String> {
        let layers = &snapshot(value).layers;
        let layer = self.services.store.layers().get(layers.last().unwrap()).unwrap();
        layer.manifest.entries().iter().filter(|e| !e.path.as_os_str().is_empty()).map(line).collect()
    }

    pub(crate) fn read(&self, value: &Value, path: &str) -> String {
        let view = self.services.store.layers().view(snapshot(value)).unwrap();
        let found = view.lookup(Path::new(path)).unwrap_or_else(|| panic!("{path} is not there"));
        std::io::read_to_string(view.open(&found).unwrap()).unwrap()
    }

    pub(crate) fn printed(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.output.0.lock().unwrap())).unwrap()
    }

    pub(crate) fn sh(&self, script: &str, on: &Value) -> Value {
        self.run(&Op::Exec(exec(script)), std::slice::from_ref(on))
    }
}

fn line(entry: &Entry) -> String {
    let letter = match entry.kind {
        Kind::Dir => 'd',
        Kind::File(_) => 'f',
        Kind::HardLink { .. } => 'h',
        Kind::Symlink { .. } => 'l',
        Kind::Whiteout => 'w',
        Kind::Char(_) | Kind::Block(_) | Kind::Fifo => 'n',
    };
    let a = &entry.attributes;
    format!("{letter} {:o} {}:{} {}", a.mode, a.uid, a.gid, entry.path.display())
}

pub(crate) fn snapshot(value: &Value) -> &Snapshot {
    match value {
        Value::Snapshot(snapshot) => snapshot,
        Value::Context(_) => panic!("a context"),
    }
}

pub(crate) fn scratch() -> Value {
    Value::Snapshot(Snapshot::scratch())
}

pub(crate) fn local() -> Op {
    Op::Source(Source::Local(LocalSource { name: "context".into(), wanted: Vec::new() }))
}

pub(crate) fn copy(sources: &[&str], destination: &str) -> FileEdit {
    let path = |path: &&str| CopySource::Path { input: 1, path: (*path).to_owned(), required: false };
    let copy = Copy {
        sources: sources.iter().map(path).collect(),
        destination: destination.to_owned(),
        chown: None,
        chmod: None,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
    };
    FileEdit { actions: vec![FileAction::Copy(copy)], link: false, created: None }
}

pub(crate) fn add(source: &str, destination: &str) -> FileEdit {
    let mut edit = copy(&[source], destination);
    for action in &mut edit.actions {
        if let FileAction::Copy(copy) = action {
            copy.unpack = Unpack::IfArchive;
        }
    }
    edit
}

pub(crate) fn exec(script: &str) -> Exec {
    Exec {
        args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("PATH".into(), "/bin".into())],
        proxy_env: Vec::new(),
        cwd: "/".into(),
        user: String::new(),
        mounts: Vec::new(),
        secret_env: Vec::new(),
        files: Vec::new(),
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        surroundings: Surroundings::default(),
        devices: Vec::new(),
        platform: Platform::host(),
    }
}
