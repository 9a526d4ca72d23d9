//! The nearest of some known names to one that is not known, for error messages.

/// ", did you mean `name`?"-text for `unknown`, or nothing if no candidate is near.
pub(crate) fn hint<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(unknown, known).map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

/// The candidate with the fewest edits, if that is at most half of the longer word. The first of equals.
fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (distance(unknown, name), name))
        .filter(|(edits, name)| 2 * edits <= name.chars().count().max(unknown.chars().count()))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Levenshtein's distance: insertions, deletions and replacements of one character.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // row[j]: edits from the characters of `a` so far to the first j of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
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
    fn distance_counts_single_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "band"), 4);
        assert_eq!(distance("bnad", "band"), 2);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_word_unlike_all_has_no_nearest() {
        assert_eq!(nearest("bnad", ["until", "band", "crop"]), Some("band"));
        assert_eq!(nearest("zzzzzz", ["until", "band", "crop"]), None);
    }
}
