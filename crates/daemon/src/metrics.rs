//! The endpoint that Prometheus asks: one path, plain text, on a socket of its own (`metrics-addr`).

use crate::error::Error;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use proa_engine::Engine;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Most connections at once; more wait.
const CONNECTIONS: usize = 16;
/// How long a request may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket.
pub(crate) struct Metrics(TcpListener);

impl Metrics {
    /// Opens the socket.
    ///
    /// # Errors
    /// It cannot be had.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::Listen {
            address: address.to_string(),
            detail: format!("for metrics: {e}"),
        };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self(TcpListener::from_std(listener).map_err(failed)?))
    }

    /// Answers for ever.
    pub(crate) async fn serve(self, engine: Arc<Engine>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.0.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let engine = Arc::clone(&engine);
                    async move { answer(engine, request).await }
                });
                let mut server = hyper::server::conn::http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(16 << 10);
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
                drop(place);
            });
        }
    }
}

async fn answer(
    engine: Arc<Engine>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        let text = "metrics are at /metrics\n";
        return Response::builder().status(StatusCode::NOT_FOUND).body(Full::from(text));
    }
    let text = tokio::task::spawn_blocking(move || engine.metrics(env!("CARGO_PKG_VERSION"))).await;
    Response::builder()
        .header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
        .body(Full::from(text.unwrap_or_default()))
}
