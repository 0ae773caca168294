//! What serde says of a file, in the words of a manifest: keys, not fields; and which one was meant.

/// Below this, two words are not much like each other.
const LIKENESS: f64 = 0.6;

/// The word that is most like the wrong one, if one is.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(word, name);
    let best = known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS).then_some(best)
}

/// A hint for a name that there is not.
pub(crate) fn hint_for<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("is it `{near}`?"),
        None => {
            let all: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
            if all.is_empty() {
                "there is none yet".to_owned()
            } else {
                format!("there is {}", all.join(", "))
            }
        }
    }
}

/// A word that there is not, among those that there are: the message, and what can be done about it.
pub(super) fn unknown<'a>(
    kind: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> (String, String) {
    (format!("unknown {kind} `{word}`"), hint_for(word, known))
}

/// The same for what serde says in words.
pub(super) fn explain(message: &str) -> (String, String) {
    for (prefix, kind) in [("unknown field `", "key"), ("unknown variant `", "word")] {
        if let Some((word, rest)) = message.strip_prefix(prefix).and_then(|rest| rest.split_once('`')) {
            // serde lists what it knows in backticks.
            let known = rest.split('`').skip(1).step_by(2);
            return unknown(kind, word, known);
        }
    }
    // toml's own words for a table within an enumeration.
    if let Some((words, known)) = message
        .strip_prefix("unexpected keys in table: ")
        .and_then(|rest| rest.split_once(", available keys: "))
    {
        return unknown("key", words.split(", ").next().unwrap_or_default(), known.split(", "));
    }
    if let Some(word) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return (
            format!("`{word}` is missing here"),
            format!("add `{word}`; docs/MANIFEST.md has an example"),
        );
    }
    let hint = if message.starts_with("invalid type") || message.starts_with("invalid value") {
        "docs/MANIFEST.md has each key with its type and an example"
    } else if message.starts_with("duplicate key") {
        "leave one of the two"
    } else {
        "docs/MANIFEST.md has an example of each key; strings stand in quotes"
    };
    (message.to_owned(), hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_offered() {
        let (what, hint) = explain("unknown field `hsots`, expected one of `hosts`, `routes`, `git`");
        assert_eq!((&*what, &*hint), ("unknown key `hsots`", "is it `hosts`?"));
        let (_, hint) = explain("unknown field `zzz`, expected `hosts` or `routes`");
        assert_eq!(hint, "there is `hosts`, `routes`");
        let (what, hint) = explain("unknown variant `claud`, expected `claude`");
        assert_eq!((&*what, &*hint), ("unknown word `claud`", "is it `claude`?"));
        assert_eq!(explain("missing field `token`").0, "`token` is missing here");
    }
}
