//! What a mistyped word was meant to be.

/// The word that was probably meant: the nearest by edit distance, when it is near enough
/// not to be a guess.
#[must_use]
pub fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    /// Longer than every word there is; nothing beyond it can be near.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let meant = word.to_ascii_lowercase();
    words
        .iter()
        .map(|known| (distance(&meant, &known.to_ascii_lowercase()), *known))
        .filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Optimal string alignment: insertions, deletions, substitutions, and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["STOP", "SKIP", "REMOVE", "RESTART"];
        assert_eq!(nearest("stop", &words), Some("STOP"));
        assert_eq!(nearest("SOTP", &words), Some("STOP"));
        assert_eq!(nearest("REMOV", &words), Some("REMOVE"));
        assert_eq!(nearest("RSETRAT", &words), Some("RESTART"));
        assert_eq!(nearest("EXPLODE", &words), None);
        assert_eq!(nearest("", &words), None);
        assert_eq!(nearest(&"S".repeat(10_000), &words), None);
    }

    proptest! {
        #[test]
        fn a_distance_is_symmetric_and_zero_only_for_the_same(a in "[ab]{0,6}", b in "[ab]{0,6}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
        }
    }
}
