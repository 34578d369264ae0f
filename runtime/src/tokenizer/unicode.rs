//! Character classes and canonical mappings, looked up in the generated tables of `unicode_tables`.
//!
//! The tables carry one Unicode version whatever the compiler's is, so that a text has the same tokens in every build.

use super::unicode_tables as tables;

fn in_ranges(ranges: &[(u32, u32)], character: char) -> bool {
    let code = character as u32;
    let after = ranges.partition_point(|&(first, _)| first <= code);
    after > 0 && code <= ranges[after - 1].1
}

/// General category L.
pub(super) fn is_letter(character: char) -> bool {
    if character.is_ascii() { character.is_ascii_alphabetic() } else { in_ranges(tables::LETTER, character) }
}

/// General category N.
pub(super) fn is_number(character: char) -> bool {
    if character.is_ascii() { character.is_ascii_digit() } else { in_ranges(tables::NUMBER, character) }
}

/// Property White_Space.
pub(super) fn is_space(character: char) -> bool {
    matches!(character, '\t'..='\r' | ' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// Canonical combining class.
pub(super) fn combining_class(code: u32) -> u8 {
    if code < 0x300 {
        return 0;
    }
    let after = tables::COMBINING_CLASS.partition_point(|&(first, ..)| first <= code);
    match tables::COMBINING_CLASS[..after].last() {
        Some(&(_, last, class)) if code <= last => class,
        _ => 0,
    }
}

/// One step of canonical decomposition: first and second code, the second 0 if there is none. Hangul syllables are arithmetic and not here.
pub(super) fn decomposition(code: u32) -> Option<(u32, u32)> {
    if code < 0xc0 {
        return None;
    }
    let at = tables::DECOMPOSITION.binary_search_by_key(&code, |&(code, ..)| code).ok()?;
    let (_, first, second) = tables::DECOMPOSITION[at];
    Some((first, second))
}

/// Canonical composition of a pair, apart from Hangul.
pub(super) fn composition(first: u32, second: u32) -> Option<u32> {
    let at = tables::COMPOSITION.binary_search_by_key(&(first, second), |&(first, second, _)| (first, second)).ok()?;
    Some(tables::COMPOSITION[at].2)
}

/// Whether a code may be absent from, or change, in form C: the quick check says No or Maybe.
pub(super) fn nfc_may_change(code: u32) -> bool {
    if code < 0x300 {
        return false;
    }
    let after = tables::NFC_MAY_CHANGE.partition_point(|&(first, _)| first <= code);
    after > 0 && code <= tables::NFC_MAY_CHANGE[after - 1].1
}
