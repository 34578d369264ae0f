//! Character classes and canonical mappings, looked up in the generated tables of `unicode_tables`.
//!
//! The tables carry one Unicode version whatever the compiler's is, so that a text has the same tokens in every build.

use super::unicode_tables as tables;

/// Bits under a range's first code.
const UNDER: u32 = 11;

/// The last range that begins at or before `code`.
fn range(ranges: &[u32], code: u32) -> Option<u32> {
    ranges[..ranges.partition_point(|&range| range >> UNDER <= code)].last().copied()
}

fn is_in(ranges: &[u32], code: u32) -> bool {
    range(ranges, code).is_some_and(|range| code - (range >> UNDER) <= range & ((1 << UNDER) - 1))
}

/// A row of the decompositions: code, first and second part.
fn row(index: usize) -> (u32, u32, u32) {
    match tables::SHORT_DECOMPOSITION.get(index) {
        Some(row) => row.map(u32::from).into(),
        None => {
            let row = tables::LONG_DECOMPOSITION[index - tables::SHORT_DECOMPOSITION.len()];
            let code = |shift: u32| (row >> shift) as u32 & ((1 << 21) - 1);
            (code(42), code(21), code(0))
        }
    }
}

/// The place below `len` whose key, in rising order, is `key`.
fn search<K: Ord>(len: usize, key: &K, key_of: impl Fn(usize) -> K) -> Option<usize> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        match key_of(middle).cmp(key) {
            core::cmp::Ordering::Less => low = middle + 1,
            core::cmp::Ordering::Equal => return Some(middle),
            core::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

/// General category L.
pub(super) fn is_letter(character: char) -> bool {
    if character.is_ascii() { character.is_ascii_alphabetic() } else { is_in(tables::LETTER, character.into()) }
}

/// General category N.
pub(super) fn is_number(character: char) -> bool {
    if character.is_ascii() { character.is_ascii_digit() } else { is_in(tables::NUMBER, character.into()) }
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
    match range(tables::COMBINING_CLASS, code) {
        Some(range) if code - (range >> UNDER) <= range >> 8 & 7 => range as u8,
        _ => 0,
    }
}

/// One step of canonical decomposition: first and second code, the second 0 if there is none. Hangul syllables are arithmetic and not here.
pub(super) fn decomposition(code: u32) -> Option<(u32, u32)> {
    if code < 0xc0 {
        return None;
    }
    let rows = tables::SHORT_DECOMPOSITION.len() + tables::LONG_DECOMPOSITION.len();
    let (_, first, second) = row(search(rows, &code, |at| row(at).0)?);
    Some((first, second))
}

/// Canonical composition of a pair, apart from Hangul.
pub(super) fn composition(first: u32, second: u32) -> Option<u32> {
    let row = |at: usize| row(tables::COMPOSITION[at].into());
    let parts = |at| (row(at).1, row(at).2);
    search(tables::COMPOSITION.len(), &(first, second), parts).map(|at| row(at).0)
}

/// Whether a code may be absent from, or change, in form C: the quick check says No or Maybe.
pub(super) fn nfc_may_change(code: u32) -> bool {
    if code < 0x300 {
        return false;
    }
    is_in(tables::NFC_MAY_CHANGE, code)
}
