//! What docker and the programs in a build print, as lines that can be shown.

/// Who writes on without an end to the line gets one here.
const LINE_MAX: usize = 4096;

/// Lines of what is passed on piece by piece.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: String,
}

impl Lines {
    /// The lines that this piece ends, as plain text, without those that have none.
    pub(super) fn push(&mut self, piece: &str) -> Vec<String> {
        let mut ended = Vec::new();
        for character in piece.chars() {
            // What a progress bar overwrites are lines, too.
            let ends = matches!(character, '\n' | '\r');
            if !ends {
                self.begun.push(character);
            }
            if ends || self.begun.len() >= LINE_MAX {
                let line = plain(&std::mem::take(&mut self.begun));
                ended.extend((!line.is_empty()).then_some(line));
            }
        }
        ended
    }

    /// The line that has no end yet.
    pub(super) fn rest(&mut self) -> Option<String> {
        Some(plain(&std::mem::take(&mut self.begun))).filter(|line| !line.is_empty())
    }
}

/// Without what would do something to a terminal, and without space at the end.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character == '\x1b' && rest.next_if_eq(&'[').is_some() {
            // A control sequence, ECMA-48 5.4: up to its final byte.
            rest.by_ref().find(|character| matches!(character, '\x40'..='\x7e'));
        } else if character == '\t' {
            plain.push(' ');
        } else if !character.is_control() {
            plain.push(character);
        }
    }
    plain.truncate(plain.trim_end().len());
    plain
}

/// At most about `max` characters of a text, its beginning and its end.
pub(super) fn shortened(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let head: String = text.chars().take(max / 2).collect();
    let tail: String = text.chars().skip(count - max / 2).collect();
    format!("{head} … {tail}")
}

/// `Step 4/12 : RUN …`: which one of how many, and the instruction.
pub(super) fn step(line: &str) -> Option<((u32, u32), &str)> {
    let (number, instruction) = line.strip_prefix("Step ")?.split_once(" : ")?;
    let (step, of) = number.split_once('/')?;
    Some(((step.parse().ok()?, of.parse().ok()?), instruction))
}

/// Whether docker says it of its own doing, layer by layer: of no use to who waits.
pub(super) fn is_noise(line: &str) -> bool {
    [" ---> ", "Removing intermediate container "].iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together() {
        let mut lines = Lines::default();
        assert_eq!(lines.push("Step 1/2 : FROM x"), [""; 0]);
        assert_eq!(lines.push("\nGet:1\r\nand"), ["Step 1/2 : FROM x", "Get:1"]);
        assert_eq!(lines.push(" more"), [""; 0]);
        assert_eq!(lines.rest().unwrap(), "and more");
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn a_line_without_end_ends() {
        let lines = Lines::default().push(&"x".repeat(3 * LINE_MAX));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(
            plain("\x1b[1;31mnpm\x1b[0m error\x07\tcode \x1b]0;title\x07 "),
            "npm error code ]0;title"
        );
        assert_eq!(plain("\x1b["), "");
    }

    #[test]
    fn steps_are_read() {
        assert_eq!(step("Step 4/12 : RUN a : b"), Some(((4, 12), "RUN a : b")));
        for none in ["Step 4 : x", "Step x/y : z", "step 1/2 : z", "Step 1/2"] {
            assert_eq!(step(none), None, "{none}");
        }
    }

    #[test]
    fn long_words_keep_both_ends() {
        assert_eq!(shortened("short", 10), "short");
        let long = format!("The command '{}' returned a non-zero code: 7", "é".repeat(1000));
        let short = shortened(&long, 100);
        assert!(short.starts_with("The command 'é") && short.ends_with(" code: 7"), "{short}");
        assert!(short.chars().count() < 110);
    }
}
