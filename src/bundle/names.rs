//! What a bundle's parts are called, and the labels by which they are found again.
//!
//! Names are for people. Everything that removes goes by labels, because a name can be anyone's.

use std::collections::HashMap;
use std::path::Path;

use super::error::BundleError;

/// The label that names the bottle: on every container and network of a bundle.
pub const SLUG_LABEL: &str = "bottle.slug";
/// The label that names the state directory the bottle belongs to. Two users, or two test runs, can share one
/// docker daemon; neither may sweep what the other runs.
pub const STATE_LABEL: &str = "bottle.state";
/// The label with the version of `bottle` that made it.
pub const VERSION_LABEL: &str = "bottle.version";
/// The label on a container that says which alias its ports are published on.
pub const ALIAS_LABEL: &str = "bottle.alias";

/// The longest slug: docker makes no host name of a container's name, but people read it in tables, and 63 is what a DNS
/// label may have.
const SLUG_MAX_BYTES: usize = 63;

/// The name of the bundle's network.
pub fn network(slug: &str) -> String {
    format!("bottle-bundle-{slug}")
}

/// The name of the bundle's container.
pub fn container(slug: &str) -> String {
    format!("bottle-sidecars-{slug}")
}

/// Refuses a slug that docker would not take in a name, or that would mean something in a URL of its API.
pub fn check_slug(slug: &str) -> Result<(), BundleError> {
    let starts_well = slug.starts_with(|c: char| c.is_ascii_alphanumeric());
    let all_plain = slug.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if starts_well && all_plain && slug.len() <= SLUG_MAX_BYTES {
        Ok(())
    } else {
        Err(BundleError::InvalidSlug { slug: slug.to_owned() })
    }
}

/// The labels that everything of this bottle carries.
pub(super) fn labels(state_dir: &Path, slug: &str) -> HashMap<String, String> {
    HashMap::from([
        (SLUG_LABEL.to_owned(), slug.to_owned()),
        (STATE_LABEL.to_owned(), state(state_dir)),
        (VERSION_LABEL.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ])
}

/// The filter that finds everything of one state directory, or of one bottle in it.
pub(super) fn filter(state_dir: &Path, slug: Option<&str>) -> HashMap<String, Vec<String>> {
    let mut wanted = vec![format!("{STATE_LABEL}={}", state(state_dir))];
    wanted.push(match slug {
        Some(slug) => format!("{SLUG_LABEL}={slug}"),
        None => SLUG_LABEL.to_owned(),
    });
    HashMap::from([("label".to_owned(), wanted)])
}

/// Do these labels say that the thing is this bottle's?
pub(super) fn is_ours(labels: Option<&HashMap<String, String>>, state_dir: &Path, slug: &str) -> bool {
    let has =
        |key: &str, value: &str| labels.and_then(|all| all.get(key)).is_some_and(|found| found == value);
    has(SLUG_LABEL, slug) && has(STATE_LABEL, &state(state_dir))
}

/// Our labels among these, for an error.
pub(super) fn shown(labels: Option<&HashMap<String, String>>) -> String {
    let mut ours: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("bottle."))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    ours.sort();
    if ours.is_empty() { "none".to_owned() } else { ours.join(", ") }
}

/// The state directory as it stands in a label: without symlinks where it exists, so that two ways to write one
/// directory are one owner.
fn state(state_dir: &Path) -> String {
    let real = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    real.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_that_docker_would_misread_are_refused() {
        for good in ["reviewer-7f3a", "a", "A.b_c-9"] {
            assert!(check_slug(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", ".", "../x", "a/b", "a b", "a?force=1", "a#", "a=b", "ä", "a\n", &too_long] {
            assert!(check_slug(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_the_same_bottle_of_the_same_state_directory_is_ours() {
        let here = Path::new("/nonexistent/here");
        let made = labels(here, "one");
        assert!(is_ours(Some(&made), here, "one"));
        assert!(!is_ours(Some(&made), here, "two"));
        assert!(!is_ours(Some(&made), Path::new("/nonexistent/there"), "one"));
        assert!(!is_ours(None, here, "one"));
    }
}
