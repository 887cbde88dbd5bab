//! "Did you mean": the nearest of the words that exist.

/// The candidate that `typed` is most likely a slip of: at most two slips of the hand away (one for words of up to
/// four letters), or the beginning of it, or begun by it.
pub(super) fn nearest<'c>(typed: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let typed: Vec<char> = typed.to_lowercase().chars().take(64).collect();
    let mut best: Option<(usize, &'c str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.to_lowercase().chars().take(64).collect();
        let allowed = if letters.len().min(typed.len()) <= 4 { 1 } else { 2 };
        let distance = distance(&typed, &letters);
        let begins = typed.len().min(letters.len()) >= 3
            && (letters.starts_with(&typed) || typed.starts_with(&letters));
        // A common beginning is a weaker sign than a slip of the hand.
        let score = if distance <= allowed {
            distance
        } else if begins {
            10 + letters.len().abs_diff(typed.len())
        } else {
            continue;
        };
        if best.is_none_or(|(least, _)| score < least) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Whether `a` is within `most` slips of `b`.
pub(super) fn is_near(a: &str, b: &str, most: usize) -> bool {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    distance(&a, &b) <= most
}

/// Damerau-Levenshtein distance in its restricted form (optimal string alignment): insertions, deletions,
/// substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(above.len());
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut least =
                (at(&above, j + 1) + 1).min(at(&row, j) + 1).min(at(&above, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(&y) && b.get(j - 1) == Some(&x);
            if swapped {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_find_their_word() {
        let words =
            ["provider", "path", "proxy_to", "secrets", "ack", "ack_status", "deliver_to", "max_body"];
        for (typed, word) in [
            ("providr", Some("provider")),
            ("porvider", Some("provider")),
            ("Provider", Some("provider")),
            ("secret", Some("secrets")),
            ("akc", Some("ack")),
            ("deliver", Some("deliver_to")),
            ("max_body_size", Some("max_body")),
            ("ack_stat", Some("ack_status")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, words), word, "{typed}");
        }
    }

    #[test]
    fn a_swap_of_neighbours_is_one_slip() {
        assert!(is_near("ab", "ba", 1));
        assert!(!is_near("abcd", "badc", 1));
        assert!(is_near("abcd", "badc", 2));
        assert!(is_near("", "ab", 2));
        assert!(!is_near("", "abc", 2));
    }
}
