//! The nearest name to a misspelt one.

/// The candidate that is nearest to `name`, if it is near enough to have been meant: at most one
/// slip for every three letters, or the rest left out (`proxy` for `proxy-v2`). A slip is a letter
/// too much, too few, another, or two swapped.
pub(crate) fn nearest<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let letters = name.chars().count();
    let near_enough = (letters / 3).max(1);
    let begun = |candidate: &str| letters >= 3 && candidate.starts_with(name);
    candidates
        .into_iter()
        .map(|candidate| (slips(name, candidate), candidate))
        .filter(|(slips, candidate)| *slips <= near_enough || begun(candidate))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// The optimal string alignment distance, without regard to case.
fn slips(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.to_lowercase().chars().take(64).collect();
    let other: Vec<char> = other.to_lowercase().chars().take(64).collect();
    let width = other.len() + 1;
    let mut rows = vec![0; (one.len() + 1) * width];
    for row in 0..=one.len() {
        for column in 0..width {
            let at = |up: usize, left: usize| rows[(row - up) * width + column - left];
            rows[row * width + column] = if row == 0 || column == 0 {
                row + column
            } else {
                let same = one[row - 1] == other[column - 1];
                let mut least = (at(1, 0) + 1)
                    .min(at(0, 1) + 1)
                    .min(at(1, 1) + usize::from(!same));
                let swapped = row > 1
                    && column > 1
                    && one[row - 1] == other[column - 2]
                    && one[row - 2] == other[column - 1];
                if swapped {
                    least = least.min(at(2, 2) + 1);
                }
                least
            };
        }
    }
    rows[one.len() * width + other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_slips() {
        for (one, other, count) in [
            ("", "", 0),
            ("delay", "delay", 0),
            ("delya", "delay", 1),
            ("dealy", "delay", 1),
            ("Delay", "delay", 0),
            ("", "abc", 3),
            ("mode", "node", 1),
            ("ab", "ba", 1),
        ] {
            assert_eq!(slips(one, other), count, "{one} {other}");
            assert_eq!(slips(other, one), count, "{other} {one}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let keys = ["mode", "delay", "scope", "hold_max"];
        assert_eq!(nearest("delya", keys), Some("delay"));
        assert_eq!(nearest("holdmax", keys), Some("hold_max"));
        assert_eq!(nearest("hold-max", keys), Some("hold_max"));
        assert_eq!(nearest("hold", keys), Some("hold_max"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", keys), None);
    }
}
