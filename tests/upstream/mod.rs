//! Servers that stand for the world outside: one with TLS, and a git server behind sshd.

use std::net::SocketAddrV4;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// The server's program, in Python; it says itself what its arguments are.
pub(crate) const SERVER: &str = include_str!("upstream.py");

/// The program of a server that stands in for the APIs of agents' programs; the same.
// Not all tests run those.
#[allow(dead_code)]
pub(crate) const API: &str = include_str!("api.py");

/// A CA of the test's, and the certificate and key of it of a server with these names.
pub(crate) fn certificates(names: &[&str]) -> (String, String) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    // Not the name that a server's certificate has by default: that would pass for one that is its own issuer's.
    ca.distinguished_name.push(DnType::CommonName, "the CA of the tests");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).expect("a CA").pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("a certificate");
    (ca_certificate, format!("{}{}", leaf.pem(), key.serialize_pem()))
}

/// The configuration of an sshd that listens there, with the keys `host-key` and `authorized-keys` of this directory.
pub(crate) fn sshd_config(dir: &Path, listen: SocketAddrV4) -> String {
    let dir = dir.display();
    format!(
        "ListenAddress {listen}\nHostKey {dir}/host-key\nAuthorizedKeysFile {dir}/authorized-keys\n\
         StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
}
