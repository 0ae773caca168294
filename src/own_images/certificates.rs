//! The CAs that a build needs to reach its registries, where a proxy with a CA of its own is in between.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::context::Context;
use super::error::OwnImageError;

/// Where the Dockerfiles look for them.
const PATH: &str = "certificates/machine.crt";

/// All CAs that there are take less than 300 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// As long as lines of PEM are.
const LINE: usize = 64;

/// Adds the certificates of a file of PEM, and nothing else that is in it, to a context.
pub(super) fn add(context: Context, path: &Path) -> Result<Context, OwnImageError> {
    let pem = read(path).and_then(|text| certificates(&text));
    match pem {
        Ok(pem) => Ok(context.file(PATH, pem.into_bytes())),
        Err(reason) => Err(OwnImageError::Certificates { path: path.to_owned(), reason }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Before it is opened: that of a pipe waits for who writes.
    if !std::fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {} MiB", MAX_BYTES >> 20));
    }
    Ok(text)
}

/// The certificates among what PEM there is. Written anew, so that no key goes to docker that lies beside them.
fn certificates(text: &[u8]) -> Result<String, String> {
    let mut pem = String::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|error| format!("it is damaged: {error}"))?;
        let encoded = STANDARD.encode(&certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII.
            let (line, more) = rest.split_at(rest.len().min(LINE));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    if pem.is_empty() { Err("it has no certificates in PEM".to_owned()) } else { Ok(pem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAECAwQF\n-----END CERTIFICATE-----\n";

    fn refused(contents: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        add(Context::new(), file.path()).unwrap_err().to_string()
    }

    #[test]
    fn only_certificates_are_taken() {
        let key = "-----BEGIN PRIVATE KEY-----\nMAECAwQF\n-----END PRIVATE KEY-----\n";
        let text = format!("# A comment.\n{CERTIFICATE}{key}\n{CERTIFICATE}");
        assert_eq!(certificates(text.as_bytes()).unwrap(), format!("{CERTIFICATE}{CERTIFICATE}"));
    }

    #[test]
    fn long_ones_have_lines() {
        let long = STANDARD.encode([7; 100]);
        let text = format!("-----BEGIN CERTIFICATE-----\n{long}\n-----END CERTIFICATE-----\n");
        let written = certificates(text.as_bytes()).unwrap();
        assert!(written.lines().all(|line| line.len() <= LINE), "{written}");
        assert_eq!(certificates(written.as_bytes()).unwrap(), written);
    }

    #[test]
    fn what_is_no_such_file_is_named() {
        assert!(refused(b"hello").ends_with("it has no certificates in PEM"));
        assert!(
            refused(b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n").contains("damaged")
        );
        assert!(refused(&vec![b'x'; (4 << 20) + 1]).ends_with("it has more than 4 MiB"));
        let error = add(Context::new(), Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.starts_with("/dev/zero") && error.ends_with("it is not a file"), "{error}");
        let error = add(Context::new(), Path::new("/nowhere/ca.pem")).unwrap_err().to_string();
        assert!(error.contains("No such file"), "{error}");
    }
}
