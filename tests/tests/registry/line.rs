//! A bad line to a registry: a proxy on loopback that cuts connections and answers in the registry's place.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the line does to those who use it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// A connection breaks after so many bytes in one direction; 0: never.
    pub(crate) cut_after: u64,
    /// Every so manyth request is answered with 429 or 500 in turn; 0: none.
    pub(crate) refuse_every: u64,
}

/// The line.
pub(crate) struct Line {
    pub(crate) address: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    cuts: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
}

impl Line {
    /// A line to the server at `to`.
    pub(crate) fn to(server: &str, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (counts, server) = (Arc::new(Counts::default()), server.to_owned());
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(&server) else { continue };
                let counts = Arc::clone(&shared);
                std::thread::spawn(move || carry(&client, &upstream, faults, &counts));
            }
        });
        Self { address, counts }
    }

    /// Bytes that were carried, both ways together.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// Connections that were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.counts.cuts.load(Ordering::Relaxed)
    }

    /// Requests that were answered here.
    pub(crate) fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }
}

fn carry(client: &TcpStream, upstream: &TcpStream, faults: Faults, counts: &Arc<Counts>) {
    let (Ok(back_from), Ok(back_to)) = (upstream.try_clone(), client.try_clone()) else { return };
    let back = Arc::clone(counts);
    std::thread::spawn(move || copy(back_from, back_to, faults, &back, false));
    if let (Ok(from), Ok(to)) = (client.try_clone(), upstream.try_clone()) {
        copy(from, to, faults, counts, true);
    }
}

/// Carries one direction to its end. In that of requests, a piece that begins with a method is the head of one: clients
/// send a head in a write of its own or at the start of one.
fn copy(mut from: TcpStream, mut to: TcpStream, faults: Faults, counts: &Counts, requests: bool) {
    let mut buffer = vec![0; 64 << 10];
    let mut carried = 0_u64;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if requests && is_head(&buffer[..count]) {
            let number = counts.requests.fetch_add(1, Ordering::Relaxed) + 1;
            if faults.refuse_every > 0 && number.is_multiple_of(faults.refuse_every) {
                let refused = counts.refused.fetch_add(1, Ordering::Relaxed);
                let status = if refused.is_multiple_of(2) { "429 Too Many Requests" } else { "500 Broken" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                );
                let _ = from.write_all(answer.as_bytes());
                break;
            }
        }
        carried += count as u64;
        counts.bytes.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if faults.cut_after > 0 && carried >= faults.cut_after {
            counts.cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn is_head(bytes: &[u8]) -> bool {
    ["GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE "].iter().any(|m| bytes.starts_with(m.as_bytes()))
        && bytes.windows(11).take(2000).any(|window| window == b" HTTP/1.1\r\n")
}
