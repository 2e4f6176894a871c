//! Carries what arrives at published ports into the network.
//!
//! It accepts on sockets of the host and connects from within the network, so that it works the same for root and for
//! ordinary users, for loopback addresses and for IPv6. The container sees its own address as the client's; as root, what
//! comes from other machines is translated by the kernel before it gets here, and keeps its address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::listener::Listener;
use super::request::Protocol;

/// How long a client of UDP is remembered that says nothing: conntrack's time for streams.
const IDLE: Duration = Duration::from_secs(120);
const BUFFER: usize = 64 << 10;

/// Relays from `listener` to `address` until it is dropped.
pub(super) async fn relay(listener: Listener, address: IpAddr) -> io::Result<()> {
    let target = SocketAddr::new(address, listener.port.container_port);
    match listener.port.protocol {
        Protocol::Tcp => streams(TcpListener::from_std(listener.socket.into())?, target).await,
        Protocol::Udp => datagrams(UdpSocket::from_std(listener.socket.into())?, target).await,
    }
}

async fn streams(listener: TcpListener, target: SocketAddr) -> io::Result<()> {
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            // Out of descriptors, or the client went away: later ones may be luckier.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        tokio::spawn(async move {
            // Where nobody listens in the container, the client sees its connection closed.
            let Ok(mut server) = TcpStream::connect(target).await else { return };
            for stream in [&client, &server] {
                let _ = stream.set_nodelay(true);
            }
            // Either side may break off at any time.
            let _ = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await;
        });
    }
}

async fn datagrams(socket: UdpSocket, target: SocketAddr) -> io::Result<()> {
    let socket = Arc::new(socket);
    let clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>> = Arc::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        // An error is an answer to an earlier datagram that could not be delivered.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let known = clients.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
        let inner = match known {
            Some(inner) => inner,
            None => {
                let inner = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?);
                inner.connect(target).await?;
                clients.lock().unwrap_or_else(PoisonError::into_inner).insert(client, Arc::clone(&inner));
                let (socket, clients, answers) =
                    (Arc::clone(&socket), Arc::clone(&clients), Arc::clone(&inner));
                tokio::spawn(async move {
                    let mut buffer = vec![0; BUFFER];
                    while let Ok(received) = tokio::time::timeout(IDLE, answers.recv(&mut buffer)).await {
                        // Refused: nobody listens in the container, perhaps not yet.
                        let Ok(length) = received else { continue };
                        let _ = socket.send_to(&buffer[..length], client).await;
                    }
                    clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&client);
                });
                inner
            }
        };
        let _ = inner.send(&buffer[..length]).await;
    }
}
