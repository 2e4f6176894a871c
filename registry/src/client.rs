//! The client: which endpoints serve a registry, and the state that all transfers share.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use kiln_core::{DEFAULT_REGISTRY, Reference};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::{OnceCell, Semaphore};

use crate::auth::{Authenticator, Scopes, scope};
use crate::challenge::challenge;
use crate::error::{ConnectKind, Fault};
use crate::host_files;
use crate::hosts::{address, is_loopback};
use crate::registries_conf::{Rule, Rules};
use crate::retry::Patience;
use crate::session::{Session, Station, is_html};
use crate::tls::Profile;
use crate::transport::Transport;
use crate::{
    ClientOptions, Credentials, Endpoint, Http, Login, RegistryError, RegistryHosts, RetryPolicy, TlsFiles,
    Watch,
};

/// A client of any number of registries. Cheap to clone; clones share connections, tokens and limits.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    watch: Arc<dyn Watch>,
}

struct Shared {
    options: Arc<ClientOptions>,
    transport: Transport,
    registries: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Stations>>>>>,
    transfers: Semaphore,
    rules: OnceCell<Rules>,
}

/// The endpoints of one registry.
pub(crate) struct Stations {
    /// In the order in which pulls try them, the registry itself last.
    pub(crate) all: Vec<Arc<Station>>,
    /// The registry itself.
    pub(crate) own: Arc<Station>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client. Nothing is read or connected before it is needed.
    pub fn new(options: ClientOptions) -> Self {
        let transfers = Semaphore::new(options.parallel.max(1));
        let options = Arc::new(options);
        let transport = Transport::new(Arc::clone(&options));
        let shared =
            Shared { options, transport, registries: Mutex::default(), transfers, rules: OnceCell::new() };
        Self { shared: Arc::new(shared), watch: Arc::new(()) }
    }

    /// The same client, whose transfers and pauses are told to `watch`.
    #[must_use]
    pub fn watched(&self, watch: Arc<dyn Watch>) -> Self {
        Self { shared: Arc::clone(&self.shared), watch }
    }

    /// Single files over the same connections, certificates and proxies.
    pub fn http(&self) -> Http {
        Http::new(self.shared.transport.clone(), Arc::clone(&self.watch))
    }

    /// Checks whether a registry takes `login`.
    ///
    /// # Errors
    /// [`Fault::Unauthorized`] if it does not, or why it could not be asked.
    pub async fn login_check(&self, registry: &str, login: &Login) -> Result<(), RegistryError> {
        let attempt = format!("log in to {registry}");
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let known = self.stations(registry, None).await.map_err(failed)?.own.clone();
        let credentials = Credentials::none().with(registry, login.clone());
        let station = Arc::new(Station {
            authenticator: Authenticator::new(
                registry.to_owned(),
                known.base.clone(),
                known.profile.clone(),
                credentials,
            ),
            base: known.base.clone(),
            profile: known.profile.clone(),
            strip_prefix: String::new(),
            repository_prefix: String::new(),
            resolve: true,
            digests: true,
            mirror_of: None,
            upload_piece: AtomicU64::new(0),
        });
        let session = Session {
            station,
            transport: self.shared.transport.clone(),
            repository: String::new(),
            scopes: Scopes::new(),
        };
        let mut patience = self.patience(&attempt);
        loop {
            match self.login_once(&session).await {
                Ok(()) => return Ok(()),
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        }
    }

    async fn login_once(&self, session: &Session) -> Result<(), Fault> {
        let request = self.shared.transport.request(Method::GET, version_check(&session.station.base));
        let answer = session.send(request).await?;
        match answer.response.status() {
            StatusCode::OK => not_html(&answer),
            _ => Err(session.refused(answer).await),
        }
    }

    pub(crate) fn patience<'a>(&'a self, attempt: &'a str) -> Patience<'a> {
        Patience::new(&self.shared.options.retry, &*self.watch, attempt)
    }

    pub(crate) fn watch(&self) -> &Arc<dyn Watch> {
        &self.watch
    }

    /// The right to move a blob, given back on drop.
    pub(crate) async fn transfer(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.shared.transfers.acquire().await.expect("the semaphore is never closed")
    }

    /// Where `reference` can be pulled from, in order; `tag` says that a tag is to be resolved.
    pub(crate) async fn sources(&self, reference: &Reference, tag: bool) -> Result<Vec<Session>, Fault> {
        let stations = self.stations_of(reference).await?;
        let usable =
            stations.all.iter().filter(|station| if tag { station.resolve } else { station.digests });
        Ok(usable.map(|station| self.session(station, reference, "pull", &[])).collect())
    }

    /// Where `reference` can be pushed to, with the right to mount blobs `from` other repositories.
    pub(crate) async fn destination(
        &self,
        reference: &Reference,
        from: &[&Reference],
    ) -> Result<Session, Fault> {
        let stations = self.stations_of(reference).await?;
        Ok(self.session(&stations.own, reference, "pull,push", from))
    }

    fn session(
        &self,
        station: &Arc<Station>,
        reference: &Reference,
        actions: &str,
        from: &[&Reference],
    ) -> Session {
        let repository = station.repository(reference.repository());
        let mut scopes = Scopes::from([scope(&repository, actions)]);
        scopes.extend(from.iter().map(|other| scope(&station.repository(other.repository()), "pull")));
        Session { station: Arc::clone(station), transport: self.shared.transport.clone(), repository, scopes }
    }

    /// The patience for one of several sources: a mirror is given up soon.
    pub(crate) fn source_policy(&self, session: &Session) -> RetryPolicy {
        let policy = self.shared.options.retry.clone();
        match session.station.mirror_of {
            Some(_) => RetryPolicy { tries: policy.tries.min(2), ..policy },
            None => policy,
        }
    }

    /// What serves `reference`: what the caller said of its registry, or the rule of `registries.conf` for its name, or
    /// the registry's folder.
    async fn stations_of(&self, reference: &Reference) -> Result<Arc<Stations>, Fault> {
        let registry = reference.registry();
        let rule = if self.shared.options.hosts.registries.contains_key(registry) {
            None
        } else {
            let read = || async { Rules::read(&self.shared.options.registries_conf) };
            self.shared.rules.get_or_try_init(read).await?.of(reference)
        };
        self.stations(registry, rule).await
    }

    async fn stations(&self, registry: &str, rule: Option<&Rule>) -> Result<Arc<Stations>, Fault> {
        let key = rule.map_or_else(|| registry.to_owned(), |rule| rule.key(registry));
        let cell = {
            let mut registries = self.shared.registries.lock().expect("no panic while locked");
            Arc::clone(registries.entry(key).or_default())
        };
        cell.get_or_try_init(|| self.find_stations(registry, rule)).await.cloned()
    }

    /// The endpoints of a rule, with the certificates that are kept for their hosts.
    fn ruled(&self, registry: &str, rule: &Rule) -> Result<RegistryHosts, Fault> {
        let mut hosts = rule.hosts(registry)?;
        for endpoint in hosts.mirrors.iter_mut().chain(&mut hosts.upstream) {
            endpoint.tls = host_files::read(&self.shared.options.host_dirs, &endpoint.url)?.tls;
        }
        Ok(hosts)
    }

    async fn find_stations(&self, registry: &str, rule: Option<&Rule>) -> Result<Arc<Stations>, Fault> {
        let found;
        let hosts = match (self.shared.options.hosts.registries.get(registry), rule) {
            (Some(hosts), _) => hosts,
            (None, Some(rule)) => {
                found = self.ruled(registry, rule)?;
                &found
            }
            (None, None) => {
                found = host_files::read(&self.shared.options.host_dirs, registry)?;
                &found
            }
        };
        let own = match &hosts.upstream {
            Some(endpoint) => self.endpoint(registry, endpoint, false).await?,
            None => {
                let mut endpoint = Endpoint::new(address(registry));
                endpoint.tls = hosts.tls.clone();
                self.endpoint(registry, &endpoint, false).await?
            }
        };
        let own = Arc::new(own);
        let mut all = Vec::new();
        for mirror in &hosts.mirrors {
            all.push(Arc::new(self.endpoint(registry, mirror, true).await?));
        }
        if all.is_empty() || !hosts.mirrors_only {
            all.push(Arc::clone(&own));
        }
        Ok(Arc::new(Stations { all, own }))
    }

    async fn endpoint(&self, registry: &str, endpoint: &Endpoint, mirror: bool) -> Result<Station, Fault> {
        let (base, verify) = if endpoint.url.contains("://") {
            let bad = |reason: String| Fault::Options {
                what: "address of an endpoint",
                path: endpoint.url.clone().into(),
                reason,
            };
            let url = Url::parse(&endpoint.url).map_err(|e| bad(e.to_string()))?;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(bad("it is no http or https address".to_owned()));
            }
            (url, !endpoint.skip_verify)
        } else {
            self.probe(&endpoint.url, &endpoint.tls, endpoint.skip_verify).await?
        };
        let profile = Profile { files: endpoint.tls.clone(), verify };
        // A mirror is asked with the login for its own name, and so is another place that a rule gives a registry.
        let elsewhere = !endpoint.url.contains("://") && endpoint.url != address(registry);
        let known_as = match crate::hosts::authority(&base).as_str() {
            _ if !mirror && !elsewhere => registry.to_owned(),
            host if host == address(DEFAULT_REGISTRY) => DEFAULT_REGISTRY.to_owned(),
            host => host.to_owned(),
        };
        let credentials = self.shared.options.credentials.clone();
        Ok(Station {
            authenticator: Authenticator::new(known_as, base.clone(), profile.clone(), credentials),
            base,
            profile,
            strip_prefix: endpoint.strip_prefix.clone(),
            repository_prefix: endpoint.repository_prefix.clone(),
            resolve: endpoint.resolve,
            digests: endpoint.digests,
            mirror_of: mirror.then(|| registry.to_owned()),
            upload_piece: AtomicU64::new(0),
        })
    }

    /// Finds out how a host without a scheme is spoken to, and whether its certificate is checked.
    async fn probe(&self, host: &str, tls: &TlsFiles, skip_verify: bool) -> Result<(Url, bool), Fault> {
        let at = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}")).map_err(|e| Fault::Options {
                what: "registry",
                path: host.into(),
                reason: e.to_string(),
            })
        };
        let insecure = skip_verify || self.shared.options.insecure.iter().any(|named| named == host);
        if insecure {
            let profile = Profile { files: tls.clone(), verify: false };
            let secure = at("https")?;
            let request = self.shared.transport.request(Method::GET, version_check(&secure));
            return match self.shared.transport.send(request, &profile).await {
                Ok(_) => Ok((secure, false)),
                Err(Fault::Connect { kind: ConnectKind::Certificate | ConnectKind::Name, .. }) => {
                    Ok((secure, false))
                }
                Err(_) => Ok((at("http")?, false)),
            };
        }
        if !is_loopback(host) || tls.client.is_some() || !tls.ca.is_empty() {
            return Ok((at("https")?, true));
        }
        let plain = at("http")?;
        let request = self.shared.transport.request(Method::GET, version_check(&plain));
        let profile = Profile { files: TlsFiles::default(), verify: true };
        if let Ok(mut answer) = self.shared.transport.send(request, &profile).await
            && answer.response.status() == StatusCode::BAD_REQUEST
            && challenge(answer.response.headers()).is_none()
        {
            // Go's and nginx's servers say so in words when they are spoken to without TLS.
            let body = answer.body(64 << 10, self.shared.options.stall_timeout).await.unwrap_or_default();
            if String::from_utf8_lossy(&body).to_ascii_lowercase().contains("https") {
                return Ok((at("https")?, true));
            }
        }
        Ok((plain, true))
    }
}

/// The address by which a registry says that it is one (distribution-spec, end-1).
fn version_check(base: &Url) -> Url {
    let mut url = base.clone();
    let path = format!("{}/v2/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

/// Refuses a web page in the place of a registry's answer.
pub(crate) fn not_html(answer: &crate::transport::Answer) -> Result<(), Fault> {
    let content_type = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    if is_html(content_type) {
        return Err(Fault::NotARegistry { host: answer.host(), content_type: content_type.to_owned() });
    }
    Ok(())
}
