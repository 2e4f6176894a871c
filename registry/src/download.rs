//! One blob on its way here: ranges, resumption, the check at its end, and the thread that writes.

use std::io;

use kiln_core::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::Watch;
use crate::client::not_html;
use crate::error::Fault;
use crate::retry::Patience;
use crate::session::Session;
use crate::stream::{Piece, Pieces, Verdict};
use crate::transport::Answer;

/// Takes the bytes of a blob in order, on a thread that may block.
///
/// A sink that is dropped without having been handed back by [`Client::blob`](crate::Client::blob) has content that was not verified.
pub trait BlobSink: io::Write + Send + 'static {
    /// Forgets everything: the bytes come again from the first, because what came was damaged.
    ///
    /// # Errors
    /// If it cannot, which is what sinks say that do not implement it; the damage is then reported at once.
    fn restart(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl BlobSink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl BlobSink for std::fs::File {
    fn restart(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        io::Seek::rewind(self)
    }
}

impl BlobSink for io::Sink {
    fn restart(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob on its way.
pub(crate) struct Download {
    digest: Digest,
    size: u64,
    /// Bytes that went to the sink.
    received: u64,
    /// Whether it came damaged once.
    restarted: bool,
    pieces: Pieces,
}

/// Why a download does not go on.
pub(crate) enum Stop {
    Fault(Fault),
    /// The sink takes no more; its thread knows why.
    WriterGone,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Download {
    /// A blob of which nothing is here yet, and the queue that [`write_pieces`] is to read.
    pub(crate) fn new(digest: Digest, size: u64) -> (Self, mpsc::Receiver<Piece>) {
        let (pieces, receiver) = Pieces::new();
        (Self { digest, size, received: 0, restarted: false, pieces }, receiver)
    }

    /// Receives what is missing from one source and has it checked.
    pub(crate) async fn run(
        &mut self,
        session: &Session,
        patience: &mut Patience<'_>,
        watch: &dyn Watch,
    ) -> Result<(), Stop> {
        loop {
            match self.receive(session, patience, watch).await {
                Ok(()) => {}
                Err(Stop::Fault(fault)) => {
                    patience.after(fault).await?;
                    continue;
                }
                Err(stop) => return Err(stop),
            }
            let (answer, verdict) = oneshot::channel();
            if !self.pieces.send(Piece::Check(answer)).await {
                return Err(Stop::WriterGone);
            }
            let (found, restarted) = match verdict.await {
                Ok(Verdict::Good) => return Ok(()),
                Ok(Verdict::Damaged { found, restarted }) => (found, restarted),
                Err(_) => return Err(Stop::WriterGone),
            };
            let again = restarted && !self.restarted;
            self.restarted = true;
            let fault = Fault::DigestMismatch { host: session.host(), expected: self.digest, found };
            if restarted {
                self.received = 0;
            }
            if !again {
                return Err(fault.into());
            }
        }
    }

    /// One request for the bytes from `received` on.
    async fn receive(
        &mut self,
        session: &Session,
        patience: &mut Patience<'_>,
        watch: &dyn Watch,
    ) -> Result<(), Stop> {
        if self.received == self.size {
            return Ok(());
        }
        let mut request = session.request(Method::GET, &format!("blobs/{}", self.digest));
        if self.received > 0 {
            let range = format!("bytes={}-{}", self.received, self.size - 1);
            request.headers.insert(RANGE, HeaderValue::try_from(range).expect("digits are a header's value"));
        }
        let mut answer = session.send(request).await?;
        // What a server sends again because it does not know of ranges.
        let mut skip = match answer.response.status() {
            StatusCode::OK => {
                self.check_length(&answer, self.size)?;
                self.received
            }
            StatusCode::PARTIAL_CONTENT if self.received > 0 => {
                self.check_range(&answer)?;
                self.check_length(&answer, self.size - self.received)?;
                0
            }
            status if status.is_success() => {
                let what = format!("it answered {status} to a request for a blob");
                return Err(Fault::Protocol { host: answer.host(), what }.into());
            }
            _ => return Err(session.refused(answer).await.into()),
        };
        not_html(&answer)?;
        let stall = session.transport.options().stall_timeout;
        while let Some(mut bytes) = answer.chunk(stall).await? {
            let known = skip.min(bytes.len() as u64);
            skip -= known;
            let _ = bytes.split_to(usize::try_from(known).unwrap_or(usize::MAX));
            if bytes.is_empty() {
                continue;
            }
            let now = self.received + bytes.len() as u64;
            if now > self.size {
                return Err(self.size_mismatch(&answer, now).into());
            }
            if !self.pieces.send(Piece::Bytes(bytes)).await {
                return Err(Stop::WriterGone);
            }
            self.received = now;
            patience.progressed();
            watch.bytes(now, self.size);
        }
        if self.received < self.size {
            // Without a length there is no telling a short answer from a broken one: try to get the rest.
            let reason = format!("it ended after {} of {} bytes", self.received, self.size);
            return Err(Fault::Interrupted { host: answer.host(), reason }.into());
        }
        Ok(())
    }

    fn check_length(&self, answer: &Answer, expected: u64) -> Result<(), Fault> {
        let length = answer.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        match length {
            Some(length) if length != expected => {
                Err(self.size_mismatch(answer, length + self.size - expected))
            }
            _ => Ok(()),
        }
    }

    /// `bytes 100-199/200` must be what was asked for (RFC 9110 §14.4).
    fn check_range(&self, answer: &Answer) -> Result<(), Fault> {
        let text = answer.header(CONTENT_RANGE.as_str()).unwrap_or_default();
        let parts = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/'));
        let start =
            parts.and_then(|(range, _)| range.split_once('-')).and_then(|(start, _)| start.parse().ok());
        if start != Some(self.received) {
            let what = format!("its Content-Range is `{text}` where byte {} was asked for", self.received);
            return Err(Fault::Protocol { host: answer.host(), what });
        }
        match parts.and_then(|(_, total)| total.parse::<u64>().ok()) {
            Some(total) if total != self.size => Err(self.size_mismatch(answer, total)),
            _ => Ok(()),
        }
    }

    fn size_mismatch(&self, answer: &Answer, found: u64) -> Fault {
        // A page that a proxy puts in the content's place has another size.
        if let Err(page) = not_html(answer) {
            return page;
        }
        Fault::SizeMismatch { host: answer.host(), expected: self.size, found }
    }
}

/// Hashes and writes what comes through the queue, until it was checked or the queue is closed.
pub(crate) fn write_pieces<S: BlobSink>(
    mut sink: S,
    mut pieces: mpsc::Receiver<Piece>,
    expected: Digest,
) -> io::Result<S> {
    let mut hasher = Sha256::new();
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                hasher.update(&bytes);
                sink.write_all(&bytes)?;
            }
            Piece::Check(answer) => {
                let found = Digest::from_bytes(std::mem::take(&mut hasher).finalize().into());
                if found == expected {
                    sink.flush()?;
                    let _ = answer.send(Verdict::Good);
                    return Ok(sink);
                }
                let restarted = sink.restart().is_ok();
                let _ = answer.send(Verdict::Damaged { found, restarted });
            }
        }
    }
    Ok(sink)
}
