//! Connections: where the server listens, how each one begins and ends, and the drain.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::auth::Access;
use super::error::ServeError;
use super::fetch::{AT_ONCE, Fetches, Peers};
use super::limits::{CONNECTIONS, DRAIN, HANDSHAKE, HEADER_TIME, HEADERS, REQUESTS, STALL, STALL_BYTES};
use super::numbers::Numbers;
use super::operation::Operations;
use super::options::ServeOptions;
use super::peer::HttpPeers;
use super::probe::Probes;
use super::restore::Restores;
use super::router::{App, Connected, router};
use super::session::{Leases, Sessions};
use super::steady::Steady;
use super::tls::Tls;
use crate::config;
use crate::host::Host;
use crate::live::RegionPort;
use crate::model::World;
use crate::region::LocalRegion;

/// After a connection could not be accepted for want of something, such as file handles.
const BREATH: Duration = Duration::from_millis(100);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    origin: String,
    tls: Option<Arc<Tls>>,
    exposure: Option<ServeError>,
}

/// What tests make smaller.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) peers: Arc<dyn Peers>,
    pub(super) leases: Leases,
    pub(super) fetches: usize,
    pub(super) requests: usize,
    pub(super) host: Host,
}

/// What each connection is served with.
#[derive(Clone)]
struct Wiring {
    routes: axum::Router,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Takes the region for itself and listens. Connections wait from now on, until [`Server::run`] answers them.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing was changed then but that the region's directory may have been made.
    pub async fn bind(
        options: &ServeOptions,
        region: LocalRegion,
        world: World,
        drain: CancellationToken,
    ) -> Result<Self, ServeError> {
        let credentials =
            options.peer_tokens.as_deref().map(config::credentials::load).transpose()?.unwrap_or_default();
        let peers = Arc::new(HttpPeers::new(credentials, world.clone()));
        let means =
            Means { peers, leases: Leases::default(), fetches: AT_ONCE, requests: REQUESTS, host: Host::current() };
        Self::with(options, region, world, drain, means).await
    }

    pub(super) async fn with(
        options: &ServeOptions,
        region: LocalRegion,
        world: World,
        drain: CancellationToken,
        means: Means,
    ) -> Result<Self, ServeError> {
        let listening = |source: io::Error| ServeError::Listen { listen: options.listen.clone(), source };
        let addresses: Vec<SocketAddr> = lookup_host(&options.listen).await.map_err(listening)?.collect();
        let exposure = match options.exposure(&addresses) {
            Some(error) if !options.insecure => return Err(error),
            exposure => exposure,
        };
        let certificates = options.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let access = Access::new(options.token_file.as_deref(), certificates)?;
        let tls = options.tls.clone().map(|files| Tls::new(files, Arc::clone(&world.clock))).transpose()?.map(Arc::new);
        if std::fs::metadata(&options.data_dir).is_ok_and(|there| !there.is_dir()) {
            return Err(ServeError::File {
                what: "--data-dir",
                path: options.data_dir.clone(),
                detail: "is not a directory".to_owned(),
                help: "name the region's directory; one that is not there yet is made".to_owned(),
            });
        }
        // First of all that may fail: an address that is taken leaves nothing behind.
        let listener = TcpListener::bind(addresses.as_slice()).await.map_err(listening)?;
        region.hold().await.map_err(ServeError::Region)?;
        // Nobody else has the region, and no restore is under way here yet.
        region.clear_restores(None).await.map_err(ServeError::Region)?;
        let address = listener.local_addr().map_err(listening)?;
        let origin = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
        let clock = &world.clock;
        let host = means.host.serving(region.region().clone());
        let app = Arc::new(App {
            region,
            host,
            access,
            operations: Operations::new(world.clone()),
            sessions: Arc::new(Sessions::new(Arc::clone(clock), means.leases)),
            probes: Probes::new(Arc::clone(&means.peers)),
            fetches: Fetches::new(Arc::clone(clock), means.peers, means.fetches),
            restores: Restores::default(),
            numbers: Numbers::default(),
            drain,
            room: Semaphore::new(means.requests),
            world,
        });
        Ok(Self { app, listener, origin, tls, exposure })
    }

    /// Where it is reached, as scheme, address and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What keeps nobody out, where that was asked for.
    pub const fn exposure(&self) -> Option<&ServeError> {
        self.exposure.as_ref()
    }

    /// What those who connect will find amiss with its certificates.
    pub fn amiss(&self) -> Option<String> {
        self.tls.as_ref().and_then(|tls| tls.amiss(self.app.world.clock.now()))
    }

    /// Answers until the drain is asked for, then ends what is under way: requests get their answers, transfers stop at
    /// the next durable place.
    pub async fn run(self) {
        let Self { app, listener, origin, tls, exposure: _ } = self;
        let wiring = Wiring { routes: router(&app), tls };
        let connections = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        tracing::info!(region = %app.region.region(), origin, "listening");
        let sweeping = Arc::clone(&app);
        let sweeper = tokio::spawn(async move { sweeping.sweep().await });
        let watcher = tokio::spawn(Arc::clone(&app).watch());
        let agent = tokio::spawn(Arc::clone(&app).attend());
        loop {
            let accepted = tokio::select! {
                () = app.drain.cancelled() => break,
                accepted = accept(&listener, &room) => accepted,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    let (wiring, watcher) = (wiring.clone(), connections.watcher());
                    tokio::spawn(async move {
                        let _place = place;
                        connection(wiring, stream, peer, watcher).await;
                    });
                }
                // The client's own, or over in a moment.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    tracing::error!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        drop(listener);
        tracing::info!("draining");
        // Syncs stop, and so do readings and receivings of others, at the next durable place.
        app.operations.stop();
        app.region.interrupt();
        let ending = async {
            connections.shutdown().await;
            app.operations.drain().await;
            let _ = sweeper.await;
            let _ = watcher.await;
            let _ = agent.await;
            app.close(app.sessions.all()).await;
        };
        if tokio::time::timeout(DRAIN, ending).await.is_err() {
            tracing::warn!("not all requests ended in time; what they did is made for being left");
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn connection(wiring: Wiring, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
    // Answers are whole: waiting for more of them to fill a packet costs time only.
    let _ = stream.set_nodelay(true);
    let Wiring { routes, tls } = wiring;
    let Some(tls) = tls else {
        return talk(routes, stream, Connected { peer, certificate: false }, watcher).await;
    };
    let acceptor = TlsAcceptor::from(tls.current());
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
            talk(routes, stream, Connected { peer, certificate }, watcher).await;
        }
        Ok(Err(error)) => tracing::info!(from = %peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::info!(from = %peer, "a TLS handshake took too long"),
    }
}

async fn talk<S>(routes: axum::Router, stream: S, connected: Connected, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(routes.layer(axum::Extension(connected)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADERS)
        .serve_connection(TokioIo::new(Steady::new(stream, STALL, STALL_BYTES)), service);
    // How a client leaves is its own affair; what it asked was answered or dropped.
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(from = %connected.peer, %error, "a connection ended early");
    }
}
