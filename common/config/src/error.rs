//! Why a configuration was refused, in words that say what to change.

use std::path::PathBuf;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {reason}", .path.display())]
    Unreadable {
        /// As it was named.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{}:{line}:{column}: {complaint}", .path.display())]
    File {
        /// As it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong and what would be right.
        complaint: String,
    },
    /// The role's defaults cannot be used: a fault of the program.
    #[error("the defaults are at fault: {0}")]
    Defaults(String),
    /// A variable of the environment is wrong.
    #[error("environment variable {variable}: {complaint}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong and what would be right.
        complaint: String,
    },
}

/// What serde says about a key or value, with the nearest known name if a key is unknown.
pub(crate) fn complaint(message: &str, spell: impl Fn(&str) -> String) -> String {
    let Some((unknown, known)) = unknown_name(message) else {
        return message.trim_end().to_owned();
    };
    let names = || known.iter().map(|k| format!("`{}`", spell(k))).collect::<Vec<_>>().join(", ");
    match nearest(unknown, &known) {
        _ if known.is_empty() => format!("unknown key `{}`: nothing can be set there", spell(unknown)),
        Some(near) => format!("unknown key `{}`; did you mean `{}`?", spell(unknown), spell(near)),
        None => format!("unknown key `{}`; known are {}", spell(unknown), names()),
    }
}

/// Takes serde's "unknown field `a`, expected one of `b`, `c`" apart.
fn unknown_name(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    Some((unknown, rest.split('`').skip(1).step_by(2).collect()))
}

/// The known name with the fewest edits, if these are few for its length: for a complaint about a name that is not known.
pub fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let (edits, name) = known.iter().map(|k| (edits(unknown, k), *k)).min_by_key(|(edits, _)| *edits)?;
    (edits <= name.chars().count().div_ceil(2)).then_some(name)
}

/// Levenshtein's distance: insertions, deletions and replacements that turn one into the other.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, n) in
            [("", "", 0), ("idc", "idc", 0), ("keeper", "keepers", 1), ("lisn", "listen", 2), ("", "abc", 3)]
        {
            assert_eq!((edits(a, b), edits(b, a)), (n, n), "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_if_it_is_near() {
        let say = |message| complaint(message, str::to_owned);
        let message = "unknown field `lgo`, expected one of `log`, `idc`";
        assert_eq!(say(message), "unknown key `lgo`; did you mean `log`?");
        let message = "unknown field `zzzzzz`, expected `log` or `idc`";
        assert_eq!(say(message), "unknown key `zzzzzz`; known are `log`, `idc`");
        assert_eq!(
            say("unknown field `x`, there are no fields"),
            "unknown key `x`: nothing can be set there"
        );
        assert_eq!(
            say("invalid type: string \"x\", expected u64\n"),
            "invalid type: string \"x\", expected u64"
        );
    }
}
