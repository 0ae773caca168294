//! The CA of the first hop into the guest's trust.
//!
//! ```text
//! /usr/local/share/ca-certificates/bottle.crt ─► update-ca-certificates, where the image has it ─┐
//!                                              └► else: appended, between two marks of ours      ┴► /etc/ssl/certs/ca-certificates.crt
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::ProvisionError;
use super::hands::{As, Hands};

/// Where programs find the CAs that they trust, after this step.
pub(in crate::launch) const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

const STEP: &str = "ca";
/// Where update-ca-certificates looks for what was added to an image.
const CERTIFICATE: &str = "/usr/local/share/ca-certificates/bottle.crt";
const UPDATE: &str = "update-ca-certificates";

/// What we append is between these, so that it is found when it is to be replaced.
const BEGIN: &str = "# Added by bottle: the CA of the first hop\n";
const END: &str = "# End of what bottle added\n";

/// Has the guest trust the CA of this daemon.
pub(super) fn trust(hands: &Hands<'_>, daemon: &str, certificate: &str) -> Result<(), ProvisionError> {
    hands.write(STEP, CERTIFICATE, 0o644, certificate.as_bytes())?;
    let how = if hands.run(STEP, As::Root, UPDATE, &[])? {
        "update-ca-certificates succeeded"
    } else {
        let before = hands.read(STEP, BUNDLE)?.unwrap_or_default();
        hands.write(STEP, BUNDLE, 0o644, &with(&before, certificate))?;
        "it was appended"
    };
    let bundle = hands.read(STEP, BUNDLE)?.unwrap_or_default();
    if find(&bundle, certificate.trim_ascii().as_bytes()).is_none() {
        return Err(ProvisionError::NotTrusted { daemon: daemon.to_owned(), path: BUNDLE, how });
    }
    log::info!("the guest trusts the CA of {daemon}: SHA-256 {}", fingerprint(certificate));
    Ok(())
}

/// A bundle of CAs with this one at its end, and without the one that we put there before.
fn with(bundle: &[u8], certificate: &str) -> Vec<u8> {
    let mut made = Vec::with_capacity(bundle.len() + BEGIN.len() + certificate.len() + END.len() + 2);
    let mut rest = bundle;
    while let Some(begin) = find(rest, BEGIN.as_bytes()) {
        made.extend_from_slice(&rest[..begin]);
        rest = match find(&rest[begin..], END.as_bytes()) {
            Some(end) => &rest[begin + end + END.len()..],
            // Cut off in the middle: all behind our mark was ours.
            None => &[],
        };
    }
    made.extend_from_slice(rest);
    if made.last().is_some_and(|byte| *byte != b'\n') {
        made.push(b'\n');
    }
    for part in [BEGIN, certificate.trim_ascii(), "\n", END] {
        made.extend_from_slice(part.as_bytes());
    }
    made
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// The SHA-256 of the certificate itself, as `openssl x509 -fingerprint` has it.
fn fingerprint(certificate: &str) -> String {
    let lines: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(lines).unwrap_or_default();
    let bytes: Vec<String> = Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n";
    const TWO: &str = "-----BEGIN CERTIFICATE-----\nQg==\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_ca_is_appended_once_however_often() {
        for before in ["", "theirs", "theirs\n", "theirs\n# a comment\n"] {
            let once = with(before.as_bytes(), ONE);
            let text = String::from_utf8(once.clone()).unwrap();
            assert!(text.starts_with(before) && text.matches(ONE).count() == 1, "{text}");
            assert_eq!(with(&once, ONE), once);
            let other = String::from_utf8(with(&once, TWO)).unwrap();
            assert!(other.starts_with(before) && !other.contains(ONE) && other.contains(TWO), "{other}");
        }
    }

    #[test]
    fn what_others_appended_behind_ours_stays_and_a_torn_end_goes() {
        let mut both = with(b"theirs\n", ONE);
        both.extend_from_slice(b"others\n");
        let text = String::from_utf8(with(&both, TWO)).unwrap();
        assert_eq!(text, format!("theirs\nothers\n{BEGIN}{TWO}{END}"));
        let torn = &both[..both.len() - END.len() - "others\n".len() - 5];
        assert_eq!(with(torn, TWO), with(b"theirs\n", TWO));
    }

    #[test]
    fn a_fingerprint_is_that_of_the_certificate_and_not_of_its_text() {
        // SHA-256 of "A".
        assert!(fingerprint(ONE).starts_with("55:9A:EA:D0:82:64"), "{}", fingerprint(ONE));
    }
}
