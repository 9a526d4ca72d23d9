//! Names of shards: brace expansion, then globs.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// More shards than this in one pattern is a slip of the keyboard.
const MAX_EXPANSION: usize = 1 << 20;

/// Whether `spec` is more than a plain path.
pub(super) fn is_pattern(spec: &str) -> bool {
    spec.contains(['{', '*', '?', '['])
}

/// The files directly in a folder whose names end with `.extension`, sorted; not those that start with a dot.
pub(super) fn shards_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension)) && path.is_file() {
            shards.push(path);
        }
    }
    shards.sort_unstable();
    Ok(shards)
}

/// The files that `pattern` names. A path that exists is itself, whatever signs it holds; a folder gives its files of
/// `.extension`. Otherwise braces are expanded as a shell does (`{a,b}`, `{000..012}`, `{0..8..2}`), then `*`, `?` and
/// `[..]` are matched; a name without these is kept although it may not exist, so that opening it can say so.
pub(super) fn expand(pattern: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    if path.is_dir() {
        let shards = shards_in(path, extension)?;
        if shards.is_empty() {
            return Err(Error::source(path, format!("no .{extension} file in this folder")));
        }
        return Ok(shards);
    }
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for name in braces(pattern)? {
        if !name.contains(['*', '?', '[']) {
            files.push(PathBuf::from(name));
            continue;
        }
        let matches = glob::glob(&name)
            .map_err(|error| Error::source(&name, format!("not a valid pattern: {} at {}", error.msg, error.pos)))?;
        let before = files.len();
        for found in matches {
            files.push(found.map_err(|error| Error::Io { path: error.path().to_owned(), source: error.into() })?);
        }
        if files.len() == before {
            return Err(Error::source(name, "the pattern matches no file"));
        }
    }
    Ok(files)
}

/// A shell's brace expansion, from left to right, nested as deep as one likes.
fn braces(pattern: &str) -> Result<Vec<String>> {
    let fail = |reason: &str| Error::source(pattern, reason.to_owned());
    // Names so far, each with the part of the pattern that is still to expand. A work list and not recursion: the depth
    // of a pattern from outside must not be the depth of the stack.
    let mut work = vec![(String::new(), pattern.to_owned())];
    let mut done = Vec::new();
    while let Some((mut name, rest)) = work.pop() {
        let Some(open) = rest.find('{') else {
            name.push_str(&rest);
            done.push(name);
            continue;
        };
        let close = matching_brace(&rest, open).ok_or_else(|| fail("a `{` has no matching `}`"))?;
        name.push_str(&rest[..open]);
        let (body, tail) = (&rest[open + 1..close], &rest[close + 1..]);
        let alternatives = match range(body).map_err(&fail)? {
            Some(numbers) => numbers,
            None => split_commas(body).ok_or_else(|| fail("braces need `{a,b}` or a range such as `{000..012}`"))?,
        };
        if alternatives.len() + work.len() + done.len() > MAX_EXPANSION {
            return Err(fail("the braces expand to more than a million names"));
        }
        // Last in, first out: the first alternative has to be on top.
        work.extend(alternatives.into_iter().rev().map(|text| (name.clone(), text + tail)));
    }
    Ok(done)
}

fn matching_brace(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The text between the commas that are in no inner brace; `None` without such a comma.
fn split_commas(body: &str) -> Option<Vec<String>> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(body[start..at].to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(body[start..].to_owned());
    (parts.len() > 1).then_some(parts)
}

/// `first..last` or `first..last..step`; numbers are padded to the wider of the two when one starts with a zero.
fn range(body: &str) -> Result<Option<Vec<String>>, &'static str> {
    if body.contains(['{', ',']) || !body.contains("..") {
        return Ok(None);
    }
    let parts: Vec<&str> = body.split("..").collect();
    let number = |text: &str| {
        let digits = !text.is_empty() && text.len() < 19 && text.bytes().all(|b| b.is_ascii_digit());
        digits
            .then(|| text.parse::<u64>().ok())
            .flatten()
            .ok_or("a range in braces is `{first..last}` in whole numbers")
    };
    let (first, last, step) = match parts[..] {
        [first, last] => (number(first)?, number(last)?, 1),
        [first, last, step] => (number(first)?, number(last)?, number(step)?.max(1)),
        _ => return Err("a range in braces is `{first..last}` or `{first..last..step}`"),
    };
    if first.abs_diff(last) / step >= MAX_EXPANSION as u64 {
        return Err("a range in braces names more than a million shards");
    }
    let padded = parts[..2].iter().any(|text| text.len() > 1 && text.starts_with('0'));
    let width = if padded { parts[0].len().max(parts[1].len()) } else { 0 };
    let count = first.abs_diff(last) / step;
    let value = |i: u64| if first <= last { first + i * step } else { first - i * step };
    Ok(Some((0..=count).map(|i| format!("{:0width$}", value(i))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(pattern: &str) -> Vec<String> {
        braces(pattern).unwrap()
    }

    #[test]
    fn braces_expand_as_in_a_shell() {
        assert_eq!(expanded("plain.tar"), ["plain.tar"]);
        assert_eq!(expanded("t-{008..011}.tar"), ["t-008.tar", "t-009.tar", "t-010.tar", "t-011.tar"]);
        assert_eq!(expanded("{8..10}"), ["8", "9", "10"]);
        assert_eq!(expanded("{2..0}"), ["2", "1", "0"]);
        assert_eq!(expanded("{0..8..3}"), ["0", "3", "6"]);
        assert_eq!(expanded("{5..5}.tar"), ["5.tar"]);
        assert_eq!(expanded("{a,b}{1,2}"), ["a1", "a2", "b1", "b2"]);
        assert_eq!(expanded("x{a,b{1..2}c,}y"), ["xay", "xb1cy", "xb2cy", "xy"]);
    }

    #[test]
    fn a_brace_that_cannot_be_meant_is_refused() {
        for pattern in ["a{1,2.tar", "a{b}.tar", "a{}.tar", "{1..}", "{a..c}", "{1..2..3..4}", "{0..99999999}"] {
            let error = braces(pattern).unwrap_err().to_string();
            assert!(error.starts_with(pattern), "{error}");
        }
    }

    #[test]
    fn many_braces_stop_at_a_bound() {
        let error = braces(&"{0..999}".repeat(5)).unwrap_err().to_string();
        assert!(error.contains("million"), "{error}");
    }
}
