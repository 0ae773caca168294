//! Names by pattern, as in push rules: `*` is any characters but `/`, `**` any at all, everything else is itself.

/// Does the whole name fit the pattern?
pub fn fits(pattern: &str, name: &str) -> bool {
    // Where to go on from when the rest doesn't fit: the last star of each kind, and how much of the name it has so far. Going
    // back to the last ones is enough, as what is before them has found its earliest fit; so time is at most
    // |pattern| * |name|^2, and both are short.
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut one: Option<(usize, usize)> = None;
    let mut any: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            (any, one) = (Some((p, n)), None);
        } else if pattern[p..].starts_with(b"*") {
            p += 1;
            one = Some((p, n));
        } else if p == pattern.len() && n == name.len() {
            return true;
        } else if p < pattern.len() && pattern.get(p) == name.get(n) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((after, at)) =
            one.filter(|(_, at)| name.get(*at).is_some_and(|byte| *byte != b'/'))
        {
            (p, n) = (after, at + 1);
            one = Some((after, at + 1));
        } else if let Some((after, at)) = any.filter(|(_, at)| *at < name.len()) {
            (p, n) = (after, at + 1);
            (any, one) = (Some((after, at + 1)), None);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn one_star_stays_in_its_part_of_the_name() {
        for (pattern, name) in [
            ("main", "main"),
            ("agent/*", "agent/x"),
            ("agent/*", "agent/"),
            ("*", "main"),
            ("*-fix", "a-fix-fix"),
            ("a*/b*", "ax/by"),
            ("**", "a/b/c"),
            ("agent/**", "agent/a/b"),
            ("**/fix", "a/b/fix"),
            ("**/*.x/y", "a/b.x/c.x/y"),
            ("release-*.*", "release-1.2"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("main", "main2"),
            ("main", "mai"),
            ("agent/*", "agent/a/b"),
            ("*", "a/b"),
            ("agent/*", "agents/x"),
            ("", "a"),
            ("a*", ""),
            ("**/fix", "fix"),
            ("*x", "xa"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        assert!(!fits(&"**a".repeat(80), &"a".repeat(79)));
        assert!(!fits(&"*a".repeat(60), &"a".repeat(59)));
        assert!(!fits(&("**".repeat(3) + &"*a".repeat(60) + "b"), &"a".repeat(200)));
    }
}
