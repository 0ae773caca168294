//! What the images are called, and what they are made of: `images/agent`, `images/sidecars`.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::context::Context;
use crate::plan::{AGENT_IMAGE, DAEMONS_IMAGE};

/// The label of an image that we had docker build: the hash of what it was made of.
pub const HASH_LABEL: &str = "bottle.context";

/// The bundle's own program, static, see `build.rs`.
static SIDECAR: &[u8] = include_bytes!(env!("BOTTLE_SIDECAR"));

/// The build arguments that every Dockerfile has without saying so: how the build gets out, and no part of the image.
const PROXY_ARGUMENTS: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// An image that docker is to have.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What docker calls it.
    pub name: String,
    /// The Dockerfile, and what it copies. Directories that it copies have a file at least.
    pub context: Context,
    /// What `ARG`s of the Dockerfile are to be, instead of what it says.
    pub arguments: BTreeMap<String, String>,
}

/// A file of the repository, at the path that it has in the context.
macro_rules! file {
    ($context:expr, $directory:literal, $path:literal) => {
        $context.file($path, include_bytes!(concat!("../../images/", $directory, "/", $path)).as_slice())
    };
}

impl Recipe {
    /// That of agents' guests, [`AGENT_IMAGE`].
    pub fn agent() -> Self {
        let context = file!(Context::new(), "agent", "Dockerfile");
        Self::new(AGENT_IMAGE, file!(context, "agent", "certificates/README"))
    }

    /// That of the bundle's daemons, [`DAEMONS_IMAGE`].
    pub fn daemons() -> Self {
        let context = file!(Context::new(), "sidecars", "Dockerfile");
        let context = file!(context, "sidecars", "certificates/README");
        let context = file!(context, "sidecars", "egress.py");
        let context = file!(context, "sidecars", "requirements.txt");
        Self::new(DAEMONS_IMAGE, context.program("bottle-sidecar", SIDECAR))
    }

    /// The one of this name, if it is ours.
    pub fn of(image: &str) -> Option<Self> {
        match image {
            AGENT_IMAGE => Some(Self::agent()),
            DAEMONS_IMAGE => Some(Self::daemons()),
            _ => None,
        }
    }

    /// One of your own.
    pub fn new(name: impl Into<String>, context: Context) -> Self {
        Self { name: name.into(), context, arguments: BTreeMap::new() }
    }

    /// Whether it is made with arguments that make it another image than without.
    pub fn is_changed(&self) -> bool {
        self.arguments.keys().any(|name| !is_proxy(name))
    }

    /// Of all that goes into the image, in hexadecimal: SHA-256. Neither the certificates do, nor what names a proxy.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for (path, mode, contents) in self.context.files() {
            add(path.as_bytes());
            add(&mode.to_le_bytes());
            add(contents);
        }
        for (name, value) in self.arguments.iter().filter(|(name, _)| !is_proxy(name)) {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn is_proxy(argument: &str) -> bool {
    PROXY_ARGUMENTS.contains(&&*argument.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_what_its_dockerfile_copies() {
        for recipe in [Recipe::agent(), Recipe::daemons()] {
            let paths: Vec<&str> = recipe.context.files().map(|(path, _, _)| path).collect();
            let (_, _, dockerfile) =
                recipe.context.files().find(|(path, _, _)| *path == "Dockerfile").unwrap();
            let dockerfile = std::str::from_utf8(dockerfile).unwrap();
            let mut copied = 0;
            for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")) {
                let mut words: Vec<&str> = line.split(' ').collect();
                if words[0].starts_with("--from=") {
                    continue;
                }
                words.pop();
                for word in words {
                    let there = paths
                        .iter()
                        .any(|path| path == &word || path.starts_with(word) && word.ends_with('/'));
                    assert!(there, "{}: {word} is not among {paths:?}", recipe.name);
                    copied += 1;
                }
            }
            assert!(copied > 0, "{}", recipe.name);
        }
    }

    #[test]
    fn one_byte_makes_another_hash() {
        let of = |contents: &'static str| {
            Recipe::new("test", Context::new().file("Dockerfile", contents.as_bytes()))
        };
        let plain = of("FROM scratch\n");
        assert_eq!(plain.hash(), of("FROM scratch\n").hash());
        assert_eq!(plain.hash().len(), 64);
        assert_ne!(plain.hash(), of("FROM scratch ").hash());
        let program = Recipe::new("test", Context::new().program("Dockerfile", b"FROM scratch\n"));
        assert_ne!(plain.hash(), program.hash(), "the mode counts");
        let renamed = Recipe { name: "other".to_owned(), ..plain.clone() };
        assert_eq!(plain.hash(), renamed.hash(), "the name does not");
    }

    #[test]
    fn arguments_count_but_for_proxies() {
        let plain = Recipe::new("test", Context::new());
        let with = |name: &str| Recipe {
            arguments: BTreeMap::from([(name.to_owned(), "x".to_owned())]),
            ..plain.clone()
        };
        assert_eq!(plain.hash(), with("https_proxy").hash());
        assert!(!with("HTTP_PROXY").is_changed());
        assert_ne!(plain.hash(), with("NODE").hash());
        assert!(with("NODE").is_changed());
    }

    #[test]
    fn only_our_own_names_have_one() {
        assert_eq!(Recipe::of(AGENT_IMAGE).unwrap().name, AGENT_IMAGE);
        assert_eq!(Recipe::of(DAEMONS_IMAGE).unwrap().name, DAEMONS_IMAGE);
        assert!(Recipe::of("bottle-agent:latest").is_none());
        assert!(Recipe::of("debian:bookworm-slim").is_none());
    }
}
