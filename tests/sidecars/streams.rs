//! What comes bit by bit goes on bit by bit, and what is not HTTP/1.1 works.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bottle::bundle::{AuthScheme, BundleManifest, Route, TokenSource};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::bench::{API, Bench, PASSED};

fn with_routes(bench: &Bench) -> BundleManifest {
    let token = TokenSource::Command(["echo", "a-token"].map(str::to_owned).to_vec());
    let route = |host: &str| Route {
        host: host.to_owned(),
        path: None,
        methods: vec![],
        scheme: AuthScheme::Bearer,
        token: token.clone(),
    };
    BundleManifest {
        routes: vec![route(API), route(PASSED)],
        pass_through: vec![PASSED.parse().expect("a host")],
        ..bench.manifest()
    }
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn events_arrive_one_by_one() {
    Bench::run(async |bench| {
        let sidecars = bench.start(&with_routes(bench)).await;
        for host in [API, PASSED] {
            for version in ["--http1.1", "--http2"] {
                let url = format!("https://{host}/events");
                let mut curl = bench.curl_command(&sidecars, &[version, &url]);
                let mut child = curl.stdout(std::process::Stdio::piped()).spawn().expect("curl");
                let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
                let mut times = Vec::new();
                while let Some(line) = lines.next_line().await.expect("a line") {
                    if line.starts_with("data: event") {
                        times.push(Instant::now());
                    }
                }
                assert_eq!(times.len(), 5, "{host} {version}");
                // The server pauses 400 ms after each.
                for pair in times.windows(2) {
                    let apart = pair[1] - pair[0];
                    assert!(apart > Duration::from_millis(100), "{host} {version}: {apart:?} apart");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn http_2_works_and_a_large_body_passes() {
    Bench::run(async |bench| {
        let sidecars = bench.start(&with_routes(bench)).await;
        let url = format!("https://{API}/");
        let reply = bench.curl(&sidecars, &["--http2", &url]).await;
        assert_eq!(
            (reply.http_version.as_str(), reply.arrived("authorization")),
            ("2", vec!["Bearer a-token".to_owned()])
        );
        let body = bench.state.path().join("body");
        std::fs::write(&body, "words and words ".repeat(400_000)).expect("written");
        let body = format!("@{}", body.display());
        for version in ["--http1.1", "--http2"] {
            let reply = bench
                .curl(&sidecars, &[version, &url, "--data-binary", &body, "-H", "Content-Type: text/plain"])
                .await;
            assert!(reply.text.contains("\"body_bytes\": 6400000"), "{version}: {reply:?}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker and the bundle's image: run cargo xtask test"]
async fn web_sockets_work_where_tunnels_are_passed_through() {
    Bench::run(async |bench| {
        let sidecars = bench.start(&with_routes(bench)).await;
        let (proxy, ca) = (sidecars.first_hop(), sidecars.ca().to_owned());
        let said = tokio::task::spawn_blocking(move || web_socket(proxy, &ca)).await.expect("done");
        assert_eq!(said, ["Bearer a-token", "hello"]);
    })
    .await;
}

/// Sends "hello" by WebSocket (RFC 6455), through the proxy. Returns the messages that come back.
fn web_socket(proxy: std::net::SocketAddrV4, ca: &str) -> Vec<String> {
    let mut tcp = std::net::TcpStream::connect(proxy).expect("the proxy");
    tcp.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    write!(tcp, "CONNECT {PASSED}:443 HTTP/1.1\r\nHost: {PASSED}:443\r\n\r\n").expect("sent");
    assert!(head(&mut tcp).starts_with("HTTP/1.1 200"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM")).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(PASSED).expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut tls = rustls::StreamOwned::new(session, tcp);
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: {PASSED}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Authorization: Bearer placeholder\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    tls.write_all(ask.as_bytes()).expect("sent");
    let answer = head(&mut tls);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let first = message(&mut tls);
    // Final, text; masked with zeros.
    tls.write_all(b"\x81\x85\0\0\0\0hello").expect("sent");
    vec![first, message(&mut tls)]
}

/// The head of an HTTP message, up to and with its empty line.
fn head(stream: &mut impl std::io::Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        text.push(byte[0]);
    }
    String::from_utf8(text).expect("text")
}

/// A short message from the server.
fn message(stream: &mut impl std::io::Read) -> String {
    let mut frame = [0; 2];
    stream.read_exact(&mut frame).expect("a frame");
    assert_eq!(frame[0], 0x81);
    let mut data = vec![0; usize::from(frame[1])];
    stream.read_exact(&mut data).expect("its data");
    String::from_utf8(data).expect("text")
}
