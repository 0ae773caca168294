//! The server that requests go to, with TLS: `GET /N` is answered with N bytes, a body with its length.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

type Failure = Box<dyn Error>;

/// What bodies are made of: nothing that looks like a secret, or like a key in base64.
pub(crate) const WORDS: &[u8; 16] = b"words and words ";

/// At a time.
const PIECE: usize = 1 << 16;

/// Serves there, under these names, for good. Returns the certificate of the CA to trust, PEM.
pub(crate) fn serve(address: SocketAddr, names: &[&str]) -> Result<String, Failure> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    // Not the name that a server's certificate has by default: that would pass for one that is its own issuer's.
    ca.distinguished_name.push(DnType::CommonName, "the CA of the measured server");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names)?.signed_by(&key, &Issuer::new(ca, ca_key))?;
    let chain = vec![CertificateDer::from(certificate)];
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?);
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            // A client that goes away is none of its business.
            thread::spawn(move || answer_all(stream, config).unwrap_or_default());
        }
    });
    Ok(ca_pem)
}

fn answer_all(stream: TcpStream, config: Arc<ServerConfig>) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut body_bytes = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    body_bytes = value.trim().parse()?;
                }
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => {
                    return Err("a body without its length".into());
                }
                Some(_) => {}
                None => break,
            }
        }
        let came = std::io::copy(&mut stream.by_ref().take(body_bytes), &mut std::io::sink())?;
        let path = first.split(' ').nth(1).unwrap_or_default();
        let length: usize = path.trim_start_matches('/').parse().unwrap_or_default();
        let text = came.to_string();
        let length = if came == 0 { length } else { text.len() };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
        let to = stream.get_mut();
        if came > 0 {
            to.write_all((head + &text).as_bytes())?;
            continue;
        }
        // In one record, if it is small.
        let mut piece = head.into_bytes();
        let mut left = length;
        while left > 0 || !piece.is_empty() {
            let more = left.min(PIECE.saturating_sub(piece.len()));
            piece.extend(WORDS.iter().cycle().take(more));
            to.write_all(&piece)?;
            left -= more;
            piece.clear();
        }
    }
}
