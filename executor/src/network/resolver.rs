//! A small name server: it knows the names of a network, and passes every other question on to the host's name servers.
//!
//! Questions go out through sockets that were opened on the host, so that name servers on its loopback interface can be asked
//! too. Answers are passed on as they come.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use super::message::Question;

const LARGEST: usize = 64 << 10;
/// Clients ask again after five seconds (resolv.conf(5)).
const PATIENCE: Duration = Duration::from_secs(5);

/// Who is called what in a network: lower case, without a dot at the end.
pub(super) type NameTable = Arc<Mutex<HashMap<String, Vec<IpAddr>>>>;

/// Answers questions.
#[derive(Debug)]
pub(super) struct Resolver {
    names: NameTable,
    upstream: Vec<Upstream>,
}

#[derive(Debug)]
struct Upstream {
    socket: Arc<UdpSocket>,
    waiting: Arc<Mutex<HashMap<u16, oneshot::Sender<Vec<u8>>>>>,
}

impl Resolver {
    /// A resolver that knows `names` and asks on `sockets`, which are connected.
    pub(super) fn start(names: NameTable, sockets: Vec<std::net::UdpSocket>) -> io::Result<Arc<Self>> {
        let mut upstream = Vec::new();
        for socket in sockets {
            let socket = Arc::new(UdpSocket::from_std(socket)?);
            let waiting: Arc<Mutex<HashMap<u16, oneshot::Sender<Vec<u8>>>>> = Arc::default();
            tokio::spawn(hear(Arc::clone(&socket), Arc::clone(&waiting)));
            upstream.push(Upstream { socket, waiting });
        }
        Ok(Arc::new(Self { names, upstream }))
    }

    /// Serves both protocols on `address`.
    pub(super) async fn serve(self: Arc<Self>, address: SocketAddr) -> io::Result<()> {
        let socket = Arc::new(UdpSocket::bind(address).await?);
        let listener = TcpListener::bind(address).await?;
        let streams = Arc::clone(&self);
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    // A client may break off at any time.
                    Ok((client, _)) => drop(tokio::spawn(Arc::clone(&streams).stream(client))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        let mut buffer = vec![0; LARGEST];
        loop {
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
            let (this, socket, query) = (Arc::clone(&self), Arc::clone(&socket), buffer[..length].to_vec());
            tokio::spawn(async move {
                if let Some(answer) = this.answer(query).await {
                    let _ = socket.send_to(&answer, client).await;
                }
            });
        }
    }

    /// Messages on a stream have their length before them (RFC 1035, 4.2.2).
    async fn stream(self: Arc<Self>, mut client: TcpStream) -> io::Result<()> {
        loop {
            let mut query = vec![0; usize::from(client.read_u16().await?)];
            client.read_exact(&mut query).await?;
            let Some(answer) = self.answer(query).await else { return Ok(()) };
            client.write_u16(u16::try_from(answer.len()).unwrap_or(u16::MAX)).await?;
            client.write_all(&answer).await?;
        }
    }

    async fn answer(&self, query: Vec<u8>) -> Option<Vec<u8>> {
        if let Some(question) = Question::parse(&query) {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(addresses) = names.get(&question.name) {
                return Some(question.answer(&query, addresses));
            }
        }
        self.forward(query).await
    }

    /// Asks every name server at once and takes the first answer.
    async fn forward(&self, mut query: Vec<u8>) -> Option<Vec<u8>> {
        let own: [u8; 2] = query.get(..2)?.try_into().ok()?;
        let mut answers = tokio::task::JoinSet::new();
        for upstream in &self.upstream {
            let (tell, answer) = oneshot::channel();
            let id = upstream.remember(tell)?;
            query[..2].copy_from_slice(&id.to_be_bytes());
            // One that cannot be reached does not answer.
            let _ = upstream.socket.send(&query).await;
            let waiting = Arc::clone(&upstream.waiting);
            answers.spawn(async move {
                let heard = tokio::time::timeout(PATIENCE, answer).await;
                waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                heard.ok()?.ok()
            });
        }
        while let Some(answer) = answers.join_next().await {
            if let Ok(Some(mut answer)) = answer {
                answer[..2].copy_from_slice(&own);
                return Some(answer);
            }
        }
        None
    }
}

impl Upstream {
    /// Notes that somebody waits, under a number that nobody can guess.
    fn remember(&self, tell: oneshot::Sender<Vec<u8>>) -> Option<u16> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..16 {
            let mut bytes = [0; 2];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
            let id = u16::from_ne_bytes(bytes);
            if let std::collections::hash_map::Entry::Vacant(place) = waiting.entry(id) {
                place.insert(tell);
                return Some(id);
            }
        }
        None
    }
}

/// Hands answers to who waits for them.
async fn hear(socket: Arc<UdpSocket>, waiting: Arc<Mutex<HashMap<u16, oneshot::Sender<Vec<u8>>>>>) {
    let mut buffer = vec![0; LARGEST];
    loop {
        // Refused: nobody listens there at this moment.
        let Ok(length) = socket.recv(&mut buffer).await else { continue };
        let Some(&[high, low]) = buffer.get(..2).filter(|_| length >= 12) else { continue };
        let id = u16::from_be_bytes([high, low]);
        let tell = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(tell) = tell {
            // The one who asked may have given up.
            let _ = tell.send(buffer[..length].to_vec());
        }
    }
}
