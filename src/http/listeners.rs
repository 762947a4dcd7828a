//! The addresses the service listens on.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// The addresses the service is bound to; all have one port.
#[derive(Debug)]
pub(crate) struct Listeners {
    listeners: Vec<TcpListener>,
    port: u16,
}

impl Listeners {
    /// Binds `host`; `localhost` means both loopback addresses, as far as the machine has them. Port 0 takes a free one.
    pub(crate) async fn bind(host: &str, port: u16) -> io::Result<Self> {
        if host != "localhost" {
            let listener = TcpListener::bind((host, port)).await?;
            let port = listener.local_addr()?.port();
            return Ok(Self {
                listeners: vec![listener],
                port,
            });
        }
        let first = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = first.local_addr()?.port();
        let second = TcpListener::bind(("::1", port)).await;
        if let Err(error) = &second
            && error.kind() == io::ErrorKind::AddrInUse
        {
            return Err(io::Error::new(error.kind(), format!("[::1]:{port}: {error}")));
        }
        Ok(Self {
            listeners: std::iter::once(first).chain(second.ok()).collect(),
            port,
        })
    }

    /// The port, known also where a free one was taken.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The addresses.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// The sockets themselves.
    pub(super) fn into_inner(self) -> Vec<TcpListener> {
        self.listeners
    }
}
