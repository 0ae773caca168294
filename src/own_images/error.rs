//! Why docker does not have an image of ours, in words that name it, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::state::StateError;

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnImageError {
    /// Docker does not say whether it has the image.
    #[error("docker could not inspect the image {image}: {words}")]
    Inspect {
        /// The image.
        image: String,
        /// Docker's own words.
        words: String,
    },
    /// It can't build it.
    #[error("docker could not build {image}: {words}{}", quoted(.output))]
    Build {
        /// The image.
        image: String,
        /// Docker's own words.
        words: String,
        /// The last lines that the step printed.
        output: Vec<String>,
    },
    /// It does not go on.
    #[error("docker has said nothing for {} minutes while it built {image}{}", .waited_s / 60, quoted(.output))]
    Silent {
        /// The image.
        image: String,
        /// Seconds we waited.
        waited_s: u64,
        /// The last lines that the step printed.
        output: Vec<String>,
    },
    /// The certificates that the build is to trust can't be had.
    #[error("{}: {reason}", .path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The context can't be written down.
    #[error("the context of {image}: {source}")]
    Context {
        /// The image.
        image: String,
        /// Why not.
        source: io::Error,
    },
    /// The lock around a build.
    #[error("cannot lock {}: {source}", .path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Where the lock would be.
    #[error(transparent)]
    State(#[from] StateError),
    /// Whoever asked for the image does not want it any more.
    #[error("the build of {image} was stopped")]
    Stopped {
        /// The image.
        image: String,
    },
}

/// What docker, or a program in the build, says of a server that can't be reached.
const UNREACHABLE: [&str; 14] = [
    "Temporary failure resolving",
    "Could not resolve",
    "Could not connect",
    "Unable to connect",
    "no such host",
    "dial tcp",
    "i/o timeout",
    "TLS handshake timeout",
    "context deadline exceeded",
    "pull access denied",
    "EAI_AGAIN",
    "ENOTFOUND",
    "ECONNREFUSED",
    "403 Forbidden",
];

/// What they say of one whose CA they don't know.
const UNTRUSTED: [&str; 5] = [
    "x509",
    "certificate verify failed",
    "certificate verification failed",
    "SELF_SIGNED_CERT",
    "UNABLE_TO_GET_ISSUER_CERT",
];

impl OwnImageError {
    /// What the user can do about it, for a `hint:` line.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::State(error) => error.hint(),
            Self::Build { words, output, .. } => Some(build_hint(words, output)),
            Self::Silent { .. } => Some("does docker still answer? `docker ps` shows it".to_owned()),
            Self::Certificates { .. } => Some(
                "SSL_CERT_FILE, or --ca of `bottle image build`, names a file of CA certificates in PEM"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn build_hint(words: &str, output: &[String]) -> String {
    let said = |parts: &[&str]| {
        let has = |text: &str| parts.iter().any(|part| text.contains(part));
        has(words) || output.iter().any(|line| has(line))
    };
    if said(&["no space left on device", "ENOSPC"]) {
        "`docker system df` shows what fills docker's disk, `docker system prune` removes what nothing uses"
    } else if said(&UNTRUSTED) {
        "behind a proxy with a CA of its own: the build trusts the file that SSL_CERT_FILE names, or --ca of \
         `bottle image build`; docker itself, which gets the base images, has its own trust store"
    } else if said(&UNREACHABLE) {
        "the build needs its registries: `bottle image build` has --network host, and --build-arg HTTPS_PROXY=URL; an image \
         that this version of `bottle` built elsewhere can be brought here by `docker save` and `docker load`"
    } else {
        "`bottle -v image build` shows all that docker says"
    }
    .to_owned()
}

fn quoted(output: &[String]) -> String {
    if output.is_empty() { String::new() } else { format!("; the end of its output:\n{}", output.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_goes_by_what_was_said() {
        let hint = |words: &str, line: &str| {
            let output = vec![line.to_owned()];
            OwnImageError::Build { image: "i".to_owned(), words: words.to_owned(), output }.hint().unwrap()
        };
        assert!(hint("write /x: no space left on device", "").contains("docker system"));
        assert!(
            hint("returned a non-zero code: 1", "npm error code SELF_SIGNED_CERT_IN_CHAIN").contains("--ca")
        );
        assert!(
            hint("Get \"https://r/v2/\": dial tcp: lookup r: no such host", "").contains("--network host")
        );
        assert!(hint("returned a non-zero code: 2", "make: error").contains("bottle -v image build"));
    }

    #[test]
    fn an_error_has_docker_s_words_and_the_output() {
        let mut error =
            OwnImageError::Build { image: "i:1".to_owned(), words: "code: 1".to_owned(), output: vec![] };
        assert_eq!(error.to_string(), "docker could not build i:1: code: 1");
        if let OwnImageError::Build { output, .. } = &mut error {
            output.extend(["one".to_owned(), "two".to_owned()]);
        }
        assert_eq!(
            error.to_string(),
            "docker could not build i:1: code: 1; the end of its output:\none\ntwo"
        );
    }
}
