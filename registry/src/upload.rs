//! One blob on its way there: looked for, mounted, or sent and resumed.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_core::Digest;
use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE,
};
use reqwest::{Method, StatusCode, Url};

use crate::Watch;
use crate::error::Fault;
use crate::redirect;
use crate::retry::Patience;
use crate::session::Session;
use crate::stream::{Length, Upload};
use crate::transport::{Answer, Payload};

/// Blobs up to this many bytes go in one request after the first.
const SMALL: u64 = 1 << 20;
/// No piece of an upload is made smaller than this, the last excepted: object stores want as much.
const MIN_PIECE: u64 = 5 << 20;

/// What a fragile upload is sent in, each piece on a connection of its own.
pub(crate) const FRAGILE_PIECE: u64 = 32 << 20;

/// Whether the upload does not survive a connection that breaks within a request. Registries of the distribution line keep
/// the upload's offset in a signed `_state` of its address, and drop the upload when they find that they have more than
/// that says: all of it would have to be sent again.
pub(crate) fn is_fragile(location: &Url) -> bool {
    location.query_pairs().any(|(name, _)| name == "_state")
}

/// Content that can be read again from any offset, on a thread that may block.
pub trait BlobSource: Send + Sync + 'static {
    /// The bytes from `offset` on.
    ///
    /// # Errors
    /// What reading meets; the push fails with it.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

impl BlobSource for Vec<u8> {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(Box::new(io::Cursor::new(self[from..].to_vec())))
    }
}

/// A file by its path.
impl BlobSource for std::path::PathBuf {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = std::fs::File::open(self)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

/// How a blob came to be at its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// It was taken over from another repository.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// Whether there is something at `path` of the repository.
pub(crate) async fn exists(session: &Session, path: &str) -> Result<bool, Fault> {
    let mut request = session.request(Method::HEAD, path);
    let accept = HeaderValue::from_static(crate::ACCEPTED_MANIFESTS);
    request.headers.insert(reqwest::header::ACCEPT, accept);
    let answer = session.send(request).await?;
    match answer.response.status() {
        StatusCode::OK => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(session.refused(answer).await),
    }
}

/// Asks for a mount; `None` if it was done, else the upload that was begun instead (distribution-spec, end-11).
pub(crate) async fn mount(session: &Session, digest: &Digest, from: &str) -> Result<Option<Begun>, Fault> {
    let mut request = session.request(Method::POST, "blobs/uploads/");
    request.url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
    request.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    let answer = session.send(request).await?;
    match answer.response.status() {
        StatusCode::CREATED => Ok(None),
        StatusCode::ACCEPTED => Begun::of(&answer).map(Some),
        _ => Err(session.refused(answer).await),
    }
}

/// Begins an upload (distribution-spec, end-4a).
pub(crate) async fn begin(session: &Session) -> Result<Begun, Fault> {
    let mut request = session.request(Method::POST, "blobs/uploads/");
    request.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    let answer = session.send(request).await?;
    match answer.response.status() {
        StatusCode::ACCEPTED => Begun::of(&answer),
        _ => Err(session.refused(answer).await),
    }
}

/// Gives an upload up, so that the registry need not wait for it.
pub(crate) async fn cancel(session: &Session, begun: Begun) {
    let _ = session.send(session.transport.request(Method::DELETE, begun.location)).await;
}

/// An upload that a registry has begun.
pub(crate) struct Begun {
    pub(crate) location: Url,
    /// The least size of a piece that the registry takes.
    pub(crate) min_piece: u64,
}

impl Begun {
    pub(crate) fn of(answer: &Answer) -> Result<Self, Fault> {
        let min_piece = answer.header("oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Self { location: location(answer)?, min_piece })
    }
}

pub(crate) fn location(answer: &Answer) -> Result<Url, Fault> {
    let missing =
        || Fault::Protocol { host: answer.host(), what: "it names no Location for an upload".to_owned() };
    redirect::target(&answer.url, answer.header(LOCATION.as_str()).ok_or_else(missing)?)
}

/// A blob on its way, and what the registry has of it.
pub(crate) struct Push {
    session: Session,
    digest: Digest,
    size: u64,
    source: Arc<dyn BlobSource>,
    /// Repositories not yet asked for a mount.
    from: Vec<String>,
    watch: Arc<dyn Watch>,
    /// Whether the registry said that it is not there.
    missing: bool,
    upload: Option<Sending>,
}

/// An upload under way.
pub(crate) struct Sending {
    pub(crate) location: Url,
    /// Bytes that the registry has confirmed.
    pub(crate) offset: u64,
    pub(crate) min_piece: u64,
    /// What ended the last request, if the registry must be asked how far that got.
    pub(crate) broken: Option<Break>,
    /// Bytes that went out in the last request.
    pub(crate) last: Arc<AtomicU64>,
}

/// How a request with a part of an upload ended too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The connection broke.
    Cut,
    /// The registry answered something else than that it has it.
    Refused,
}

impl Break {
    pub(crate) fn by(fault: &Fault) -> Self {
        match fault {
            Fault::Interrupted { .. } | Fault::Stalled { .. } => Self::Cut,
            _ => Self::Refused,
        }
    }
}

impl Push {
    /// A blob of which nothing was sent yet. `from` are repositories where it may be.
    pub(crate) fn new(
        session: Session,
        (digest, size): (Digest, u64),
        source: Arc<dyn BlobSource>,
        from: Vec<String>,
        watch: Arc<dyn Watch>,
    ) -> Self {
        Self { session, digest, size, source, from, watch, missing: false, upload: None }
    }

    /// The same, of which the registry has just said that it is not there.
    #[must_use]
    pub(crate) fn missing(self) -> Self {
        Self { missing: true, ..self }
    }

    /// The same, of which a part was sent already.
    #[must_use]
    pub(crate) fn after(self, upload: Option<Sending>) -> Self {
        Self { upload, ..self }
    }

    /// Goes on from where it stands, to the end or to the next fault.
    pub(crate) async fn run(&mut self, patience: &mut Patience<'_>) -> Result<Pushed, Fault> {
        if let Some(sending) = &mut self.upload
            && let Some(broken) = sending.broken
        {
            let (before, went) = (sending.offset, sending.last.load(Ordering::Relaxed));
            if !ask_progress(&self.session, sending).await? {
                self.lost();
            } else if broken == Break::Cut && sending.offset <= before {
                // It keeps whole requests only: a smaller one may get through.
                let min_piece = sending.min_piece;
                self.smaller(went, min_piece);
            }
        }
        if self.upload.is_none() {
            // After a fault it may be there: what was lost may have been the answer alone.
            if !self.missing && exists(&self.session, &format!("blobs/{}", self.digest)).await? {
                return Ok(Pushed::Existed);
            }
            let Some(begun) = self.begin().await? else { return Ok(Pushed::Mounted) };
            let Begun { location, min_piece } = begun;
            let last = Arc::default();
            self.upload = Some(Sending { location, offset: 0, min_piece, broken: None, last });
            self.missing = false;
        }
        let sent = self.send_all(patience).await;
        match &sent {
            Ok(()) => return Ok(Pushed::Uploaded),
            Err(Fault::Status { status: 413, .. }) => {
                // A proxy that takes only small requests: the smaller ones are tried at once.
                let tried = self.upload.as_ref().map_or(0, |sending| sending.last.load(Ordering::Relaxed));
                let limit = self.session.station.upload_piece.load(Ordering::Relaxed);
                let refused = if limit > 0 { limit } else { self.size.max(tried) };
                if refused > MIN_PIECE {
                    let smaller = (refused / 2).clamp(MIN_PIECE, 64 << 20);
                    self.session.station.upload_piece.store(smaller, Ordering::Relaxed);
                    self.upload = None;
                    return Box::pin(self.run(patience)).await;
                }
            }
            // The registry has forgotten the upload: begin anew, as long as patience lasts.
            Err(Fault::NotFound { .. }) => {
                self.lost();
                let reason = "the registry has lost the upload".to_owned();
                return Err(Fault::Interrupted { host: self.session.host(), reason });
            }
            // It counts differently: ask it.
            Err(Fault::Status { status: 416, .. }) => {
                if let Some(sending) = &mut self.upload {
                    sending.broken = Some(Break::Refused);
                }
                let reason = "the registry expects another part of the upload".to_owned();
                return Err(Fault::Interrupted { host: self.session.host(), reason });
            }
            Err(fault) => {
                if let Some(sending) = &mut self.upload {
                    sending.broken = Some(Break::by(fault));
                }
            }
        }
        sent.map(|()| Pushed::Uploaded)
    }

    /// The registry has nothing of the upload. It will have to go through in pieces, each on a connection of its own,
    /// smaller than what went through before the connection broke: registries of the distribution 2 line drop an
    /// upload whose connection breaks within a request.
    fn lost(&mut self) {
        if let Some(sending) = self.upload.take() {
            self.smaller(sending.last.load(Ordering::Relaxed), sending.min_piece);
        }
    }

    /// From now on, pieces are smaller than the `went` bytes that a connection took before it broke.
    fn smaller(&self, went: u64, min_piece: u64) {
        let piece = (went / 2).max(MIN_PIECE).max(min_piece);
        let known = self.session.station.upload_piece.load(Ordering::Relaxed);
        if went > 0 && (known == 0 || piece < known) {
            self.session.station.upload_piece.store(piece, Ordering::Relaxed);
        }
    }

    /// Mounts, or begins an upload.
    async fn begin(&mut self) -> Result<Option<Begun>, Fault> {
        let mut begun = None;
        while let Some(from) = self.from.pop() {
            match mount(&self.session, &self.digest, &from).await {
                Ok(None) => return Ok(None),
                Ok(Some(instead)) if self.from.is_empty() => begun = Some(instead),
                Ok(Some(instead)) => cancel(&self.session, instead).await,
                Err(fault) if fault.is_transient() => {
                    self.from.push(from);
                    return Err(fault);
                }
                // Not allowed to read there, or a registry without mounts: upload.
                Err(_) => {}
            }
        }
        if begun.is_some() {
            return Ok(begun);
        }
        begin(&self.session).await.map(Some)
    }

    async fn send_all(&mut self, patience: &mut Patience<'_>) -> Result<(), Fault> {
        let Some(sending) = &mut self.upload else { return Ok(()) };
        let pieces = match self.session.station.upload_piece.load(Ordering::Relaxed) {
            0 if is_fragile(&sending.location) => FRAGILE_PIECE,
            pieces => pieces,
        };
        let in_one = self.size <= SMALL && sending.offset == 0;
        while !in_one && sending.offset < self.size {
            let left = self.size - sending.offset;
            let length = if pieces == 0 { left } else { left.min(pieces.max(sending.min_piece)) };
            let mut request = self.session.transport.request(Method::PATCH, sending.location.clone());
            let (first, last) = (sending.offset, sending.offset + length - 1);
            set(&mut request.headers, CONTENT_RANGE, &format!("{first}-{last}"));
            request.body = body(&self.source, &self.watch, sending, length, self.size);
            set(&mut request.headers, CONTENT_LENGTH, &length.to_string());
            set(&mut request.headers, CONTENT_TYPE, "application/octet-stream");
            if length < left || first > 0 {
                set(&mut request.headers, CONNECTION, "close");
            }
            request.patience = self.session.transport.options().commit_timeout;
            let answer = self.session.send(request).await?;
            match answer.response.status() {
                StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT => {}
                StatusCode::UNAUTHORIZED => return Err(expired(&self.session, answer).await),
                _ => return Err(self.session.refused(answer).await),
            }
            sending.location = location(&answer)?;
            // A registry may have kept less than it was sent; a number that makes no sense is passed over.
            let kept = confirmed(&answer).filter(|offset| (first + 1..=last + 1).contains(offset));
            sending.offset = kept.unwrap_or(last + 1);
            patience.progressed();
        }
        let mut request = self.session.transport.request(Method::PUT, sending.location.clone());
        request.url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let length = self.size - sending.offset;
        if length > 0 {
            request.body = body(&self.source, &self.watch, sending, length, self.size);
        }
        set(&mut request.headers, CONTENT_LENGTH, &length.to_string());
        set(&mut request.headers, CONTENT_TYPE, "application/octet-stream");
        request.patience = self.session.transport.options().commit_timeout;
        let answer = self.session.send(request).await?;
        match answer.response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::ACCEPTED => Ok(()),
            StatusCode::UNAUTHORIZED if length > 0 => Err(expired(&self.session, answer).await),
            _ => Err(self.session.refused(answer).await),
        }
    }
}

/// A body that could not be sent again met a 401: the next try has a new token, and asks how far this one got.
pub(crate) async fn expired(session: &Session, answer: Answer) -> Fault {
    let host = answer.host();
    match session.refused(answer).await {
        Fault::Unauthorized { .. } if session.station.authenticator.can_renew().await => {
            Fault::Interrupted { host, reason: "the token has expired".to_owned() }
        }
        fault => fault,
    }
}

fn body(
    source: &Arc<dyn BlobSource>,
    watch: &Arc<dyn Watch>,
    sending: &Sending,
    length: u64,
    size: u64,
) -> Payload {
    let offset = sending.offset;
    let (source, watch, last) = (Arc::clone(source), Arc::clone(watch), Arc::clone(&sending.last));
    last.store(0, Ordering::Relaxed);
    Payload::Stream(Upload {
        open: Box::new(move || source.open(offset)),
        length: Length::Exactly(length),
        sent: Box::new(move |bytes| {
            let went = last.fetch_add(bytes, Ordering::Relaxed) + bytes;
            watch.bytes(offset + went, size);
        }),
    })
}

pub(crate) fn set(headers: &mut reqwest::header::HeaderMap, name: HeaderName, value: &str) {
    headers.insert(name, HeaderValue::try_from(value).expect("digits and words are a header's value"));
}

/// The number of bytes that `Range: 0-N` confirms. `0-0` may mean none or one; one byte more is sent in vain at most.
pub(crate) fn confirmed(answer: &Answer) -> Option<u64> {
    let text = answer.header(RANGE.as_str())?;
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (start, end) = text.split_once('-')?;
    match (start.parse::<u64>().ok()?, end.parse::<u64>().ok()?) {
        (0, 0) => Some(0),
        (0, end) => Some(end + 1),
        _ => None,
    }
}

/// Asks how far an upload got (distribution-spec, end-13). `false` if the registry does not know it any more.
async fn ask_progress(session: &Session, sending: &mut Sending) -> Result<bool, Fault> {
    let request = session.transport.request(Method::GET, sending.location.clone());
    let answer = session.send(request).await?;
    match answer.response.status() {
        StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED => {
            let Some(offset) = confirmed(&answer) else { return Ok(false) };
            if answer.header(LOCATION.as_str()).is_some() {
                sending.location = location(&answer)?;
            }
            sending.offset = offset;
            sending.broken = None;
            Ok(true)
        }
        StatusCode::NOT_FOUND
        | StatusCode::BAD_REQUEST
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::GONE => Ok(false),
        _ => Err(session.refused(answer).await),
    }
}
