//! Pulls and pushes images over the OCI distribution protocol 1.1, and fetches single files over HTTP.
//!
//! Data in: a [`Reference`](kiln_core::Reference), a descriptor, a [`BlobSource`]. Data out: verified bytes, into
//! memory for manifests ([`Fetched`]) and into a [`BlobSink`] for blobs.
//!
//! | module | job |
//! | --- | --- |
//! | `client`, `pull`, `push` | the verbs: [`Client`] |
//! | `download`, `upload`, `growing` | one blob on its way, resumed and checked; sent while it is made |
//! | `manifest` | what a registry answers: [`Fetched`], [`Document`], the choice of a platform |
//! | `referrers` | what refers to a manifest as its subject |
//! | `session` | one repository at one endpoint: scopes, the 401 that asks for a token, refused answers |
//! | `auth`, `challenge` | tokens: asking, remembering, refreshing |
//! | `credentials` | Docker's and podman's files and credential helpers: [`Credentials`], [`Login`] |
//! | `transport`, `tls`, `redirect` | connections, certificates, where a redirect may lead |
//! | `hosts`, `host_files`, `registries_conf` | which endpoints serve a registry: [`Hosts`], [`Endpoint`] |
//! | `retry` | what is tried again, when, and for how long: [`RetryPolicy`] |
//! | `fetch`, `object` | single files and requests: [`Http`] |
//!
//! **Invariants:** nothing is handed over as complete before its digest and size were checked. A secret is sent only to
//! the registry it is for and to the token server that this registry names, never along a redirect to another host.
//! Memory is bounded: a few buffers a transfer, 4 MiB a manifest. No environment and no wall clock: what they say
//! arrives in [`ClientOptions`].

mod auth;
mod challenge;
mod client;
mod credentials;
mod download;
mod error;
mod fetch;
mod growing;
mod host_files;
mod hosts;
mod manifest;
mod object;
mod options;
mod pull;
mod push;
mod redirect;
mod referrers;
mod registries_conf;
mod retry;
mod session;
mod stream;
mod tls;
mod transport;
mod upload;
mod watch;

pub use client::Client;
pub use credentials::{CredentialError, Credentials, Login, Secret, Stored};
pub use download::BlobSink;
pub use error::{ConnectKind, Fault, RegistryError};
pub use fetch::{FetchOutcome, FetchRequest, Http, Validators};
pub use hosts::{Endpoint, Hosts, RegistryHosts, TlsFiles};
pub use manifest::{
    ACCEPTED_MANIFESTS, Document, Fetched, MAX_DEPTH, MAX_MANIFEST, RemoteImage, choose_platform, media_type,
};
pub use object::{ObjectAnswer, ObjectBody, ObjectRequest};
pub use options::{ClientOptions, ProxyOptions};
pub use registries_conf::RegistriesConf;
pub use retry::RetryPolicy;
pub use upload::{BlobSource, Pushed};
pub use watch::{Retrying, Watch};
