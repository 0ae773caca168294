//! The CA of the first hop into the guest's trust.
//!
//! ```text
//! /usr/local/share/ca-certificates/bottle.crt ─┬► update-ca-certificates, where the image has it ─┬► /etc/ssl/certs/ca-certificates.crt
//!                                              └► else: appended, between two marks of ours ──────┘
//! ```
//!
//! update-ca-certificates starts some thousand processes to make all of the bundle anew: a second of a launch that has three, twenty in an
//! emulated machine. Where ours is all that is new to it, its result is known, and is written instead: the same line in the bundle, and
//! the same links for those who look a CA up by its name. What it would tell others of, or find beside ours, it is run for.

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
/// The directories of that file and of the bundle, and what links are called that lead to it.
const ADDED: &str = "/usr/local/share/ca-certificates";
const LINKS: &str = "/etc/ssl/certs";
const LINK: &str = "bottle.pem";
/// Whom it tells, in Debian.
const HOOKS: &str = "/etc/ca-certificates/update.d";

/// What we append is between these, so that it is found when it is to be replaced.
const BEGIN: &str = "# Added by bottle: the CA of the first hop\n";
const END: &str = "# End of what bottle added\n";

/// The CA of a first hop.
#[derive(Debug, Clone)]
pub(in crate::launch) struct Ca {
    /// The daemon.
    pub(in crate::launch) daemon: &'static str,
    /// PEM.
    pub(in crate::launch) certificate: String,
    /// Of its subject, as OpenSSL names files of CAs.
    pub(in crate::launch) subject_hash: String,
}

/// Has the guest trust it.
pub(super) fn trust(hands: &Hands<'_>, ca: &Ca) -> Result<(), ProvisionError> {
    let Ca { daemon, certificate, subject_hash } = ca;
    let earlier = hands.read(STEP, CERTIFICATE)?;
    hands.write(STEP, CERTIFICATE, 0o644, certificate.as_bytes())?;
    let bundle = hands.read(STEP, BUNDLE)?.unwrap_or_default();
    let append = || {
        let bundle = earlier.as_ref().map_or_else(|| bundle.clone(), |earlier| without(&bundle, earlier));
        hands.write(STEP, BUNDLE, 0o644, &with(&bundle, certificate))
    };
    let how = if !bundle.is_empty() && is_all_that_is_new(hands)? {
        hands.link(STEP, LINKS, &[(LINK, CERTIFICATE), (&format!("{subject_hash}.0"), LINK)])?;
        append()?;
        "it was appended, as update-ca-certificates would have it"
    } else if hands.run(STEP, As::Root, UPDATE, &[])? {
        "update-ca-certificates succeeded"
    } else {
        append()?;
        "it was appended"
    };
    let bundle = hands.read(STEP, BUNDLE)?.unwrap_or_default();
    if find(&bundle, certificate.trim_ascii().as_bytes()).is_none() {
        return Err(ProvisionError::NotTrusted { daemon: (*daemon).to_owned(), path: BUNDLE, how });
    }
    log::info!("the guest trusts the CA of {daemon}: SHA-256 {}", fingerprint(certificate));
    Ok(())
}

/// Is it as in Debian, where nobody waits to be told, and no other CA was put beside ours?
fn is_all_that_is_new(hands: &Hands<'_>) -> Result<bool, ProvisionError> {
    let none_waits = hands.names(STEP, HOOKS)?.is_some_and(|hooks| hooks.is_empty());
    let ours = CERTIFICATE.rsplit('/').next();
    Ok(none_waits
        && hands.names(STEP, ADDED)?.is_some_and(|all| all.iter().all(|name| Some(&**name) == ours)))
}

/// A bundle without a certificate: one that an earlier run had, and that update-ca-certificates, run since, put there.
fn without(bundle: &[u8], certificate: &[u8]) -> Vec<u8> {
    let certificate = certificate.trim_ascii();
    let mut rest = bundle;
    let mut made = Vec::with_capacity(bundle.len());
    while let Some(at) = find(rest, certificate) {
        made.extend_from_slice(&rest[..at]);
        rest = rest[at + certificate.len()..].trim_ascii_start();
    }
    made.extend_from_slice(rest);
    made
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
    // There are no windows of no size.
    if part.is_empty() { None } else { text.windows(part.len()).position(|window| window == part) }
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
    fn a_ca_of_an_earlier_run_goes_wherever_it_is() {
        let bundle = format!("{TWO}{ONE}{TWO}");
        assert_eq!(without(bundle.as_bytes(), ONE.as_bytes()), format!("{TWO}{TWO}").into_bytes());
        assert_eq!(without(bundle.as_bytes(), b" \n"), bundle.clone().into_bytes());
        let marked = with(bundle.as_bytes(), "other");
        assert_eq!(without(&marked, b"none of these"), marked);
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
