//! What a bottle may be called. Names are exact: nothing takes the beginning of one for the whole, since a script that
//! removes `review` must not hit `reviewer` on the day that `review` is gone.

use super::StateError;

/// The longest slug: a host name's label is no longer, and the guest's host name is the slug.
const LIMIT_BYTES: usize = 63;

/// Below this, two names are not much like each other: one letter of three differs, or two of six.
const LIKENESS: f64 = 0.65;

/// More suggestions are a list, which `bottle ps` prints better.
const MOST_NEAR: usize = 3;

/// Refuses what can't be a bottle's name.
pub fn check_slug(slug: &str) -> Result<(), StateError> {
    let first = slug.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = slug.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if first && rest && slug.len() <= LIMIT_BYTES {
        Ok(())
    } else {
        Err(StateError::BadSlug { slug: slug.to_owned() })
    }
}

/// `prefix` and four hexadecimal digits that differ from run to run: what std seeds its hash tables with.
pub(super) fn random(prefix: &str) -> String {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{prefix}-{:04x}", bits & 0xffff)
}

/// Those of `names` that somebody may have meant who wrote `slug`, the best first.
pub(super) fn near(slug: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let likeness = |name: &str| {
        if name.starts_with(slug) { 1.0 } else { strsim::normalized_damerau_levenshtein(slug, name) }
    };
    let mut like: Vec<(f64, String)> =
        names.map(|name| (likeness(&name), name)).filter(|(likeness, _)| *likeness >= LIKENESS).collect();
    like.sort_by(|(a, a_name), (b, b_name)| b.total_cmp(a).then_with(|| a_name.cmp(b_name)));
    like.into_iter().take(MOST_NEAR).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_that_are_paths_or_options_are_refused() {
        for slug in ["", "-a", ".", "..", ".a", "a/b", "a b", "a\0", "ä", &"a".repeat(64)] {
            assert!(check_slug(slug).is_err(), "{slug:?}");
        }
        for slug in ["a", "reviewer-7f3a", "A.b_c", &"a".repeat(63)] {
            assert!(check_slug(slug).is_ok(), "{slug:?}");
        }
    }

    #[test]
    fn names_that_are_like_the_wrong_one_are_offered() {
        let near = |slug: &str| {
            near(slug, ["reviewer-7f3a", "reviewer-0b11", "vm-1234", "web"].iter().map(|n| (*n).to_owned()))
        };
        assert_eq!(near("reviewer"), ["reviewer-0b11", "reviewer-7f3a"]);
        assert_eq!(near("reveiwer-7f3a"), ["reviewer-7f3a"]);
        assert_eq!(near("vm-1243"), ["vm-1234"]);
        assert!(near("other").is_empty());
    }

    #[test]
    fn a_random_slug_is_a_slug() {
        assert!(check_slug(&random("vm")).is_ok());
        assert_eq!(random("vm").len(), 7);
    }
}
