//! The settings in a policy's name: a word and a number each, between dashes.

use crate::error::{Error, Result};
use crate::nearest;

/// One setting, for example `mstd0.5`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    /// The whole policy, for messages.
    policy: &'a str,
    /// The setting as written.
    text: &'a str,
    /// Its word.
    pub(super) key: &'a str,
    /// What follows the word.
    pub(super) value: &'a str,
}

/// Splits every setting into its word, one of `known` and never twice, and its value, never empty.
///
/// The word ends before the first digit. `t` alone is a prefix, as in timm: its value is a name.
pub(super) fn all<'a>(
    policy: &'a str,
    family: &str,
    known: &[&str],
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<Token<'a>>> {
    let mut tokens: Vec<Token<'a>> = Vec::new();
    for text in texts {
        let at = match text.find(|c: char| c.is_ascii_digit()) {
            _ if text.starts_with('t') && known.contains(&"t") => 1,
            Some(digit) => digit,
            None => text.len(),
        };
        let (key, value) = text.split_at(at);
        let token = Token { policy, text, key, value };
        if !known.contains(&key) {
            let hint = nearest::hint(key, known.iter().copied());
            let allowed = if known.is_empty() { "no settings".into() } else { known.join(", ") };
            return Err(token.error(format!("not known{hint}; {family} takes {allowed}")));
        }
        if value.is_empty() {
            return Err(token.error(format!("`{key}` needs a value, as in `{}`", example(key))));
        }
        if tokens.iter().any(|earlier| earlier.key == key) {
            return Err(token.error(format!("`{key}` is given twice")));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// A setting with this word.
fn example(key: &str) -> &'static str {
    match key {
        "m" => "m9",
        "n" => "n2",
        "mmax" => "mmax15",
        "p" => "p0.5",
        "inc" => "inc1",
        "w" => "w0",
        "t" => "t3a",
        _ => "mstd0.5",
    }
}

impl Token<'_> {
    /// A complaint about this setting.
    pub(super) fn error(&self, reason: impl std::fmt::Display) -> Error {
        Error::config("augment", format!("`{}`: `{}`: {reason}", self.policy, self.text))
    }

    /// The value as a number that `allowed` holds; `expected` says in words what that is.
    pub(super) fn number(&self, expected: &str, allowed: impl Fn(f64) -> bool) -> Result<f64> {
        let number = self.value.parse().ok().filter(|value: &f64| value.is_finite() && allowed(*value));
        number.ok_or_else(|| self.error(format!("found `{}`, expected {expected}", self.value)))
    }

    /// The value as a number of at least 0.
    pub(super) fn not_negative(&self) -> Result<f64> {
        self.number("a number of at least 0", |value| value >= 0.0)
    }
}
