//! What can go wrong between here and a registry: one error, with what was attempted on what, why it failed, and advice.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kiln_core::{Digest, Platform};

use crate::CredentialError;

/// A failed request to a registry or web server: `pull manifest of docker.io/library/x:1: not found (…)`.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}: {fault}")]
pub struct RegistryError {
    /// What was attempted on what: `pull manifest of docker.io/library/busybox:latest`.
    pub attempt: String,
    /// Why it failed. Boxed to keep results small.
    #[source]
    pub fault: Box<Fault>,
}

impl RegistryError {
    /// An error of `attempt` (`pull manifest of …`).
    pub fn new(attempt: impl Into<String>, fault: Fault) -> Self {
        Self { attempt: attempt.into(), fault: Box::new(fault) }
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        self.fault.hint()
    }

    /// Whether the registry said that what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.fault.root(), Fault::NotFound { .. })
    }

    /// Whether the registry wants (other) credentials.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.fault.root(), Fault::Unauthorized { .. } | Fault::Denied { .. })
    }

    /// Whether no server was reached: what is on this machine may still do.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.fault.root(), Fault::Connect { .. } | Fault::Interrupted { .. } | Fault::Stalled { .. })
    }
}

/// Why a request failed.
///
/// A server's own words are in `detail`, shortened and without control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// 401, even after a token or credentials were presented (or none were at hand).
    #[error("{host} wants {}{}", if *.anonymous { "a login" } else { "other credentials" }, parenthesised(.detail))]
    Unauthorized {
        /// Who refused: the registry or its token server.
        host: String,
        /// The key that `login` takes.
        registry: String,
        /// Whether no credentials were known.
        anonymous: bool,
        /// The server's words, and what is wrong with the credential helper if something is.
        detail: String,
    },
    /// 403.
    #[error("{host} denies access{}", parenthesised(.detail))]
    Denied {
        /// Who refused.
        host: String,
        /// The key that `login` takes.
        registry: String,
        /// Whether no credentials were known.
        anonymous: bool,
        /// The server's words.
        detail: String,
    },
    /// 404.
    #[error("not found{}", parenthesised(.detail))]
    NotFound {
        /// The server's words.
        detail: String,
    },
    /// 429.
    #[error("{host} limits requests{}", parenthesised(.detail))]
    TooManyRequests {
        /// Who refused.
        host: String,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
        /// The server's words.
        detail: String,
    },
    /// Any other status that is no success.
    #[error("{host} answered {status}{}", parenthesised(.detail))]
    Status {
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
        /// How long it asked to wait, for 503.
        retry_after: Option<Duration>,
        /// The server's words.
        detail: String,
    },
    /// An answer that no registry gives: an HTML page of a proxy or a login portal.
    #[error("{host} answered with {content_type}, which no registry does")]
    NotARegistry {
        /// Who answered.
        host: String,
        /// The answer's media type.
        content_type: String,
    },
    /// An answer without a header, or with one that makes no sense.
    #[error("{host} gave a malformed answer: {what}")]
    Protocol {
        /// Who answered.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// No connection: name resolution, refusal, TLS.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// Who was called.
        host: String,
        /// The innermost cause in words.
        reason: String,
        /// What kind of failure it is, for the advice.
        kind: ConnectKind,
    },
    /// The connection broke.
    #[error("the connection to {host} broke: {reason}")]
    Interrupted {
        /// The other end.
        host: String,
        /// The innermost cause in words.
        reason: String,
    },
    /// Nothing moved for too long.
    #[error("{host} sent or took nothing for {} s", .after.as_secs())]
    Stalled {
        /// The other end.
        host: String,
        /// For how long.
        after: Duration,
    },
    /// All tries used up.
    #[error("gave up after {tries} tries in {} s", .elapsed.as_secs())]
    GaveUp {
        /// How many times.
        tries: u32,
        /// Since the last progress.
        elapsed: Duration,
        /// What the last try met.
        #[source]
        cause: Box<Fault>,
    },
    /// The bytes are not what was asked for.
    #[error("{host} sent content with digest {found} instead of {expected}")]
    DigestMismatch {
        /// Who sent it.
        host: String,
        /// The digest asked for, or announced in a header.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// More or fewer bytes than the descriptor says.
    #[error("{host} sent {found} bytes where the manifest says {expected}")]
    SizeMismatch {
        /// Who sent it.
        host: String,
        /// Bytes by the descriptor.
        expected: u64,
        /// Bytes that came or were announced.
        found: u64,
    },
    /// A document or file that is larger than kiln takes.
    #[error("larger than the limit of {limit} bytes")]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// A digest in a descriptor that kiln cannot verify.
    #[error(transparent)]
    Digest(#[from] kiln_core::DigestError),
    /// Docker's schema 1.
    #[error("the image has Docker's old manifest format (schema 1), which kiln does not read")]
    Schema1,
    /// A media type that is none of an image's.
    #[error("unexpected media type `{found}`: {wanted}")]
    MediaType {
        /// As found.
        found: String,
        /// What was expected.
        wanted: &'static str,
    },
    /// A document that contradicts itself or its envelope.
    #[error("malformed {document}: {what}")]
    Malformed {
        /// `manifest`, `index`, `image configuration`.
        document: &'static str,
        /// What is wrong.
        what: String,
    },
    /// An index without the platform.
    #[error("no image for {wanted}: the index has {}", if .offered.is_empty() { "none".to_owned() } else { .offered.join(", ") })]
    NoPlatform {
        /// As asked.
        wanted: Platform,
        /// As offered.
        offered: Vec<String>,
    },
    /// Indexes within indexes without end.
    #[error("the index refers to itself or nests deeper than {0} indexes")]
    TooDeep(usize),
    /// A redirect, upload location or token realm that would give away secrets or lead nowhere.
    #[error("{host} points to `{target}`, {why}")]
    BadTarget {
        /// Who points.
        host: String,
        /// Where.
        target: String,
        /// Why kiln does not follow.
        why: &'static str,
    },
    /// A file of the options could not be used.
    #[error("{what} `{}`: {reason}", .path.display())]
    Options {
        /// What it is for: `CA certificates`.
        what: &'static str,
        /// The file, or the text.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// `registries.conf` forbids it.
    #[error("`{prefix}` is blocked by `{}`", .file.display())]
    Blocked {
        /// The rule's prefix.
        prefix: String,
        /// Where the rule is.
        file: PathBuf,
    },
    /// A credential file or helper.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// What was received could not be stored.
    #[error("cannot store what was received")]
    Sink(#[source] io::Error),
    /// What was to be sent could not be read.
    #[error("cannot read what is to be sent")]
    Source(#[source] io::Error),
    /// The source has other bytes than its descriptor says.
    #[error("the content to be sent ends after {found} bytes where its descriptor says {expected}")]
    ShortSource {
        /// By the descriptor.
        expected: u64,
        /// As read.
        found: u64,
    },
}

/// What kind of failure to connect it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectKind {
    /// The name has no address.
    Name,
    /// The server's certificate is signed by nobody this machine trusts.
    UnknownIssuer,
    /// Another problem with the certificate: expired, for another name.
    Certificate,
    /// The server does not speak TLS.
    Plaintext,
    /// The machine has no certificate authorities at all.
    NoRoots,
    /// The proxy.
    Proxy,
    /// Refused, unreachable, timed out.
    Other,
}

impl Fault {
    /// The fault at the bottom of a [`Fault::GaveUp`].
    pub fn root(&self) -> &Fault {
        match self {
            Self::GaveUp { cause, .. } => cause.root(),
            other => other,
        }
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self.root() {
            Self::Unauthorized { registry, anonymous: true, .. }
            | Self::Denied { registry, anonymous: true, .. } => {
                format!("check the name; if the repository is private, run `kiln login {registry}`")
            }
            Self::Unauthorized { registry, .. } => {
                format!("run `kiln login {registry}` again: the stored credentials are refused")
            }
            Self::Denied { registry, .. } => {
                format!(
                    "the account that is logged in to {registry} may not do this: check the name and its rights"
                )
            }
            Self::NotFound { .. } => "check the name, the tag and the digest".to_owned(),
            Self::TooManyRequests { host, .. } => {
                format!("log in to {host} for a higher limit, use a mirror, or wait")
            }
            Self::NotARegistry { .. } => {
                "check the registry's name and port, and whether a proxy or a login page stands between"
                    .to_owned()
            }
            Self::Connect { kind, host, .. } => return connect_hint(*kind, host),
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => {
                "nothing was kept; a proxy, a mirror or the registry's storage damages the content".to_owned()
            }
            Self::Malformed { .. } | Self::MediaType { .. } | Self::TooDeep(_) | Self::Digest(_) => {
                "nothing was kept; ask whoever pushed the image to push it again, or use another tag".to_owned()
            }
            Self::TooLarge { limit: crate::MAX_MANIFEST } => {
                "registries need take no larger manifests: the image has too many layers, platforms or annotations"
                    .to_owned()
            }
            Self::Schema1 => "push the image again with a current tool, or use a newer tag".to_owned(),
            Self::NoPlatform { .. } => {
                "choose one of these with --platform, or build for it first".to_owned()
            }
            Self::Status { status: 413, .. } => {
                "a proxy before the registry limits the size of requests: raise its limit".to_owned()
            }
            Self::Sink(cause) if cause.kind() == io::ErrorKind::StorageFull => {
                "make room with `kiln prune`, or put the store elsewhere with KILN_ROOT".to_owned()
            }
            Self::Blocked { .. } => "use another name, or change the rule".to_owned(),
            _ => return None,
        })
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::TooManyRequests { .. } | Self::Interrupted { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 500 | 502 | 503 | 504 | 520..=527),
            Self::Connect { kind, .. } => matches!(kind, ConnectKind::Other | ConnectKind::Name),
            _ => false,
        }
    }

    /// How long the server asked to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn connect_hint(kind: ConnectKind, host: &str) -> Option<String> {
    Some(match kind {
        ConnectKind::Name => "check the registry's name and the machine's name servers".to_owned(),
        ConnectKind::UnknownIssuer => {
            format!("put the authority that signed it into /etc/docker/certs.d/{host}/ca.crt")
        }
        ConnectKind::Plaintext => format!("if {host} speaks plain http, declare it an insecure registry"),
        ConnectKind::NoRoots => "install the package ca-certificates, or set SSL_CERT_FILE".to_owned(),
        ConnectKind::Proxy => "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY".to_owned(),
        ConnectKind::Certificate => {
            "check this machine's clock, or ask whoever runs the registry to renew its certificate".to_owned()
        }
        ConnectKind::Other => return None,
    })
}

fn parenthesised(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}
