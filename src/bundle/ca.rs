//! The certificate authorities of one bottle: made for it, known to it alone, gone with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose,
};

use super::error::BundleError;

/// A CA that has been made.
pub(super) struct Authority {
    /// Its certificate, PEM.
    pub(super) certificate: String,
    /// Its key, PEM (RFC 5915, "EC PRIVATE KEY").
    pub(super) key: String,
}

/// Makes one that signs servers' certificates and no other CA's.
pub(super) fn mint(daemon: &str, slug: &str) -> Result<Authority, BundleError> {
    let failed =
        |error: rcgen::Error| BundleError::Authority { daemon: daemon.to_owned(), reason: error.to_string() };
    let no_key = || BundleError::Authority {
        daemon: daemon.to_owned(),
        reason: "the key has another form".to_owned(),
    };
    // ECDSA on P-256: made in no time, and taken by every client.
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name(daemon, slug));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    // mitmproxy names the issuer in what it signs by the SHA-1 of the issuer's key, and OpenSSL wants that to be the issuer's own name
    // for it. It is a name, and nothing rests on it.
    let name = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, key.public_key_raw());
    params.key_identifier_method = KeyIdMethod::PreSpecified(name.as_ref().to_vec());
    // The times: rcgen's, from 1975 on. A bottle's CA ends with its bottle, and a guest's clock may be off.
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Authority { certificate: certificate.pem(), key: ec_private_key(&key).ok_or_else(no_key)? })
}

fn common_name(daemon: &str, slug: &str) -> String {
    format!("{daemon} of the bottle {slug}")
}

/// The hash of the subject of such a CA, as `openssl x509 -subject_hash` has it: the first bytes of the SHA-1 of the name, in lower case.
pub(super) fn subject_hash(daemon: &str, slug: &str) -> String {
    let name = common_name(daemon, slug).to_lowercase();
    // A SET of a SEQUENCE of 2.5.4.3 and a UTF8String; of a slug's length, so that each has a length of one byte.
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let mut der = Vec::new();
    for (tag, more) in [(0x31, 9), (0x30, 7)] {
        der.extend([tag, length.saturating_add(more)]);
    }
    der.extend([0x06, 3, 0x55, 0x04, 0x03, 0x0c, length]);
    der.extend_from_slice(name.as_bytes());
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &der);
    digest.as_ref().iter().take(4).rev().map(|byte| format!("{byte:02x}")).collect()
}

/// The key in the form that pipelock takes, where rcgen has PKCS #8: the same numbers in another frame.
fn ec_private_key(key: &KeyPair) -> Option<String> {
    // PKCS #8 of a P-256 key, RFC 5208 around RFC 5915: the private number has a fixed place, behind its tag and its length.
    let pkcs8 = key.serialize_der();
    let private = pkcs8.get(36..68).filter(|_| pkcs8.get(34..36) == Some(&[0x04, 32]))?;
    let public = key.public_key_raw();
    if public.len() != 65 {
        return None;
    }
    let mut der = vec![0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 32];
    der.extend_from_slice(private);
    // [0] the curve, 1.2.840.10045.3.1.7; [1] the public point, a bit string.
    der.extend_from_slice(&[
        0xa0, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 68, 0x03, 66, 0,
    ]);
    der.extend_from_slice(public);
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|at| text.get(at..text.len().min(at + 64))).collect();
    Some(format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn openssl_has_the_same_hash() {
        for slug in ["one", "Reviewer_7-f3A", &"x".repeat(40)] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), mint("egress", slug).unwrap().certificate).unwrap();
            let mut openssl = std::process::Command::new("openssl");
            let output =
                openssl.args(["x509", "-noout", "-subject_hash", "-in"]).arg(file.path()).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), subject_hash("egress", slug));
        }
    }

    #[test]
    fn the_key_is_that_of_the_certificate() {
        let made = mint("pipelock", "one").unwrap();
        assert!(made.key.lines().all(|line| line.len() <= 64));
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
        let PrivateKeyDer::Sec1(der) = &key else { panic!("another form") };
        // SEQUENCE, and to the end.
        assert_eq!(
            (der.secret_sec1_der()[0], usize::from(der.secret_sec1_der()[1])),
            (0x30, der.secret_sec1_der().len() - 2)
        );
        let signing = rustls::crypto::ring::sign::any_ecdsa_type(&key).unwrap();
        let public = signing.public_key().unwrap();
        let pem = rustls::pki_types::CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
        let within = pem.windows(public.len()).any(|window| window == &public[..]);
        assert!(within, "the certificate has another key");
    }
}
