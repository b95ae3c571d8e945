//! Which characters above 127 may stand in an address (RFC 6531 §3.3), so that no two readers see two addresses.
//!
//! Invalid UTF-8 (overlong forms and surrogates included) never comes here: it isn't a `str`. Refused are the characters
//! that some reader takes for a line end, a space, nothing at all, or for another direction of writing; and those that
//! compatibility mappings (NFKC, IDNA's dots) turn into the punctuation of a path or a domain. Whole tables of
//! normalization were rejected: what is left can at worst look like something else, it can't be split elsewhere.

/// Whether `c`, above 127, may stand in an address.
pub(crate) fn is_plain(c: char) -> bool {
    // C1 controls (U+0085 is a line end for some), the separators of lines and paragraphs, all white space.
    !c.is_control() && !c.is_whitespace() && !is_invisible(c) && !is_punctuation_in_disguise(c)
}

/// Whether `c`, above 127, may stand in a label of a domain: U-labels hold no character that mappings change
/// (RFC 5891 §4.2, RFC 5892 §2). These are the ones that would turn into ASCII.
pub(crate) fn is_label(c: char) -> bool {
    let becomes_ascii = c.to_lowercase().any(|lower| lower.is_ascii())
        // Long s, and the full-width forms of ASCII.
        || matches!(c, '\u{17F}' | '\u{FF01}'..='\u{FF5E}');
    is_plain(c) && !becomes_ascii
}

/// Controls of direction, joiners of nothing, marks that show nothing, and what is no character. The joiners U+200C and
/// U+200D stay: Persian and Indic words need them (RFC 5892 App. A.1).
fn is_invisible(c: char) -> bool {
    let code = u32::from(c);
    matches!(
        c,
        '\u{AD}'
            | '\u{61C}'
            | '\u{180E}'
            | '\u{200B}'
            | '\u{200E}'
            | '\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFD}'
            | '\u{FDD0}'..='\u{FDEF}'
            | '\u{E0000}'..='\u{E0FFF}'
    ) || code & 0xFFFE == 0xFFFE
}

/// What NFKC turns into ASCII punctuation or control-like text of a path, and IDNA's other dots.
fn is_punctuation_in_disguise(c: char) -> bool {
    matches!(
        c,
        '\u{37E}'
            | '\u{1FEF}'
            | '\u{2024}'..='\u{2026}'
            | '\u{3002}'
            | '\u{FE10}'..='\u{FE19}'
            | '\u{FE30}'
            | '\u{FE50}'..='\u{FE6F}'
            | '\u{FF01}'..='\u{FF0F}'
            | '\u{FF1A}'..='\u{FF20}'
            | '\u{FF3B}'..='\u{FF40}'
            | '\u{FF5B}'..='\u{FF61}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_the_world_stand_and_disguises_fall() {
        for c in "éßıŁджאبपठี漢かㅎ😀·ʻ\u{94D}\u{200C}\u{200D}\u{301}\u{E000}".chars()
        {
            assert!(is_plain(c) && is_label(c), "U+{:04X}", u32::from(c));
        }
        for c in "\u{80}\u{85}\u{9F}\u{A0}\u{AD}\u{1680}\u{2000}\u{200B}\u{200E}\u{2028}\u{2029}\u{202E}\u{202F}\u{2066}\
                  \u{3000}\u{FEFF}\u{FFFD}\u{FFFE}\u{10FFFF}\u{E0041}＠＜＞．。｡：；，＂\u{37E}\u{FE6B}\u{2024}"
            .chars()
        {
            assert!(!is_plain(c) && !is_label(c), "U+{:04X}", u32::from(c));
        }
        for c in "\u{212A}İſＡａ０".chars() {
            assert!(is_plain(c) && !is_label(c), "U+{:04X}", u32::from(c));
        }
    }
}
