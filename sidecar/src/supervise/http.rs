//! MCP over HTTP: `POST /mcp`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::queue::Queue;
use super::tools::Tools;

/// Of one agent; each call that waits has one. What comes on top is closed at once.
const CONNECTIONS_MAX: usize = 64;

/// A call has a few hundred bytes.
const BODY_BYTES: usize = 64 * 1024;

/// For a request's header. The client is on the same machine.
const HEADER_LIMIT: Duration = Duration::from_secs(30);

/// After this long a client that has gone is noticed, and a proxy between us has not taken the silence for the end.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After a failure to accept: the system is short of something, and asking again at once won't help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Service = StreamableHttpService<Tools, NeverSessionManager>;

/// Serves whoever connects.
pub(super) async fn serve(listener: TcpListener, queue: Arc<Queue>) {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_max_request_body_bytes(BODY_BYTES)
        .with_sse_keep_alive(Some(KEEP_ALIVE))
        // We are reached by an address that we don't know, published on the host. No page in a browser has business here,
        // and only browsers send an origin.
        .disable_allowed_hosts()
        .enforce_origin_validation();
    let tools = Tools::new(queue);
    let service: Service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("supervise: cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            eprintln!("supervise: {CONNECTIONS_MAX} connections are open, one more was closed");
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            let _place = place;
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .serve_connection(TokioIo::new(stream), service_fn(|request| answer(&service, request)));
            // A client that goes, or talks something else, is its own business.
            served.await.unwrap_or_default();
        });
    }
}

type Body = http_body_util::combinators::BoxBody<hyper::body::Bytes, Infallible>;

async fn answer(service: &Service, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() == "/mcp" {
        return Ok(service.handle(request).await);
    }
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(response)
}
