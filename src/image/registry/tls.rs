//! Whom HTTPS trusts: the certificates that the system trusts, or those in `SSL_CERT_FILE` and `SSL_CERT_DIR`.

use std::error::Error;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// TLS with ring's cryptography. A system without certificates trusts nobody, which is enough for plain HTTP on loopback.
pub(super) fn config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    Ok(match Verifier::new(provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        Err(error) => {
            log::warn!("no certificates to trust were found: {error}");
            builder.with_root_certificates(RootCertStore::empty())
        }
    }
    .with_no_client_auth())
}

/// TLS's own reason in an error and its causes.
pub(super) fn reason<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error's source is its content's source, not its content.
        let content = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(inner) = content
            && let Some(found) = reason(inner)
        {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
