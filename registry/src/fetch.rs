//! Single files over HTTP: what `ADD https://…` needs.

use std::sync::Arc;

use reqwest::header::{
    AUTHORIZATION, CONTENT_DISPOSITION, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use reqwest::{Method, StatusCode, Url};

use crate::download::BlobSink;
use crate::error::Fault;
use crate::retry::Patience;
use crate::session::refusal;
use crate::tls::Profile;
use crate::transport::{Answer, Transport};
use crate::{RegistryError, Secret, TlsFiles, Watch};

/// Fetches single files. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    transport: Transport,
    watch: Arc<dyn Watch>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// `http://…` or `https://…`. A user name and password in it are sent as basic authentication.
    pub url: String,
    /// What an earlier answer said: the server then need not send what is known.
    pub known: Validators,
    /// The largest body in bytes.
    pub limit: u64,
    /// The `Authorization` header; a redirect to another host does not take it along.
    pub authorization: Option<Secret>,
}

/// By what a server recognises a version of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// The ETag header, as it came.
    pub etag: Option<String>,
    /// The Last-Modified header, as it came.
    pub last_modified: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub enum FetchOutcome<S> {
    /// The file is what the validators say; the sink is as it was.
    NotModified(S),
    /// The file is in the sink.
    Fetched {
        /// With the file's bytes.
        sink: S,
        /// The number of bytes.
        size: u64,
        /// To be sent with the next request.
        validators: Validators,
        /// The file's name by the Content-Disposition header.
        filename: Option<String>,
    },
}

impl Http {
    pub(crate) fn new(transport: Transport, watch: Arc<dyn Watch>) -> Self {
        Self { transport, watch }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn watch(&self) -> &dyn Watch {
        &*self.watch
    }

    /// Fetches a file into `sink`, if it is not the one already known. A broken transfer begins anew, if the sink can
    /// restart.
    ///
    /// # Errors
    /// See [`Fault`]; the address in the error is without user name, password and query.
    pub async fn fetch<S: BlobSink>(
        &self,
        request: &FetchRequest,
        sink: S,
    ) -> Result<FetchOutcome<S>, RegistryError> {
        let url = Url::parse(&request.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
        let Some(url) = url else {
            let (what, reason) = ("address", "it is no http or https address".to_owned());
            let fault = Fault::Options { what, path: request.url.clone().into(), reason };
            return Err(RegistryError::new("fetch a file", fault));
        };
        let attempt = format!("fetch {}", public(&url));
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let policy = self.transport.options().retry.clone();
        let mut patience = Patience::new(&policy, &*self.watch, &attempt);
        let mut sink = Some(sink);
        loop {
            let fault = match self.head(&url, request).await {
                Ok(None) => match sink.take() {
                    Some(sink) => return Ok(FetchOutcome::NotModified(sink)),
                    None => return Err(failed(restart_refused())),
                },
                Ok(Some(answer)) => {
                    let validators = Validators {
                        etag: answer.header(ETAG.as_str()).map(str::to_owned),
                        last_modified: answer.header(LAST_MODIFIED.as_str()).map(str::to_owned),
                    };
                    let filename = answer.header(CONTENT_DISPOSITION.as_str()).and_then(filename);
                    let Some(target) = sink.take() else { return Err(failed(restart_refused())) };
                    match self.body(answer, request.limit, target, &mut patience).await {
                        Ok((sink, size)) => {
                            return Ok(FetchOutcome::Fetched { sink, size, validators, filename });
                        }
                        Err((fault, back)) => {
                            sink = back;
                            fault
                        }
                    }
                }
                Err(fault) => fault,
            };
            if sink.is_none() {
                return Err(failed(fault));
            }
            patience.after(fault).await.map_err(failed)?;
        }
    }

    /// The answer with a body to come, or `None` if nothing has changed.
    async fn head(&self, url: &Url, request: &FetchRequest) -> Result<Option<Answer>, Fault> {
        let profile = Profile { files: TlsFiles::default(), verify: true };
        let mut get = self.transport.request(Method::GET, url.clone());
        for (name, value) in [
            (IF_NONE_MATCH, request.known.etag.as_deref()),
            (IF_MODIFIED_SINCE, request.known.last_modified.as_deref()),
        ] {
            let value = value.and_then(|value| HeaderValue::from_str(value).ok());
            get.headers.extend(value.map(|value| (name as HeaderName, value)));
        }
        if let Some(authorization) = &request.authorization {
            let mut value = HeaderValue::from_str(authorization.reveal()).map_err(|_| Fault::Options {
                what: "secret",
                path: public(url).into(),
                reason: "it is no value of an Authorization header".to_owned(),
            })?;
            value.set_sensitive(true);
            get.headers.insert(AUTHORIZATION, value);
        }
        let answer = self.transport.send(get, &profile).await?;
        match answer.response.status() {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_MODIFIED if request.known != Validators::default() => Ok(None),
            _ => Err(refusal(answer, self.transport.options().stall_timeout).await),
        }
    }

    /// Streams the body; on a fault the sink comes back if it is ready to begin anew.
    async fn body<S: BlobSink>(
        &self,
        mut answer: Answer,
        limit: u64,
        mut sink: S,
        patience: &mut Patience<'_>,
    ) -> Result<(S, u64), (Fault, Option<S>)> {
        let total = answer.response.content_length().unwrap_or(0);
        if total > limit {
            return Err((Fault::TooLarge { limit }, None));
        }
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(6);
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(bytes) = receiver.blocking_recv() {
                if let Err(cause) = sink.write_all(&bytes) {
                    return (sink, Err(cause));
                }
            }
            let flushed = sink.flush();
            (sink, flushed)
        });
        let stall = self.transport.options().stall_timeout;
        let mut size = 0;
        let received = loop {
            match answer.chunk(stall).await {
                Ok(Some(bytes)) => {
                    size += bytes.len() as u64;
                    if size > limit {
                        break Err(Fault::TooLarge { limit });
                    }
                    if sender.send(bytes).await.is_err() {
                        break Ok(());
                    }
                    self.watch.bytes(size, total);
                }
                Ok(None) => break Ok(()),
                Err(fault) => break Err(fault),
            }
        };
        drop(sender);
        let (mut sink, written) =
            writer.await.map_err(|panicked| (Fault::Sink(std::io::Error::other(panicked)), None))?;
        match (written, received) {
            (Err(cause), _) => Err((Fault::Sink(cause), None)),
            (Ok(()), Ok(())) => {
                patience.progressed();
                Ok((sink, size))
            }
            (Ok(()), Err(fault)) => {
                let ready = sink.restart().is_ok();
                Err((fault, ready.then_some(sink)))
            }
        }
    }
}

fn restart_refused() -> Fault {
    Fault::Sink(std::io::ErrorKind::Unsupported.into())
}

/// The address without what may be secret.
pub(crate) fn public(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

/// `attachment; filename="x.tar"` (RFC 6266). Names that lead elsewhere are refused.
fn filename(header: &str) -> Option<String> {
    let name = header.split(';').find_map(|part| part.trim().strip_prefix("filename="))?;
    let name = name.trim().trim_matches('"');
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
    plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_headers_lead_nowhere_else() {
        assert_eq!(filename("attachment; filename=\"x y.tar\""), Some("x y.tar".to_owned()));
        assert_eq!(filename("attachment; filename=x"), Some("x".to_owned()));
        for bad in ["attachment", "filename=", "filename=../x", "filename=\"..\"", "filename=/etc/passwd"] {
            assert_eq!(filename(bad), None, "{bad}");
        }
    }

    #[test]
    fn errors_show_no_secrets_of_the_address() {
        let url = Url::parse("https://user:hidden@h/p?token=hidden#x").unwrap();
        assert_eq!(public(&url), "https://h/p");
    }
}
