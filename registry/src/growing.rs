//! A blob that is sent while it is still being made: nobody knows its digest or its size yet.
//!
//! One request takes what there is and what comes (`Transfer-Encoding: chunked`, as `docker push` sends layers); where
//! an upload would not survive a broken connection, several in turn. As soon
//! as the digest is known, the registry is asked whether it has the blob from elsewhere, and the rest is spared. Whatever
//! goes wrong with a request, the blob is finished first and then goes on as any other, from where it stands.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use kiln_core::{Digest, Reference};
use reqwest::header::{CONNECTION, CONTENT_TYPE};
use reqwest::{Method, StatusCode};

use crate::error::Fault;
use crate::session::Session;
use crate::stream::{Length, Upload};
use crate::transport::Payload;
use crate::upload::{
    Begun, Break, FRAGILE_PIECE, Push, Sending, begin, cancel, confirmed, exists, expired, is_fragile,
    location, set,
};
use crate::{BlobSource, Client, Pushed, RegistryError, Watch};

/// What a blob turned out to be: its digest and its size.
type Whole = (Digest, u64);

/// How the first request ended.
enum Grown {
    /// The registry had the blob already.
    Existed(Whole),
    /// The registry has so much of it, or has to be asked.
    Partly(Option<Sending>),
    /// A fault, after which it can be tried otherwise.
    Broken(Option<Sending>, Fault),
}

impl Client {
    /// Sends a blob to the repository of `reference` while it is being made. `source` gives what there is, waits for what
    /// is still to come, and ends where the blob ends; `made` then says what it became, or `None` if it could not be made.
    /// `what` names it until then.
    ///
    /// # Errors
    /// As for [`Client::push_blob`]; [`Fault::Source`] if it could not be made.
    pub async fn push_growing(
        &self,
        reference: &Reference,
        what: &str,
        source: Arc<dyn BlobSource>,
        made: impl Future<Output = Option<(Digest, u64)>> + Send,
    ) -> Result<(Digest, Pushed), RegistryError> {
        let attempt = format!("push {what} to {}", reference.name());
        let failed = |fault| RegistryError::new(attempt.clone(), fault);
        let _turn = self.transfer().await;
        let session = self.destination(reference, &[]).await.map_err(failed)?;
        let watch = Arc::clone(self.watch());
        let known = OnceLock::new();
        let mut made = pin!(async {
            let whole = made.await;
            *known.get_or_init(|| whole)
        });
        let grown = grow(&session, &source, &watch, made.as_mut(), &known).await.map_err(failed)?;
        let unmade = || failed(Fault::Source(std::io::Error::other("it could not be made")));
        let mut patience = self.patience(&attempt);
        let (upload, fault) = match grown {
            Grown::Existed((digest, size)) => {
                watch.bytes(size, size);
                return Ok((digest, Pushed::Existed));
            }
            Grown::Partly(upload) => (upload, None),
            Grown::Broken(upload, fault) => (upload, Some(fault)),
        };
        let (digest, size) = match known.get() {
            Some(whole) => *whole,
            None => made.await,
        }
        .ok_or_else(unmade)?;
        if let Some(fault) = fault {
            patience.after(fault).await.map_err(failed)?;
        }
        let mut push =
            Push::new(session, (digest, size), source, Vec::new(), Arc::clone(&watch)).after(upload);
        loop {
            match push.run(&mut patience).await {
                Ok(pushed) => {
                    watch.bytes(size, size);
                    return Ok((digest, pushed));
                }
                Err(fault) => patience.after(fault).await.map_err(failed)?,
            }
        }
    }
}

/// Sends what comes until it ends. A fault that no other way can mend is returned as an error.
async fn grow(
    session: &Session,
    source: &Arc<dyn BlobSource>,
    watch: &Arc<dyn Watch>,
    mut made: std::pin::Pin<&mut (impl Future<Output = Option<Whole>> + Send)>,
    known: &OnceLock<Option<Whole>>,
) -> Result<Grown, Fault> {
    let begun = match begin(session).await {
        Ok(begun) => begun,
        Err(fault) if fault.is_transient() => return Ok(Grown::Broken(None, fault)),
        Err(fault) => return Err(fault),
    };
    // This registry is known to lose uploads: it gets pieces, whose sizes are known beforehand.
    if session.station.upload_piece.load(Ordering::Relaxed) > 0 {
        return Ok(Grown::Partly(Some(started(begun, 0, None, Arc::default()))));
    }
    let fragile = is_fragile(&begun.location);
    let most = if fragile { FRAGILE_PIECE } else { u64::MAX };
    let looking = async {
        let (digest, _) = made.as_mut().await?;
        exists(session, &format!("blobs/{digest}")).await.ok()
    };
    let mut looking = pin!(looking);
    let (mut begun, mut offset, mut looked) = (begun, 0, false);
    loop {
        let last = Arc::new(AtomicU64::new(0));
        let mut request = session.transport.request(Method::PATCH, begun.location.clone());
        request.body = body(source, watch, offset, most, &last);
        set(&mut request.headers, CONTENT_TYPE, "application/octet-stream");
        if fragile {
            set(&mut request.headers, CONNECTION, "close");
        }
        request.patience = session.transport.options().commit_timeout;
        let mut sending = pin!(session.send(request));
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut sending => break answer,
                there = &mut looking, if !looked => {
                    looked = true;
                    if there == Some(true) && let Some(Some(whole)) = known.get() {
                        cancel(session, begun).await;
                        return Ok(Grown::Existed(*whole));
                    }
                }
            }
        };
        let fault = match answer {
            Ok(answer) => match answer.response.status() {
                StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT => {
                    let went = last.load(Ordering::Relaxed);
                    let kept = confirmed(&answer).filter(|kept| (offset + 1..=offset + went).contains(kept));
                    offset = kept.unwrap_or(offset + went);
                    begun.location = location(&answer)?;
                    if went == most {
                        continue;
                    }
                    return Ok(Grown::Partly(Some(started(begun, offset, None, last))));
                }
                StatusCode::UNAUTHORIZED => expired(session, answer).await,
                _ => session.refused(answer).await,
            },
            Err(fault) => fault,
        };
        if matches!(fault, Fault::Source(_)) {
            return Err(fault);
        }
        if fault.is_transient() {
            let broken = Some(Break::by(&fault));
            return Ok(Grown::Broken(Some(started(begun, offset, broken, last)), fault));
        }
        // Refused as it came, without a length or in one piece: it may be welcome otherwise.
        cancel(session, begun).await;
        return Ok(Grown::Partly(None));
    }
}

fn started(begun: Begun, offset: u64, broken: Option<Break>, last: Arc<AtomicU64>) -> Sending {
    Sending { location: begun.location, offset, min_piece: begun.min_piece, broken, last }
}

fn body(
    source: &Arc<dyn BlobSource>,
    watch: &Arc<dyn Watch>,
    offset: u64,
    most: u64,
    last: &Arc<AtomicU64>,
) -> Payload {
    let (source, watch, last) = (Arc::clone(source), Arc::clone(watch), Arc::clone(last));
    Payload::Stream(Upload {
        open: Box::new(move || source.open(offset)),
        length: Length::UpTo(most),
        sent: Box::new(move |bytes| {
            let went = last.fetch_add(bytes, Ordering::Relaxed) + bytes;
            watch.bytes(offset + went, 0);
        }),
    })
}
